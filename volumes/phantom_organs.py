"""The phantom's 13 labelled structures (FLARE22 numbers) in painting order."""

from __future__ import annotations

import numpy as np

from volumes import phantom_hollow as hollow
from volumes import phantom_solid as solid
from volumes.phantom_body import Body
from volumes.phantom_draw import (
    AORTA,
    CAVA,
    DUODENUM,
    GALLBLADDER,
    LEFT_ADRENAL,
    LEFT_KIDNEY,
    LIVER,
    OESOPHAGUS,
    PANCREAS,
    RIGHT_ADRENAL,
    RIGHT_KIDNEY,
    SPLEEN,
    STOMACH,
    Sizes,
)
from volumes.phantom_render import Part


def make_organs(
    rng: np.random.Generator, body: Body, hu: dict[str, float], *, arterial: bool
) -> list[tuple[int, list[Part]]]:
    """The labelled structures in painting order, each as (label, its parts)."""
    draw = Sizes(rng)
    return [
        (LIVER, solid.liver(draw, body, hu)),
        (SPLEEN, solid.spleen(draw, body, hu, arterial)),
        (RIGHT_KIDNEY, solid.kidney(draw, body, hu, -1)),
        (LEFT_KIDNEY, solid.kidney(draw, body, hu, 1)),
        (RIGHT_ADRENAL, solid.adrenal(draw, hu, -1)),
        (LEFT_ADRENAL, solid.adrenal(draw, hu, 1)),
        (CAVA, hollow.cava(draw, hu)),
        (DUODENUM, hollow.duodenum(draw, body, hu)),
        (PANCREAS, solid.pancreas(draw, body, hu)),
        (OESOPHAGUS, hollow.oesophagus(draw, hu)),
        (STOMACH, hollow.stomach(draw, body, hu)),
        (GALLBLADDER, hollow.gallbladder(draw, body, hu)),
        (AORTA, hollow.aorta(draw, hu)),
    ]
