"""The phantom's scanner: which grid is scanned, and what the image chain does (blur, correlated noise)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, gaussian_filter1d

from volumes.errors import InputError
from volumes.phantom_shapes import Array

ShapeDHW = tuple[int, int, int]
SpacingDHW = tuple[float, float, float]
ORGANS_MIDDLE = 32.0  # height of the middle of the 13 structures in the reference body, mm


@dataclass(frozen=True)
class Grid:
    """The scanned grid: shape, spacing (mm), and the reference-body position of its middle (x, y, z, mm)."""

    shape: ShapeDHW
    spacing: SpacingDHW
    middle: tuple[float, float, float]

    def lines(self, scale: tuple[float, float, float], first: int, last: int) -> tuple[Array, Array, Array]:
        """Reference-body positions (W,), (H,), (last - first,) of voxel centres; slices may lie outside."""
        made = []
        for size, step, at, factor, span in zip(
            self.shape[::-1], self.spacing[::-1], self.middle, scale, (None, None, (first, last)), strict=True
        ):
            index = np.arange(*(span or (0, size)))
            made.append(((index - (size - 1) / 2) * step / factor + at).astype(np.float32))
        return made[0], made[1], made[2]


def check_grid(shape: object, spacing: object) -> tuple[ShapeDHW | None, SpacingDHW | None]:
    """Shape and spacing as tuples, or None where not given. InputError when they make no volume."""
    sizes: ShapeDHW | None = None
    steps: SpacingDHW | None = None
    if shape is not None:
        given = np.asarray(shape)
        if given.shape != (3,) or given.min() < 1 or np.any(given != np.floor(given)):
            raise InputError(
                "phantom shape",
                found=str(shape),
                expected="three whole numbers (D, H, W) of at least 1",
                fix="give another shape",
            )
        sizes = (int(given[0]), int(given[1]), int(given[2]))
    if spacing is not None:
        mm = np.asarray(spacing, float)
        if mm.shape != (3,) or not np.all(np.isfinite(mm)) or mm.min() <= 0:
            raise InputError(
                "phantom spacing",
                found=str(spacing),
                expected="three positive mm (dz, dy, dx)",
                fix="give another spacing",
            )
        steps = (float(mm[0]), float(mm[1]), float(mm[2]))
    return sizes, steps


def choose_grid(
    rng: np.random.Generator,
    shape: ShapeDHW | None,
    spacing: SpacingDHW | None,
    body_width: float,
    body_depth: float,
    tall: float,
) -> Grid:
    """Fill in what was not given, as a scanner's protocol would.

    Default spacing is 0.6-1.0 mm (or the body's width over W, when a shape is given) by 1.5-5 mm, default
    shape 512 x 512 in plane over 210-330 mm of height. Body sizes in mm; tall: stretch along z.
    """
    margin = rng.uniform(1.0, 1.18)
    plane = max(body_width, body_depth * 1.2) * margin
    step_z = float(rng.choice([1.5, 2.0, 2.5, 3.0, 5.0]))
    height = float(rng.choice([210.0, 240.0, 280.0, 330.0]) + rng.uniform(-10, 10))
    if spacing is None:
        in_plane = (
            round(float(np.clip(plane / 512, 0.6, 1.0)), 4) if shape is None else round(plane / shape[2], 4)
        )
        if shape is not None:
            step_z = round(float(np.clip(height / shape[0], 1.5, 5.0)), 3)
        spacing = (step_z, in_plane, in_plane)
    if shape is None:
        wide = int(round(min(512.0, plane / spacing[2])))
        shape = (max(1, int(round(height / spacing[0]))), int(round(min(512.0, plane / spacing[1]))), wide)
        if spacing[1] <= 1.0 and spacing[2] <= 1.0:
            shape = (shape[0], 512, 512)
    spare = max(0.0, shape[0] * spacing[0] - 200.0 * tall)
    shift = rng.uniform(-0.35, 0.3) * spare + rng.uniform(-6, 6)
    middle = (rng.normal(0, 4), rng.normal(3, 3), ORGANS_MIDDLE + shift / tall)
    return Grid(shape, spacing, middle)


def blur(image: Array, pixels: float) -> Array:
    """In-plane point spread of `pixels` (standard deviation) on (D, H, W)."""
    return gaussian_filter1d(gaussian_filter1d(image, pixels, axis=1, truncate=3), pixels, axis=2, truncate=3)


def noise(
    seed: int, first: int, last: int, shape: tuple[int, int], sd: float, body: NDArray[np.float32]
) -> Array:
    """Correlated CT noise (last - first, H, W): grainy in plane, a little shared by neighbouring slices.

    Filtered back-projection noise has little power at low frequencies and a cut at high ones: a narrow
    Gaussian minus a part of a wide one. It is `sd` HU where `body` (last - first, H, W) is 1. Every slice has
    its own generator, so how the volume was cut into slabs does not show.
    """
    rows = []
    for z in range(first - 1, last + 1):
        white = np.random.default_rng([seed, 77, z + 1]).standard_normal(shape, dtype=np.float32)
        fine = gaussian_filter1d(gaussian_filter1d(white, 0.75, axis=0, truncate=3), 0.75, axis=1, truncate=3)
        wide = gaussian_filter1d(gaussian_filter1d(fine, 1.6, axis=0, truncate=3), 1.6, axis=1, truncate=3)
        rows.append(fine - np.float32(0.6) * wide)
    grain = correlate1d(np.stack(rows), np.array([0.25, 0.9, 0.25], np.float32), axis=0)[1:-1]
    # 0.271: the standard deviation that the filters above leave of white noise of 1, measured
    return np.asarray(grain * (np.float32(sd / 0.271) * body), np.float32)
