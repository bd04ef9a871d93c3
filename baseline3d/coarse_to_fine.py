"""Coarse to fine: one network looks at the whole body and finds where the structures are, another one looks there.

Zhang 2.1: both segment the same structures, the coarse one at a low resolution. What it segments is not used but for
the box; where it finds nothing, the fine one looks at what its own settings crop to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from baseline3d.boxes import Box, with_margin
from baseline3d.components import occupied, without_small
from volumes.volume import Volume

if TYPE_CHECKING:
    from baseline3d.segmenter import VolumeSegmenter

SMALL = 0.1
"""Components below this share of their structure do not count (2.3: components of the coarse output, too)."""


def region(coarse: VolumeSegmenter, volume: Volume, margin: float = 0.0) -> Box | None:
    """The part (D, H, W) of `volume` in which the coarse network finds structures; None where it finds nothing.

    Args:
        margin: mm about it.
    """
    box = occupied(without_small(coarse.segment_all(volume), SMALL))
    return with_margin(box, volume.shape, volume.spacing, margin) if box[0].stop else None
