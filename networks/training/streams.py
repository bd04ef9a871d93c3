"""Endless streams of training batches: orders, the parts of ranks and workers, labels by people and pseudo-labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from networks.training.case_store import StoredCase
from networks.training.settings import pseudo_labelled

_PSEUDO = 1_000_003  # added to the seed, so that the two kinds do not draw in step

Case = TypeVar("Case")
Batch = TypeVar("Batch")
Stored = TypeVar("Stored", bound=StoredCase)


class Batches(Protocol):
    """Batches by their number."""

    def batch(self, index: int) -> dict[str, Tensor]: ...


class Orders:
    """Endless passes through things, each pass in an order of its own, by the seed and the rank alone."""

    def __init__(self, seed: int, rank: int) -> None:
        self.seed, self.rank = seed, rank
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def at(self, what: int, number: int, length: int) -> int:
        """The `number`-th of the passes through `length` things of the kind `what`."""
        turn, place = divmod(number, length)
        if self._orders.get(what, (-1,))[0] != turn:
            order = np.random.default_rng((self.seed, self.rank, what, turn)).permutation(length)
            self._orders[what] = (turn, order)
        return int(self._orders[what][1][place])

    def by_structure(self, cases_with: Mapping[int, Sequence[int]], number: int) -> tuple[int, int]:
        """The `number`-th draw through the structures, of each through its cases: the case's number, and the label."""
        turn, place = divmod(number, len(cases_with))
        label = list(cases_with)[place]
        having = cases_with[label]
        return having[self.at(label, turn, len(having))], label


class LabelledBatches(IterableDataset[dict[str, Tensor]]):
    """Batches of labelled samples, a share of each from pseudo-labelled cases, where there are any.

    Both kinds are gone through in passes of their own: with many pseudo-labelled cases and one pass over all, people's
    few labels would drown among them.

    Args:
        labelled, pseudo: cases with people's labels and with pseudo-labels.
        make: from cases, the number of samples in a batch, the seed, and whether these are pseudo-labelled ones, to a
            stream of theirs.
        batch_size: of both kinds together.
        pseudo_share: of the batch, rounded; at least one sample stays a person's.
        start: first batch.
        rank, ranks: this process, of those that train together: each has its part of the cases.
    """

    def __init__(
        self,
        labelled: Sequence[Stored],
        pseudo: Sequence[Stored],
        make: Callable[[Sequence[Stored], int, int, bool], Batches],
        *,
        batch_size: int,
        pseudo_share: float,
        seed: int,
        start: int,
        rank: int,
        ranks: int,
    ) -> None:
        count = pseudo_labelled(batch_size, pseudo_share) if pseudo else 0
        self.streams = [make(part_of(labelled, rank, ranks), batch_size - count, seed, False)]
        if count:
            self.streams.append(make(part_of(pseudo, rank, ranks), count, seed + _PSEUDO, True))
        self.start = start

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return in_turn(self.batch, self.start)

    def batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index`."""
        parts = [stream.batch(index) for stream in self.streams]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def stacked(samples: Sequence[Mapping[str, NDArray]]) -> dict[str, Tensor]:
    """Samples as one batch."""
    return {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}


def part_of(cases: Sequence[Case], rank: int, ranks: int) -> Sequence[Case]:
    """Every `ranks`-th case from the `rank`-th on; all of them where there are too few to go round."""
    return cases[rank::ranks] if len(cases) >= ranks else cases


def in_turn(batch: Callable[[int], Batch], start: int) -> Iterator[Batch]:
    """Batches from `start` on without end; in a loader's worker, those that are its turn."""
    worker: Any = get_worker_info()
    index, stride = (start + worker.id, worker.num_workers) if worker else (start, 1)
    while True:
        yield batch(index)
        index += stride


def cases_with(cases: Sequence[StoredCase], labels: Sequence[int]) -> dict[int, list[int]]:
    """For each label that a case contours and has, the numbers of the cases that do."""
    having = {
        label: [
            number
            for number, case in enumerate(cases)
            if label in case.slices_of and (case.contoured is None or label in case.contoured)
        ]
        for label in labels
    }
    return {label: numbers for label, numbers in having.items() if numbers}
