"""The slices that a training learns labels from: those that people drew, and pseudo-labels beside them."""

from __future__ import annotations

from collections.abc import Sequence

from networks.training.case_store import StoredCase
from networks.training.streams import LabelledBatches
from reference_module.slice_streams import SliceSettings, SliceStream
from reference_module.training_cases import TrainingCases


class LabelledStream(LabelledBatches):
    """Batches as `SliceStream` gives them, a share of each from pseudo-labelled cases, where there are any.

    Args:
        cases: labelled and pseudo-labelled ones.
        batch_size, pseudo_share, seed, start, rank, ranks: as for `LabelledBatches`.
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
        def stream(group: Sequence[StoredCase], count: int, own_seed: int, pseudo: bool) -> SliceStream:
            return SliceStream(
                group, cases.table, settings=settings, labelled=True, batch_size=count, seed=own_seed, rank=rank
            )

        super().__init__(
            cases.labelled,
            cases.pseudo,
            stream,
            batch_size=batch_size,
            pseudo_share=pseudo_share,
            seed=seed,
            start=start,
            rank=rank,
            ranks=ranks,
        )
