"""A procedural abdominal phantom: CT with the 13 FLARE22 structures from a seed, for tests, demo, training.

Everything is drawn from the seed: body size and fat, sizes and places of the organs, a smooth deformation,
contrast phase, field of view, spacing, noise, missing organs. It is anatomy in outline, not a patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from volumes.errors import InputError
from volumes.label_map import LabelMap
from volumes.labels import LabelTable
from volumes.phantom_body import Body, table
from volumes.phantom_bowel import colon, mesentery, small_bowel
from volumes.phantom_contrast import PHASES, tissue_hu
from volumes.phantom_draw import GALLBLADDER, LEFT_ADRENAL, LEFT_KIDNEY, RIGHT_ADRENAL, RIGHT_KIDNEY, SPLEEN
from volumes.phantom_organs import make_organs
from volumes.phantom_render import Canvas, Deformation, Part, cover, field_width
from volumes.phantom_scan import Grid, blur, check_grid, choose_grid, noise
from volumes.phantom_spine import Spine
from volumes.volume import Geometry, Volume

MISSING_CHANCE = {
    GALLBLADDER: 0.12,
    RIGHT_KIDNEY: 0.02,
    LEFT_KIDNEY: 0.02,
    RIGHT_ADRENAL: 0.02,
    LEFT_ADRENAL: 0.02,
    SPLEEN: 0.02,
}
SLAB_VOXELS = 1 << 21  # painted at once: 8 slices of 512 x 512; bounds the memory beyond the volume itself


@dataclass(frozen=True)
class Phantom:
    """A made CT.

    Attributes:
        volume: HU, int16 (D, H, W) in canonical order.
        labels: FLARE22 labels on the same grid.
        description: what was drawn: seed, phase, missing (names), noise_hu, shape, spacing, scale (xyz), ...
    """

    volume: Volume
    labels: LabelMap
    description: dict[str, object]


def make_phantom(
    seed: int,
    *,
    shape: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    phase: str | None = None,
    missing: Sequence[str | int] | None = None,
    noise_hu: float | None = None,
) -> Phantom:
    """Make the phantom of a seed; the same arguments give the same bytes.

    Args:
        seed: at least 0. It alone makes the individual; only a body too wide for a given field of view
            is made smaller.
        shape: (D, H, W); default 512 x 512 in plane and as many slices as 210-330 mm take.
        spacing: (dz, dy, dx) mm; default 0.6-1.0 in plane (with a shape: what shows the whole body) by 1.5-5.
        phase: one of PHASES; default drawn.
        missing: names or numbers of structures left out, () for none; default drawn (gallbladder 12 %,
            kidneys, adrenals, spleen 2 % each).
        noise_hu: standard deviation of the noise in the middle of the body, 0 for none; default 6-18.

    Raises:
        InputError: an unknown phase or structure, or a shape, spacing or noise that makes no volume.
    """
    sizes, steps = check_grid(shape, spacing)
    if seed < 0:
        raise InputError(
            "phantom seed", found=str(seed), expected="a whole number of at least 0", fix="give another seed"
        )
    if noise_hu is not None and not 0 <= noise_hu < 1000:
        raise InputError(
            "phantom noise_hu", found=str(noise_hu), expected="0 to 1000 HU", fix="give another noise"
        )
    names = LabelTable.read("flare22")
    rng = np.random.default_rng([seed, 1])
    drawn_phase = PHASES[int(rng.choice(4, p=(0.2, 0.2, 0.45, 0.15)))]
    drawn_missing = [label for label, chance in MISSING_CHANCE.items() if rng.random() < chance]
    drawn_noise = float(rng.uniform(6, 18))
    phase = drawn_phase if phase is None else phase
    gone = sorted(drawn_missing if missing is None else {names.resolve(name) for name in missing})
    noise_sd = drawn_noise if noise_hu is None else float(noise_hu)

    hu = tissue_hu(np.random.default_rng([seed, 2]), phase)
    body = Body.make(np.random.default_rng([seed, 3]), hu, seed)
    scale = _body_scale(np.random.default_rng([seed, 4]), body, sizes, steps)
    grid = choose_grid(
        np.random.default_rng([seed, 5]),
        sizes,
        steps,
        2 * body.half_width * scale[0],
        body.depth * scale[1],
        scale[2],
    )
    parts = _scene(seed, body, hu, phase, gone)
    image, labels = _scan(seed, grid, scale, body, parts, noise_sd)
    geometry = Geometry.axial(grid.shape, grid.spacing)
    name = f"phantom_{seed:04d}"
    return Phantom(
        Volume(image, geometry, name=name),
        LabelMap(labels, geometry, names, name=name),
        {
            "seed": seed,
            "phase": phase,
            "missing": [names[label].name for label in gone],
            "noise_hu": round(noise_sd, 2),
            "shape": list(grid.shape),
            "spacing": list(grid.spacing),
            "scale": [round(s, 4) for s in scale],
            "subcutaneous_fat_mm": round(body.fat_side, 1),
            "middle_mm": [round(float(m), 1) for m in grid.middle],
        },
    )


def _body_scale(
    rng: np.random.Generator,
    body: Body,
    shape: tuple[int, int, int] | None,
    spacing: tuple[float, float, float] | None,
) -> tuple[float, float, float]:
    """Size of the individual against the reference body along x, y, z.

    When the field of view is given, a body somewhat too wide for it is made smaller (down to 80 %): an
    operator would have opened the field of view. A far smaller field is a crop.
    """
    size = float(np.clip(rng.normal(1.0, 0.05), 0.9, 1.1))
    sx, sy, sz = (
        size * part * float(np.clip(rng.normal(1.0, 0.03), 0.94, 1.06)) for part in (0.97, 1.08, 1.0)
    )
    if shape is not None and spacing is not None:
        fit = 0.97 * shape[2] * spacing[2] / (2 * body.half_width * sx)
        if 0.6 < fit < 1:
            sx, sy = sx * max(fit, 0.8), sy * max(fit, 0.8)
    return sx, sy, sz


def _scene(seed: int, body: Body, hu: dict[str, float], phase: str, gone: Sequence[int]) -> list[Part]:
    """Everything inside the body after its wall, in painting order."""

    def topic(number: int) -> np.random.Generator:
        return np.random.default_rng([seed, number])  # own streams: leaving one organ out moves no other

    parts = body.thorax(topic(20)) + Spine(body).parts(topic(21))
    parts += mesentery(topic(22), hu) + small_bowel(topic(23), body, hu) + colon(topic(24), body, hu)
    for label, painted in make_organs(topic(25), body, hu, arterial=phase == "arterial"):
        if label not in gone:
            parts += painted
    return parts


def _scan(
    seed: int,
    grid: Grid,
    scale: tuple[float, float, float],
    body: Body,
    parts: Sequence[Part],
    noise_sd: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Paint slab by slab: int16 image and uint8 labels (D, H, W)."""
    rng = np.random.default_rng([seed, 30])
    bend = Deformation.make(rng, (-240.0, -190.0, -260.0), (240.0, 190.0, 330.0), ((85.0, 5.0), (38.0, 2.2)))
    image, labels = np.empty(grid.shape, np.int16), np.empty(grid.shape, np.uint8)
    round_view = bool(rng.random() < 0.35)
    shadow = _round_view(grid) if round_view else None
    bed = table(body)
    slab = max(4, SLAB_VOXELS // (grid.shape[1] * grid.shape[2]))
    for first in range(0, grid.shape[0], slab):
        last = min(first + slab, grid.shape[0])
        # one slice more on both sides: partial volume needs the change of the field along z
        coords = bend.coords(*grid.lines(scale, first - 1, last + 1))
        canvas = Canvas(coords, body.hu["fat"] - 2)
        canvas.paint(bed)
        for part in body.trunk():
            canvas.paint(part)
        field = np.broadcast_to(body.abdomen(coords), coords.x.shape)
        canvas.cavity = cover(field, field_width(field))
        for part in parts:
            canvas.paint(part)
        hu = blur(canvas.hu[1:-1], 0.55)
        if noise_sd:
            deep = np.broadcast_to(body.skin(coords), coords.x.shape)[1:-1]
            strength = np.clip(0.62 - deep / 180, 0.45, 1.0).astype(np.float32)
            hu += noise(seed, first, last, grid.shape[1:], noise_sd, strength)
        np.clip(hu, -1024, 3071, out=hu)
        if shadow is not None:
            hu[:, shadow] = -1024
        image[first:last] = np.rint(hu)
        labels[first:last] = canvas.labels[1:-1]
        if shadow is not None:
            labels[first:last, shadow] = 0
    return image, labels


def _round_view(grid: Grid) -> np.ndarray:
    """(H, W) bool: outside the circle that a scanner reconstructs."""
    _, height, width = grid.shape
    y = ((np.arange(height) - (height - 1) / 2) * grid.spacing[1])[:, None]
    x = ((np.arange(width) - (width - 1) / 2) * grid.spacing[2])[None, :]
    radius = max(height * grid.spacing[1], width * grid.spacing[2]) / 2
    return np.asarray(x * x + y * y > radius * radius)
