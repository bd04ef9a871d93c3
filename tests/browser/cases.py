"""The phantom of these tests as files on two grids, and the rules of painting, apart from the tool's own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from volumes.phantom import Phantom, make_phantom

SHAPE = (24, 96, 112)  # D, H, W
SPACING = (9.0, 3.6, 3.2)  # dz, dy, dx in mm
LIVER, SPLEEN = 1, 3  # of the phantom

Mask = NDArray[np.uint8]


@cache
def phantom() -> Phantom:
    """A made CT and its true labels, small enough that a propagation takes seconds."""
    return make_phantom(5, shape=SHAPE, spacing=SPACING, missing=[])


@dataclass(frozen=True)
class Grid:
    """How a file holds the volume.

    Attributes:
        suffix: of the file.
        order: axes (of D, H, W) that the axes of SimpleITK's array are, slowest first.
        backward: which of the array's axes run the other way.
        direction: of the file's axes x, y, z, row by row.
        origin: LPS position of its first voxel.
    """

    suffix: str
    order: tuple[int, int, int]
    backward: tuple[bool, bool, bool]
    direction: tuple[float, ...]
    origin: tuple[float, float, float]

    def in_file(self, array: NDArray[Any]) -> NDArray[Any]:
        """(D, H, W) as the file has it."""
        steps = tuple(slice(None, None, -1 if back else 1) for back in self.backward)
        return np.ascontiguousarray(array.transpose(self.order)[steps])

    def write(self, array: NDArray[Any], path: Path) -> None:
        image = sitk.GetImageFromArray(self.in_file(array))
        image.SetSpacing([SPACING[axis] for axis in reversed(self.order)])
        image.SetDirection(self.direction)
        image.SetOrigin(self.origin)
        sitk.WriteImage(image, str(path))


GRIDS = {
    "plain": Grid(".nii.gz", (0, 1, 2), (False, False, False), (1, 0, 0, 0, 1, 0, 0, 0, 1), (-170.0, -160.0, 40.0)),
    # Its first axis runs from superior to inferior, its second from left to right, its third from front to back.
    "turned": Grid(".nrrd", (1, 2, 0), (False, True, True), (0, -1, 0, 0, 0, 1, -1, 0, 0), (185.5, -150.25, 300.0)),
}


def write_cts(folder: Path, copies: Sequence[str]) -> dict[str, Path]:
    """The phantom's CT on both grids, called as these, and again on the plain one as each of `copies`."""
    folder.mkdir(parents=True)
    names = {name: grid for name, grid in GRIDS.items()} | {name: GRIDS["plain"] for name in copies}
    paths = {}
    for name, grid in names.items():
        paths[name] = folder / f"{name}{grid.suffix}"
        grid.write(phantom().volume.array, paths[name])
    return paths


def inside(label: int, z: int) -> tuple[int, int, int]:
    """A row of the phantom on slice `z` and the first and last column of the widest piece of the label in it."""
    mask = phantom().labels.array[z] == label
    y = int(mask.sum(1).argmax())
    edges = np.flatnonzero(np.diff(np.r_[0, mask[y].astype(int), 0]))
    first, end = max(zip(edges[::2], edges[1::2], strict=True), key=lambda piece: piece[1] - piece[0])
    return y, int(first), int(end) - 1


def pixels(runs: Sequence[int], shape: tuple[int, int] = SHAPE[1:]) -> NDArray[np.bool_]:
    """The pixels (H, W) that an edit names."""
    flat = np.zeros(shape[0] * shape[1], bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        flat[start : start + length] = True
    return flat.reshape(shape)


@dataclass
class Painted:
    """What one slice is to hold after the edits that the page sent.

    Attributes:
        mask: (H, W), what is given.
        speaks: labels that the slice speaks for.
    """

    mask: Mask = field(default_factory=lambda: np.zeros(SHAPE[1:], np.uint8))
    speaks: set[int] = field(default_factory=set)

    def do(self, edit: dict[str, Any], proposal: Mask | None = None, locked: Collection[int] = ()) -> None:
        """Paint or erase as the body of a request says, over a proposal (H, W)."""
        proposed = np.zeros_like(self.mask) if proposal is None else proposal
        seen = np.where(self.mask > 0, self.mask, np.where(np.isin(proposed, list(self.speaks)), 0, proposed))
        label, wanted = edit["label"], pixels(edit["runs"])
        if edit["action"] == "paint":
            free = ~np.isin(seen, list(locked)) | (seen == label)
            self._adopt(label, seen)
            self.mask[wanted & free] = label
        else:
            hit = wanted & (seen > 0) & ~np.isin(seen, list(locked))
            hit &= (seen == label) if label is not None else True
            for value in np.unique(seen[hit]):
                self._adopt(int(value), seen)
            self.mask[hit] = 0

    def _adopt(self, label: int, seen: Mask) -> None:
        self.mask[seen == label] = label
        self.speaks.add(label)
