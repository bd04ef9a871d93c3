"""A pair whose masks and agreement a test paints itself: what its two members say is written into the volume's HU."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reference_module.referencer import Referencer
from volumes.labels import Label, LabelTable
from volumes.volume import Geometry, Volume

TABLE = LabelTable([Label(2, "liver", (1, 1, 1)), Label(5, "aorta", (2, 2, 2)), Label(9, "cord", (3, 3, 3))], "three")
SURE = (0.40, 0.50, 0.60, 0.70, 0.80, 0.90, 0.95, 0.99)
Box = tuple[int, int, int, int]


class PaintedPair(nn.Module):
    """Reads both members' classes and their probability from the abdomen window: grey 2 (32 a + 8 b + sure).

    The second is a little less certain than the first, so that the first is right where they differ.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sure", torch.tensor(SURE))
        self.batches: list[tuple[int, ...]] = []
        self.positions: list[float] = []

    def __deepcopy__(self, memo: dict) -> PaintedPair:
        return self  # what it has seen is for the test to look at

    def forward(self, images: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        self.batches.append(tuple(images.shape))
        self.positions.extend(position.tolist())
        code = torch.round(images[:, 0] * 255).long() // 2
        probability = self.sure[code % 8][:, None]  # type: ignore[index]
        logit = torch.log(probability * 3 / (1 - probability))
        members = (code // 32, code // 8 % 4)
        first, second = (nn.functional.one_hot(one, 4).permute(0, 3, 1, 2) * logit for one in members)
        return first, 0.95 * second


class Scene:
    """A volume to paint on; nothing is on it, and the pair is certain of that."""

    def __init__(self, shape: tuple[int, int, int], spacing: tuple[float, float, float] = (3.0, 1.0, 1.0)) -> None:
        self.spacing = spacing
        self._codes = np.full(shape, 7, np.int64)
        self.pair = PaintedPair()

    def paint(
        self, slices: range | list[int], label: int, box: Box, *, second: Box | None = None, sure: int = 7
    ) -> None:
        """The first member sees `label` in `box`, the second in `second` (the same if None).

        Args:
            sure: place in `SURE` of the members' probability.
        """
        place = 1 + list(TABLE).index(label)
        for z in slices:
            plane = self._codes[z]
            first = self._inside(box)
            other = first if second is None else self._inside(second)
            a, b = plane // 32, plane // 8 % 4
            either = first | other
            plane[:] = 32 * np.where(first, place, a) + 8 * np.where(other, place, b) + plane % 8
            plane[either] += sure - plane[either] % 8

    @property
    def volume(self) -> Volume:
        hu = -150 + np.ceil(400 * 2 * self._codes / 255).astype(np.int16)
        return Volume(hu.astype(np.int16), Geometry.axial(hu.shape, self.spacing), "painted")

    @property
    def referencer(self) -> Referencer:
        return Referencer(self.pair, TABLE, SimpleNamespace(pixel=None, windows="three"))  # type: ignore[arg-type]

    @property
    def slices_seen(self) -> int:
        """By the pair, but for its trial."""
        return sum(batch[0] for batch in self.pair.batches if batch[2:] == self._codes.shape[1:])

    def _inside(self, box: Box) -> np.ndarray:
        mask = np.zeros(self._codes.shape[1:], bool)
        mask[box[0] : box[1], box[2] : box[3]] = True
        return mask


@pytest.fixture(scope="session")
def scene() -> Callable[..., Scene]:
    """Makes a `Scene`."""
    return Scene
