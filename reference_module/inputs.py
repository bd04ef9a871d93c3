"""What the pair sees of a volume: its slices on pixels of one size, windowed. The same in training and in use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volumes.errors import InputError
from volumes.resampling import resize, square_shape
from volumes.windows import windowed

WINDOWS = ("three", "one")
"""`three`: abdomen, chest and spine, as in the paper; `one`: the abdomen window in all three channels."""


def pixel_shape(shape: tuple[int, int], spacing: tuple[float, float], pixel: float | None) -> tuple[int, int]:
    """Height and width of a slice of `shape` and `spacing` (dy, dx) mm on pixels of `pixel` mm; None: as it is."""
    return shape if pixel is None else square_shape(shape, spacing, pixel)


def resized(plane: NDArray[np.int16], shape: tuple[int, int]) -> NDArray[np.int16]:
    """A slice (H, W) in HU on a grid of `shape` over the same rectangle."""
    return plane if plane.shape == shape else np.rint(resize(plane, shape)).astype(np.int16)


def network_input(slices_hu: NDArray[np.int16], windows: str) -> NDArray[np.float32]:
    """Slices (B, H, W) in HU as float32 (B, 3, H, W) in [0, 1], by one of `WINDOWS`."""
    images = windowed(slices_hu)
    if windows == "one":
        images[:, 1:] = images[:, :1]
    return images


def slice_position(z: int, depth: int) -> float:
    """The pair's position input: slice index / number of slices (systems.md 1.5)."""
    return z / depth


def check_windows(windows: str, where: str) -> None:
    """Raise InputError unless it is one of `WINDOWS`."""
    if windows not in WINDOWS:
        raise InputError(
            where, found=f"windows '{windows}'", expected=f"one of {', '.join(WINDOWS)}", fix="correct the setting"
        )
