"""What the key slices alone say of a slice between or beyond them: signed distances, interpolated.

Shape-based interpolation (Raya and Udupa 1990) between two key slices, the nearest one beyond the last.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

LIMIT_MM = 30.0  # beyond this the network need not know how far inside or outside it is


def signed_distance(mask: NDArray, pixel: float) -> NDArray[np.float32]:
    """Signed distance in mm (inside positive) of a mask (H, W) on square pixels of `pixel` mm.

    The zero lies on the outline, half a pixel from the border pixels' centres. An empty mask is outside by `LIMIT_MM`.
    """
    inside = np.ascontiguousarray(mask, dtype=np.uint8)
    if not inside.any():
        return np.full(mask.shape, -LIMIT_MM, np.float32)
    if inside.all():
        return np.full(mask.shape, LIMIT_MM, np.float32)
    out = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    into = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance = np.where(inside > 0, into - 0.5, 0.5 - out) * pixel
    return np.clip(distance, -LIMIT_MM, LIMIT_MM).astype(np.float32)


def shape_between(near: NDArray, far: NDArray | None, fraction: float) -> NDArray[np.float32]:
    """The shape `fraction` (0..1) of the way from key slice `near` to key slice `far`, signed distances (H, W).

    Where the structure is absent on `far` it shrinks as a rounded end does: the radius of a ball's sections.
    """
    if far is not None:
        return ((1.0 - fraction) * near + fraction * far).astype(np.float32)
    depth = max(0.0, float(near.max()))
    return (near - depth * (1.0 - math.sqrt(max(0.0, 1.0 - fraction**2)))).astype(np.float32)
