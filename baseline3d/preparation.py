"""What a 3D network sees of a volume: a box of it, on voxels of one size, or brought to one shape.

Nothing here holds more than a few slices of a volume beside the volume itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from baseline3d.boxes import Box, Crop, box_of
from baseline3d.intensity import Figures, Histogram, IntensitySettings
from networks.configurations import check_values
from volumes.errors import InputError
from volumes.resampling import resize, resize_matrix, resized_labels
from volumes.volume import Triple, Volume

Shape = tuple[int, int, int]
MAX_VOXELS = 1 << 31
"""Of a prepared volume: a spacing of centimetres in a file's header shall not fill the disk."""


@dataclass(frozen=True)
class InputSettings:
    """The `input` section of a configuration.

    Attributes:
        patch: (D, H, W) that the network sees at once, in training and in use.
        spacing: (dz, dy, dx) in mm of the voxels that it sees; None where `shape` is given, or: the file's own.
        shape: (D, H, W) that every box is brought to, whatever its size in mm (Zhang 2.1).
        crop: `none`; `dense`: the box of all that is denser than `threshold`; `body`: the box of the part of it in
            the middle of the volume, or else the largest (Zhang 2.1, systems 3.1).
        threshold: HU.
        margin: mm about the box.
    """

    patch: Shape
    intensity: IntensitySettings
    spacing: Triple | None = None
    shape: Shape | None = None
    crop: Crop = "none"
    threshold: float = -500.0
    margin: float = 0.0

    def __post_init__(self) -> None:
        check_values(
            self,
            "input",
            ("patch", all(side >= 1 for side in self.patch), "three sides of 1 or more voxels"),
            ("spacing", self.spacing is None or all(one > 0 for one in self.spacing), "three lengths in mm above 0"),
            ("shape", self.shape is None or all(one >= 1 for one in self.shape), "three sides of 1 or more voxels"),
            ("margin", self.margin >= 0, "0 mm or more"),
        )
        if self.spacing is not None and self.shape is not None:
            raise InputError("input", found="a spacing and a shape", expected="one of them", fix="take one out")


@dataclass(frozen=True)
class Plan:
    """How a volume is prepared.

    Attributes:
        native: (D, H, W) of the volume.
        box: the part of it that is looked at.
        shape: (d, h, w) that this part is brought to.
        spacing: (dz, dy, dx) in mm there.
    """

    native: Shape
    box: Box
    shape: Shape
    spacing: Triple

    @property
    def box_shape(self) -> Shape:
        """(D, H, W) of the box on the volume's own grid."""
        depth, height, width = (side.stop - side.start for side in self.box)
        return depth, height, width


def plan(volume: Volume, settings: InputSettings, box: Box | None = None) -> Plan:
    """How `volume` is prepared by `settings`.

    Args:
        box: look at this part, not at the one that `settings.crop` finds.

    Raises:
        InputError: a prepared volume that would be too large to be meant.
    """
    box = box_of(volume, settings.crop, settings.threshold, settings.margin) if box is None else box
    sides = tuple(side.stop - side.start for side in box)
    lengths = [side * step for side, step in zip(sides, volume.spacing, strict=True)]
    if settings.shape is not None:
        shape = settings.shape
    elif settings.spacing is not None:
        steps = zip(lengths, settings.spacing, strict=True)
        depth, height, width = (max(1, round(length / step)) for length, step in steps)
        shape = depth, height, width
    else:
        shape = sides[0], sides[1], sides[2]
    if shape[0] * shape[1] * shape[2] > MAX_VOXELS:
        raise InputError(
            volume.name,
            found=f"{' x '.join(map(str, shape))} voxels at the network's spacing",
            expected="a scan of at most a few metres",
            fix="check the spacing in the file's header",
        )
    dz, dy, dx = (length / side for length, side in zip(lengths, shape, strict=True))
    return Plan(volume.shape, box, shape, (dz, dy, dx))


def prepared_slices(array: NDArray[np.int16], made: Plan) -> Iterator[NDArray[np.float32]]:
    """HU of the prepared volume, slice by slice from below, float32 (h, w) each.

    Linear along an axis that becomes finer, averaged along one that becomes coarser (`volumes.resampling`). Slices of
    the volume are resampled once each, and held as long as a slice to come needs them.
    """
    depth, rows, columns = made.box
    plane = made.shape[1:]
    held: dict[int, NDArray[np.float32]] = {}
    for first, shares in _weights(made.box_shape[0], made.shape[0]):
        for z in [z for z in held if z < first]:
            del held[z]
        for z in range(first, first + len(shares)):
            if z not in held:
                native = array[depth.start + z, rows, columns]
                held[z] = native.astype(np.float32) if native.shape == plane else resize(native, plane)
        if len(shares) == 1:
            yield held[first]
        else:
            mixed = held[first] * shares[0]
            for z, share in enumerate(shares[1:], start=first + 1):
                mixed += held[z] * share
            yield mixed


def prepared_labels(array: NDArray[np.uint8], made: Plan) -> Iterator[NDArray[np.uint8]]:
    """Labels (h, w) of the prepared volume, slice by slice: those of the nearest voxel."""
    depth, rows, columns = made.box
    count, plane = made.box_shape[0], made.shape[1:]
    for z in range(made.shape[0]):
        nearest = min(count - 1, int((z + 0.5) * count / made.shape[0]))
        yield resized_labels(np.ascontiguousarray(array[depth.start + nearest, rows, columns]), plane)


def case_figures(volume: Volume, box: Box, settings: IntensitySettings) -> Figures | None:
    """What a rule needs to know of the case itself, from the box on its own grid; None for rules that need nothing."""
    if settings.rule != "clip":
        return None
    histogram = Histogram()
    depth, rows, columns = box
    for z in range(depth.start, depth.stop):
        histogram.add(volume.array[z, rows, columns])
    return histogram.clipped(settings.low, settings.high)


class Shares(NamedTuple):
    """Slices `first`, `first + 1`, ... of one grid that make a slice of another, and the share of each."""

    first: int
    shares: NDArray[np.float32]


def _weights(length: int, size: int) -> list[Shares]:
    """Along one axis of `length` slices that become `size`: what each of these is made of."""
    if length == size:
        return [Shares(z, np.ones(1, np.float32)) for z in range(size)]
    found = []
    for row in resize_matrix(length, size):
        used = np.flatnonzero(row)
        found.append(Shares(int(used[0]), row[used[0] : used[-1] + 1]))
    return found


def weights_back(made: Plan) -> list[Shares]:
    """For each slice of the box, on the volume's own grid, which prepared slices it is made of."""
    return _weights(made.shape[0], made.box_shape[0])
