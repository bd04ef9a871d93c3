"""The three intensity windows that the networks see (systems.md, section 1.2).

Made when they are needed, for a batch of slices at a time; the windowed volume never exists, it would be
six times the size of the volume itself.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

# Each channel is the union of its named windows: (lowest, highest) HU.
WINDOWS: dict[str, tuple[int, int]] = {
    "abdomen": (-150, 250),  # soft tissue W400 L50 and liver W150 L30
    "chest": (-1350, 225),  # lung W1500 L-600 and mediastinum W350 L50
    "spine": (-500, 1300),  # bone W1800 L400
}

MAX_SLICES = 64
"""Largest batch: 64 slices of 512 x 512 are 192 MiB of float32."""


@lru_cache(maxsize=1)
def window_tables() -> npt.NDArray[np.uint8]:
    """uint8 `(3, 65536)`: the grey value of `hu` in window `c` is at `[c, hu + 32768]`.

    In whole numbers, `255 * (clip(hu) - lo) // (hi - lo)`, so that truncation is exact.
    """
    hu = np.arange(-32768, 32768, dtype=np.int64)
    rows = [255 * (np.clip(hu, low, high) - low) // (high - low) for low, high in WINDOWS.values()]
    tables = np.stack(rows).astype(np.uint8)
    tables.setflags(write=False)
    return tables


def windowed(slices_hu: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """A batch of slices as the networks' input.

    Args:
        slices_hu: int16 Hounsfield units `(B, H, W)`, B at most `MAX_SLICES`.

    Returns:
        float32 `(B, 3, H, W)` in [0, 1]: `trunc_uint8(255 (clip(hu, lo, hi) - lo) / (hi - lo)) / 255` for the
        abdomen, chest and spine window, in this order.
    """
    if slices_hu.ndim != 3 or slices_hu.dtype != np.int16:
        raise ValueError(f"expected int16 (B, H, W), got {slices_hu.dtype} {slices_hu.shape}")
    if len(slices_hu) > MAX_SLICES:
        raise ValueError(f"{len(slices_hu)} slices at once; pass at most {MAX_SLICES} slices a call")
    tables = window_tables().astype(np.float32) / np.float32(255)
    index = slices_hu.astype(np.int32) + 32768
    return np.stack([np.take(table, index) for table in tables], axis=1)
