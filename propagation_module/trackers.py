"""One network on one volume: slices in, memory entries and probabilities out.

A tracker hides what networks differ in: where a label is looked for, and what memory a slice leaves behind. It
takes many labels at once and answers for each as if it were alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from propagation_module.features import FeatureCache
from propagation_module.grid import Box, InternalGrid, Patch, cut_box
from propagation_module.inference import dtype_of
from propagation_module.local_read import around, tiles_of, tokens_in, window
from propagation_module.local_stcn import Features, LocalSTCN, Prior, places
from propagation_module.memory import affinity, readout, top_k_softmax
from propagation_module.stcn import STCN, STRIDE, Shared

PIXELS_AT_ONCE = 2**17  # of labels decoded together: more gains no time and costs memory


@dataclass(frozen=True)
class Entry:
    """A slice in memory, for one label: its tokens."""

    key: Tensor  # 1 x CK x N
    value: Tensor  # 1 x CV x N
    place: Tensor  # 1 x 3 x N, mm
    box: Box  # which pixels they cover, row by row


@dataclass(frozen=True, eq=False)
class Look:
    """A label to be found on a slice.

    Args:
        box: where to look.
        memory: what is remembered of it.
        previous: its probability on the slice before, in `box`.
        shape: signed distance in mm that the key slices suggest, in `box`.
        distances: as in `local_stcn.Prior`.
    """

    z: int
    box: Box
    memory: Sequence[Entry]
    previous: NDArray[np.float32]
    shape: NDArray[np.float32]
    distances: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Mark:
    """A label on a slice, to be remembered: its mask in `box`, and that of the others where they are known."""

    z: int
    box: Box
    mask: NDArray[np.float32]
    others: NDArray[np.float32] | None = None


class Seen(NamedTuple):
    """What a look found."""

    patch: Patch  # probabilities in the box that was looked at
    presence: float | None  # probability of the label being on the slice; None from a network that does not say


class Tracker(Protocol):
    """What the propagation asks of a network."""

    features: FeatureCache

    sees_others: bool
    """Whether what a key slice says of other labels matters to a label."""

    def look(self, looks: Sequence[Look]) -> list[Seen]:
        """Probabilities of each label in its box."""

    def remember(self, marks: Sequence[Mark]) -> list[Entry]:
        """Each slice and mask as memory."""

    def box(self, bounds: Sequence[Box]) -> Box | None:
        """Where a label that covers `bounds` is looked for; None around nothing."""


Item = TypeVar("Item", Look, Mark)
Answer = TypeVar("Answer")


def _in_batches(items: Sequence[Item], answer: Callable[[list[Item]], Iterable[Answer]]) -> list[Answer]:
    """The answers to `items`, those with boxes of one size asked for together."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for index, item in enumerate(items):
        top, bottom, left, right = item.box
        sizes.setdefault((bottom - top, right - left), []).append(index)
    answers: dict[int, Answer] = {}
    for (height, width), indices in sizes.items():
        step = max(1, PIXELS_AT_ONCE // (height * width))
        for first in range(0, len(indices), step):
            chosen = indices[first : first + step]
            answers.update(zip(chosen, answer([items[i] for i in chosen]), strict=True))
    return [answers[index] for index in range(len(items))]


class LocalTracker:
    """`LocalSTCN`, in a box about the structure."""

    MARGIN, LEAST = 28, 80  # pixels around a structure; a training crop of 96 pixels shows about as much
    sees_others = False

    def __init__(self, network: LocalSTCN, grid: InternalGrid, device: torch.device) -> None:
        self.network, self.grid, self.device = network, grid, device
        self.features = FeatureCache(network.encode_key, grid, device, dtype_of(network))
        self._reach = network.reach() / grid.pixel  # in pixels

    def box(self, bounds: Sequence[Box]) -> Box | None:
        return self.grid.box_about(bounds, margin=self.MARGIN, least=self.LEAST, multiple=16)

    def look(self, looks: Sequence[Look]) -> list[Seen]:
        return _in_batches(looks, self._look)

    def remember(self, marks: Sequence[Mark]) -> list[Entry]:
        return _in_batches(marks, self._remember)

    def _look(self, looks: list[Look]) -> list[Seen]:
        image, features = self._cut(looks)
        found = torch.cat([self._read(look, features.key[i : i + 1]) for i, look in enumerate(looks)])
        prior = Prior(
            self._planes([look.previous for look in looks]),
            self._planes([look.shape for look in looks]),
            torch.tensor([look.distances for look in looks], device=self.device),
        )
        logits, presence = self.network.decode(image, features, found, prior)
        planes, there = torch.sigmoid(logits)[:, 0].cpu().numpy(), torch.sigmoid(presence).tolist()
        return [Seen(Patch(plane, look.box), p) for plane, look, p in zip(planes, looks, there, strict=True)]

    def _read(self, look: Look, key: Tensor) -> Tensor:
        """What memory says of the box, tile by tile, each reading only the memory about it."""
        # A GPU rather takes all of it at once.
        tiles = tiles_of(look.box) if self.device.type == "cpu" else [[look.box]]
        place = self._places(look)
        return torch.cat([torch.cat([self._read_tile(look, tile, key, place) for tile in row], 3) for row in tiles], 2)

    def _read_tile(self, look: Look, tile: Box, key: Tensor, place: Tensor) -> Tensor:
        near = around(tile, [entry.box for entry in look.memory], self._reach)
        rows, columns = window(look.box, tile)
        return self.network.read(
            key[..., rows, columns],
            place[..., rows, columns],
            torch.cat([tokens_in(entry.key, entry.box, near) for entry in look.memory], 1).transpose(1, 2),
            torch.cat([tokens_in(entry.value, entry.box, near) for entry in look.memory], 1).transpose(1, 2),
            torch.cat([tokens_in(entry.place, entry.box, near) for entry in look.memory], 1).transpose(1, 2),
        )

    def _remember(self, marks: list[Mark]) -> list[Entry]:
        image, features = self._cut(marks)
        values = self.network.encode_value(image, features, self._planes([mark.mask for mark in marks]))
        values, keys = values.flatten(2), features.key.flatten(2)
        return [
            Entry(keys[i : i + 1], values[i : i + 1], self._places(mark).flatten(2), mark.box)
            for i, mark in enumerate(marks)
        ]

    def _cut(self, items: Sequence[Look] | Sequence[Mark]) -> tuple[Tensor, Features]:
        images, cuts = [], []
        for item in items:
            image, features = self.features(item.z)
            top, bottom, left, right = item.box
            images.append(image[..., top:bottom, left:right])
            cuts.append(features.crop(item.box))
        return torch.cat(images), Features(*(torch.cat(parts) for parts in zip(*cuts, strict=True)))

    def _planes(self, planes: Sequence[NDArray[np.float32]]) -> Tensor:
        return torch.from_numpy(np.stack(planes))[:, None].to(self.device, self.features.dtype)

    def _places(self, item: Look | Mark) -> Tensor:
        top, bottom, left, right = item.box
        pixel = torch.tensor([self.grid.pixel], device=self.device)
        place = places(bottom - top, right - left, pixel, torch.tensor([item.z * self.grid.dz], device=self.device))
        corner = torch.tensor([0.0, top, left], device=self.device) * self.grid.pixel
        return place + corner[None, :, None, None]


class STCNTracker:
    """`STCN`, each label decoded in a box about it, all of the slice's own computed once."""

    # The decoder sees some 60 pixels far, faintly at the end. The 13 labels of the 512 x 512 phantom took 102 s with
    # 96 and 224, 74 s with 64 and 160, 60 s with these (processor seconds, one core).
    MARGIN, LEAST = 48, 128
    sees_others = True

    def __init__(self, network: STCN, grid: InternalGrid, device: torch.device, top_k: int) -> None:
        self.network, self.grid, self.device, self.top_k = network, grid, device, top_k
        self.features = FeatureCache(network.share, grid, device, dtype_of(network))
        # CBAM pools over all that it sees: where there is one, values are encoded from whole slices.
        self._whole = network.value_encoder.fuser.attention is not None

    def box(self, bounds: Sequence[Box]) -> Box | None:
        return self.grid.box_about(bounds, margin=self.MARGIN, least=self.LEAST, multiple=STRIDE)

    def look(self, looks: Sequence[Look]) -> list[Seen]:
        return _in_batches(looks, self._look)

    def remember(self, marks: Sequence[Mark]) -> list[Entry]:
        return _in_batches(marks, self._remember)

    def _look(self, looks: list[Look]) -> list[Seen]:
        shared = _joined([self.features(look.z)[1].crop(look.box) for look in looks])
        found = torch.cat([self._read(look, shared.key[i : i + 1]) for i, look in enumerate(looks)])
        probabilities = torch.sigmoid(self.network.decode_of(found, shared).float())
        planes = probabilities[:, 0].cpu().numpy()
        return [Seen(Patch(plane, look.box), None) for plane, look in zip(planes, looks, strict=True)]

    def _read(self, look: Look, key: Tensor) -> Tensor:
        scores = affinity(torch.cat([entry.key for entry in look.memory], 2), key.flatten(2))
        values = torch.cat([entry.value for entry in look.memory], 2).transpose(1, 2).contiguous()
        return readout(*top_k_softmax(scores, self.top_k), values).unflatten(2, key.shape[-2:])

    def _remember(self, marks: list[Mark]) -> list[Entry]:
        whole = (0, self.grid.shape[0], 0, self.grid.shape[1])
        boxes = [whole if self._whole else mark.box for mark in marks]
        slices = [self.features(mark.z) for mark in marks]
        shared = _joined([features.crop(box) for (_, features), box in zip(slices, boxes, strict=True)])
        images = torch.cat([_crop(image, box, 1) for (image, _), box in zip(slices, boxes, strict=True)])
        own = self._planes([cut_box(mark.mask, mark.box, box, 0.0) for mark, box in zip(marks, boxes, strict=True)])
        others = torch.zeros_like(own)
        for i, (mark, box) in enumerate(zip(marks, boxes, strict=True)):
            if mark.others is not None:
                others[i : i + 1] = self._planes([cut_box(mark.others, mark.box, box, 0.0)])
        values = self.network.encode_value_of(images, shared, own, others)
        entries = []
        for i, (mark, box) in enumerate(zip(marks, boxes, strict=True)):
            inside = (mark.box[0] - box[0], mark.box[1] - box[0], mark.box[2] - box[2], mark.box[3] - box[2])
            key = _crop(shared.key[i : i + 1], inside, STRIDE).flatten(2)
            value = _crop(values[i : i + 1], inside, STRIDE).flatten(2)
            entries.append(Entry(key, value, key.new_zeros(1, 3, 0), mark.box))
        return entries

    def _planes(self, planes: Sequence[NDArray[np.float32]]) -> Tensor:
        return torch.from_numpy(np.stack(planes))[:, None].to(self.device, self.features.dtype)


def _joined(shared: Sequence[Shared]) -> Shared:
    return Shared(*(torch.cat(parts) for parts in zip(*shared, strict=True)))


def _crop(feature: Tensor, box: Box, stride: int) -> Tensor:
    top, bottom, left, right = (side // stride for side in box)
    return feature[..., top:bottom, left:right]


def make_tracker(network: nn.Module, grid: InternalGrid, device: torch.device, *, top_k: int) -> Tracker:
    """The tracker of a network's kind."""
    if isinstance(network, LocalSTCN):
        return LocalTracker(network, grid, device)
    if isinstance(network, STCN):
        return STCNTracker(network, grid, device, top_k)
    raise TypeError(f"no tracker for {type(network).__name__}")
