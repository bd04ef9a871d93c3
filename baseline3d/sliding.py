"""Probabilities of a volume of any length, window by window, slice by slice (nnU-Net's inference; Alves 2.3).

Windows go through the volume from below, row by row of the z axis. What they say is summed in a slab as deep as one
window; what no window to come reaches is given out, and the slab moves up. So the memory is that of the slab,
C x patch depth x height x width, however many slices there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from monai.data.utils import compute_importance_map
from numpy.typing import NDArray
from torch import Tensor

from baseline3d.memory import memory_for
from networks.configurations import check_values
from volumes.volume import Triple

Shape = tuple[int, int, int]
Predict = Callable[[Tensor], Tensor]
"""From windows 1 x 1 x D x H x W to probabilities 1 x C x D x H x W."""

_SIGMA = 0.125  # of the Gaussian, as a share of the window's side: nnU-Net's


@dataclass(frozen=True)
class WindowSettings:
    """The `inference` section of a configuration.

    Attributes:
        step: from a window to the next, as a share of its side: 0.5 is nnU-Net's, 0.9 that of Alves (2.3).
        gaussian: a window's middle counts more than its rim.
        coarser: (dz, dy, dx) in mm of voxels to take where memory does not suffice for those of `input.spacing`
            (Gao 2.2); None: the case fails then.
    """

    step: float = 0.5
    gaussian: bool = True
    coarser: Triple | None = None

    def __post_init__(self) -> None:
        check_values(
            self,
            "inference",
            ("step", 0 < self.step <= 1, "a share of the patch, above 0 and at most 1"),
            ("coarser", self.coarser is None or all(one > 0 for one in self.coarser), "three lengths in mm above 0"),
        )


class Windows:
    """Windows over a volume of a given shape.

    Args:
        shape: (d, h, w) of the volume; where it is smaller than a window it lies in the middle of one.
        patch: (D, H, W) of a window.
        settings: how far apart they are, and what their voxels count.
        device: where the slab lies, and the network computes.
    """

    def __init__(self, shape: Shape, patch: Shape, settings: WindowSettings, device: torch.device) -> None:
        self.shape, self.patch, self.settings, self.device = shape, patch, settings, device
        pads = [max(0, side - length) for side, length in zip(patch, shape, strict=True)]
        self._before = [pad // 2 for pad in pads]
        self._whole = [length + pad for length, pad in zip(shape, pads, strict=True)]
        self._starts = [
            window_starts(length, side, settings.step) for length, side in zip(self._whole, patch, strict=True)
        ]

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self._starts[0]) * len(self._starts[1]) * len(self._starts[2])

    def probabilities(
        self,
        slices: Iterator[NDArray[np.float32]],
        predict: Predict,
        *,
        air: float,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Tensor]:
        """Probabilities C x h x w of each slice, from below.

        Args:
            slices: the volume as the network sees it, float32 (h, w) each, from below.
            air: what lies about the volume.
            progress: called with windows done and windows in all.

        Raises:
            NotEnoughMemory: a window, or the slab, does not fit.
        """
        sides = " x ".join(map(str, self.patch))
        with memory_for(f"a patch of {sides} voxels", "input.patch"):
            importance = self._importance()
            slab = _Slab(self.patch[0], self._whole[1:], air, self.device)
            done, ends = 0, [*self._starts[0][1:], self._whole[0]]
            for start, end in zip(self._starts[0], ends, strict=True):
                self._fill(slab, start, slices)
                for top, left in product(*self._starts[1:]):
                    window = slice(top, top + self.patch[1]), slice(left, left + self.patch[2])
                    slab.add(predict(slab.image[(None, None, slice(None), *window)])[0], importance, window)
                    done += 1
                    if progress is not None:
                        progress(done, self.count)
                for place in range(end - start):
                    if self._inside(start + place):
                        yield slab.mean(place, self._plane)
                slab.move_up(end - start)

    def _importance(self) -> Tensor:
        """What each voxel of a window counts, D x H x W."""
        mode = "gaussian" if self.settings.gaussian else "constant"
        found = compute_importance_map(self.patch, mode=mode, sigma_scale=_SIGMA, device="cpu")
        assert isinstance(found, Tensor)
        return found.float().to(self.device)

    def _fill(self, slab: _Slab, start: int, slices: Iterator[NDArray[np.float32]]) -> None:
        """Put slices into what is free of a slab that begins at `start`; air, where the padding is."""
        while slab.filled < self.patch[0]:
            slab.append(next(slices) if self._inside(start + slab.filled) else None, self._plane)

    def _inside(self, z: int) -> bool:
        """Whether slice `z` of the padded volume is one of the volume's own."""
        return self._before[0] <= z < self._before[0] + self.shape[0]

    @property
    def _plane(self) -> tuple[slice, slice]:
        """Where a slice of the volume lies in one of the padded volume."""
        top, left = self._before[1:]
        return slice(top, top + self.shape[1]), slice(left, left + self.shape[2])


class _Slab:
    """As many slices as a window is deep: the image, and what the windows so far have said of it."""

    def __init__(self, depth: int, plane: Sequence[int], air: float, device: torch.device) -> None:
        self.air, self.filled = air, 0
        self.image = torch.full((depth, *plane), air, dtype=torch.float32, device=device)
        self._weights = torch.zeros_like(self.image)
        self._sums: Tensor | None = None  # C x depth x H x W; how many classes, a network's answer says

    def append(self, values: NDArray[np.float32] | None, where: tuple[slice, slice]) -> None:
        """The next slice, with `values` at `where`; None: of air alone."""
        plane = self.image[self.filled]
        plane.fill_(self.air)
        if values is not None:
            plane[where] = torch.from_numpy(values).to(plane.device)
        self.filled += 1

    def add(self, found: Tensor, importance: Tensor, where: tuple[slice, slice]) -> None:
        """Add what a window C x D x H x W says."""
        if self._sums is None:
            self._sums = torch.zeros((len(found), *self.image.shape), dtype=torch.float32, device=found.device)
        self._sums[(slice(None), slice(None), *where)].addcmul_(found.float(), importance)
        self._weights[(slice(None), *where)] += importance

    def mean(self, place: int, where: tuple[slice, slice]) -> Tensor:
        """C x h x w of one slice, which all of its windows have spoken about."""
        assert self._sums is not None
        return self._sums[:, place][(slice(None), *where)] / self._weights[place][where]

    def move_up(self, count: int) -> None:
        """Drop the lowest `count` slices."""
        for tensor in (self.image[None], self._weights[None], self._sums):
            assert tensor is not None
            for place in range(tensor.shape[1] - count):  # slice by slice: a copy at once would take as much again
                tensor[:, place] = tensor[:, place + count]
            tensor[:, tensor.shape[1] - count :] = 0
        self.filled -= count


def window_starts(length: int, side: int, step: float) -> list[int]:
    """Where windows of `side` begin along an axis of `length`: at most `step` of a side apart, evenly spread."""
    between = length - side
    count = math.ceil(between / max(1, int(side * step))) + 1
    return [round(number * between / (count - 1)) for number in range(count)] if count > 1 else [0]
