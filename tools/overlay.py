"""Labels in colour over a plane of CT: what the montage and the benchmark draw with."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from volumes.labels import LabelTable, distinct_color
from volumes.windows import windowed

FILL = 0.36  # opacity inside a structure: the CT still shows through
EDGE = 0.95  # opacity of its outline
SMOOTH = 2  # planes are drawn this many times larger, then averaged


def color_lookup(table: LabelTable) -> npt.NDArray[np.float32]:
    """Colour of each label: `(256, 3)`, a default one for labels that the table lacks."""
    colors = np.zeros((256, 3), np.float32)
    for value in range(1, 256):
        colors[value] = table[value].color if value in table else distinct_color(value)
    return colors


def grey_values(plane_hu: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """A plane `(H, W)` in the abdomen window, as grey values."""
    window = windowed(np.ascontiguousarray(plane_hu)[None])[0, 0]
    return np.round(window * 255).astype(np.uint8)


def paint(
    plane_hu: npt.NDArray[np.int16],
    labels: npt.NDArray[np.uint8],
    colors: npt.NDArray[np.float32],
    size: tuple[int, int],
) -> Image.Image:
    """A plane of CT in the abdomen window with its labels in colour.

    Args:
        plane_hu: int16 `(H, W)`.
        labels: uint8 `(H, W)`.
        colors: colour of each label, `(256, 3)`, 0..255.
        size: width and height of the picture in pixels.
    """
    grey = grey_values(plane_hu)
    labels = np.ascontiguousarray(labels)
    large = size[0] * SMOOTH, size[1] * SMOOTH
    shrinks = large[0] < grey.shape[1]
    ct = cv2.resize(grey, large, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    shown = _resize_labels(labels, large)
    kernel = np.ones((3, 3), np.uint8)
    edge = (cv2.dilate(shown, kernel) != cv2.erode(shown, kernel)) & (shown > 0)
    opacity = np.where(edge, EDGE, np.where(shown > 0, FILL, 0.0)).astype(np.float32)[..., None]
    rgb = ct.astype(np.float32)[..., None] * (1 - opacity) + colors[shown] * opacity
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return Image.fromarray(np.clip(np.round(small), 0, 255).astype(np.uint8))


def _resize_labels(labels: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Labels at another size, each voxel given to the structure that covers most of it."""
    shrinks = size[0] < labels.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    best = cv2.resize((labels == 0).astype(np.float32), size, interpolation=how)
    shown = np.zeros(best.shape, np.uint8)
    for value in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[1:]) + 1:
        cover = cv2.resize((labels == value).astype(np.float32), size, interpolation=how)
        shown[cover > best] = value
        np.maximum(best, cover, out=best)
    return shown
