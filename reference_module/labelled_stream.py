"""The slices that a training learns labels from: those that people drew, and pseudo-labels beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from reference_module.slice_streams import SliceSettings, SliceStream
from reference_module.training_cases import TrainingCases

_PSEUDO = 1_000_003  # added to the seed, so that the two do not draw in step

Case = TypeVar("Case")
Batch = TypeVar("Batch")


class LabelledStream(IterableDataset[dict[str, Tensor]]):
    """Batches as `SliceStream` gives them, a share of each from pseudo-labelled cases, where there are any.

    Both kinds are gone through in passes of their own: with many pseudo-labelled cases and one pass over all, people's
    few labels would drown among them.

    Args:
        cases: labelled and pseudo-labelled ones.
        batch_size: of both kinds together.
        pseudo_share: of the batch, rounded; at least one slice stays a person's.
        start: first batch.
        rank, ranks: this process, of those that train together: each has its part of the cases.
    """

    def __init__(
        self,
        cases: TrainingCases,
        *,
        settings: SliceSettings,
        batch_size: int,
        pseudo_share: float,
        seed: int,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        pseudo = min(batch_size - 1, round(pseudo_share * batch_size)) if cases.pseudo else 0
        kinds = ((cases.labelled, batch_size - pseudo, seed), (cases.pseudo, pseudo, seed + _PSEUDO))
        self.streams = [
            SliceStream(
                part_of(group, rank, ranks),
                cases.table,
                settings=settings,
                labelled=True,
                batch_size=count,
                seed=own_seed,
                rank=rank,
            )
            for group, count, own_seed in kinds
            if count
        ]
        self.start = start

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return in_turn(self.batch, self.start)

    def batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index`."""
        parts = [stream.batch(index) for stream in self.streams]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


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
