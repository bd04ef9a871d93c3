"""Classical tools that carry a structure from key slices to all slices: what propagation has to beat.

Each takes one structure, cut out to its start and stop marks in z (and to any box in the plane):
- `given`: bool `(D, H, W)`, the structure on its key slices and nothing elsewhere;
- `slices`: the key slices, rising, each with at least one voxel.
It returns bool `(D, H, W)` and leaves the key slices as they were given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from volumes.errors import InputError

_ITK_PACKAGE = "itk-morphologicalcontourinterpolation"
Mask = npt.NDArray[np.bool_]
Tool = Callable[[Mask, Sequence[int]], Mask]


def nearest_copy(given: Mask, slices: Sequence[int]) -> Mask:
    """Copy the nearest key slice to every slice, the lower one at a tie."""
    keys = np.asarray(slices)
    nearest = np.abs(np.arange(len(given))[:, None] - keys).argmin(axis=1)
    return given[keys[nearest]]


def shape_based(given: Mask, slices: Sequence[int]) -> Mask:
    """Shape-based interpolation: the signed distances of neighbouring key slices, mixed linearly.

    Raya and Udupa, "Shape-based interpolation of multidimensional objects", IEEE TMI 1990. Nothing is
    extrapolated: slices beyond the outermost key slices stay empty.
    """
    filled = given.copy()
    distances = {z: _signed_distance(given[z]) for z in slices}
    for lower, upper in zip(slices, slices[1:], strict=False):
        for z in range(lower + 1, upper):
            weight = (z - lower) / (upper - lower)
            filled[z] = (1 - weight) * distances[lower] + weight * distances[upper] > 0
    return filled


def morphological(given: Mask, slices: Sequence[int]) -> Mask:
    """ITK's morphological contour interpolation (Zukić et al., Insight Journal 2016), its own defaults.

    Nothing is extrapolated: slices beyond the outermost key slices stay empty.
    """
    if len(slices) < 2:
        return given.copy()
    itk = _itk()
    # A border of background: the filter takes objects at the edge of the image for cut off.
    padded = np.ascontiguousarray(np.pad(given, ((0, 0), (1, 1), (1, 1))).astype(np.uint8))
    image: Any = itk.image_from_array(padded)
    interpolator = itk.MorphologicalContourInterpolator.New(image)
    interpolator.SetAxis(2)  # ITK counts x, y, z
    interpolator.SetLabel(1)
    interpolator.Update()
    filled = itk.array_from_image(interpolator.GetOutput())[:, 1:-1, 1:-1] > 0
    filled[list(slices)] = given[list(slices)]
    return filled


def with_ends(tool: Tool) -> Tool:
    """The tool, and the outermost key slices copied on to the start and stop marks.

    A plain interpolator leaves those slices empty although the marks say that the structure is there;
    this is the fairer opponent.
    """

    def extended(given: Mask, slices: Sequence[int]) -> Mask:
        filled = tool(given, slices)
        filled[: slices[0]] = given[slices[0]]
        filled[slices[-1] + 1 :] = given[slices[-1]]
        return filled

    return extended


TOOLS: dict[str, Tool] = {
    "nearest": nearest_copy,
    "shape": shape_based,
    "morphological": morphological,
    "shape+ends": with_ends(shape_based),
    "morphological+ends": with_ends(morphological),
}
"""Classical tools by the names that the benchmark's options and results use."""

NEEDS_TWO = frozenset({"shape", "morphological"})
"""Tools that give nothing but the key slice itself when there is only one."""


def check_available(methods: Sequence[str]) -> None:
    """Raise InputError if a method needs a package that is not installed.

    The package is looked up, not loaded: loading ITK's wrapping takes 10 s.
    """
    if any(method.startswith("morphological") for method in methods):
        try:
            version(_ITK_PACKAGE)
        except PackageNotFoundError as error:
            raise InputError(
                _ITK_PACKAGE,
                found="no such package installed",
                expected="ITK's contour interpolation, to compare with",
                fix="pip install 'keyslice[benchmark]', or leave morphological out of --methods",
            ) from error


def _signed_distance(plane: Mask) -> npt.NDArray[np.float64]:
    """Distance in pixels `(H, W)` to the outline, positive inside. The world beyond the box is outside."""
    from scipy.ndimage import distance_transform_edt

    padded = np.pad(plane, 1)
    return (distance_transform_edt(padded) - distance_transform_edt(~padded))[1:-1, 1:-1]


@cache
def _itk() -> ModuleType:
    import itk

    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)  # boxes are small; cases run side by side
    return itk
