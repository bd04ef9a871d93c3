"""The volumes of the engine's benchmark, as files that a process of its own reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumes.key_slices import KeySlices
from volumes.volume import Geometry, Volume

SEED = 1
DZ_MM, FIELD_MM = 4.0, 410.0  # slices of the phantom and its field of view: 0.8 mm pixels at 512 x 512


@dataclass(frozen=True)
class EngineCase:
    """A CT, its true labels (D, H, W), and which slices are given."""

    volume: Volume
    truth: NDArray[np.uint8]
    given: tuple[int, ...]

    @property
    def key_slices(self) -> KeySlices:
        """The given slices, each speaking for all labels."""
        keys = KeySlices(self.volume.shape, where=self.volume.name)
        for z in self.given:
            keys.add(z, self.truth[z], complete=True)
        return keys

    def slices_by_label(self) -> dict[int, int]:
        """How many slices each label is on."""
        return {label: int((self.truth == label).any((1, 2)).sum()) for label in np.unique(self.truth)[1:].tolist()}

    def only(self, labels: list[int]) -> EngineCase:
        """The case with no other labels than these."""
        return EngineCase(
            self.volume, np.where(np.isin(self.truth, labels), self.truth, 0).astype(np.uint8), self.given
        )

    def largest(self, count: int) -> list[int]:
        """The `count` labels that are on most slices, of those on a given slice."""
        slices = self.slices_by_label()
        there = [label for label in slices if (self.truth[list(self.given)] == label).any()]
        return sorted(sorted(there, key=lambda label: (-slices[label], label))[:count])

    def save(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "volume.npy", self.volume.array)
        np.save(folder / "truth.npy", self.truth)
        about = {"spacing": list(self.volume.spacing), "given": list(self.given), "name": self.volume.name}
        (folder / "case.json").write_text(json.dumps(about), encoding="utf-8")
        return folder

    @classmethod
    def load(cls, folder: Path) -> EngineCase:
        about = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        array = np.load(folder / "volume.npy")
        dz, dy, dx = about["spacing"]
        volume = Volume(array, Geometry.axial(array.shape, (dz, dy, dx)), name=about["name"])
        return cls(volume, np.load(folder / "truth.npy"), tuple(about["given"]))


def slab_of_phantom(size: int, depth: int) -> EngineCase:
    """`depth` slices of a phantom of `size` x `size` pixels, with as many labels on its three key slices as there are.

    The key slices lie at 1/6, 3/6 and 5/6.
    """
    from volumes.phantom import make_phantom

    spacing = (DZ_MM * 40 / depth, FIELD_MM / size, FIELD_MM / size)  # a thin slab spans what 40 slices do
    phantom = make_phantom(SEED, shape=(depth * 3 // 2, size, size), spacing=spacing, missing=())
    truth = phantom.labels.array
    there = np.stack([np.bincount(plane.ravel(), minlength=256)[1:] > 0 for plane in truth])  # slices x labels
    given = tuple(depth * part // 6 for part in (1, 3, 5))

    def worth(first: int) -> tuple[int, int]:
        slab = there[first : first + depth]
        return int(slab[list(given)].any(0).sum()), int(slab.sum())

    first = max(range(len(truth) - depth + 1), key=worth)
    array = phantom.volume.array[first : first + depth].copy()
    volume = Volume(array, Geometry.axial(array.shape, phantom.volume.spacing), name=phantom.volume.name)
    return EngineCase(volume, truth[first : first + depth].copy(), given)


def mirrored(case: EngineCase, depth: int, every: int) -> EngineCase:
    """The case up and down again until it has `depth` slices, so that something is alive on all of them.

    Args:
        every: slices from one given slice to the next.
    """
    period = 2 * len(case.truth) - 2
    place = np.arange(depth) % period
    place = np.minimum(place, period - place)
    array = case.volume.array[place]
    volume = Volume(array, Geometry.axial(array.shape, case.volume.spacing), name=f"{case.volume.name}_{depth}")
    return EngineCase(volume, case.truth[place], tuple(range(every // 2, depth, every)))
