"""Two streams side by side: labelled slices in passes, each once a pass, and unlabelled slices without end.

What a pass is belongs to the labelled stream; nothing stops at its end, since steps are counted, not epochs. Batch `b`
is a function of the seed, the rank and `b` alone, and so is a run that was killed and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor
from torch.utils.data import IterableDataset

from networks.training.streams import in_turn
from reference_module.labelled_stream import LabelledStream
from reference_module.slice_streams import SliceStream

Batch = dict[str, dict[str, Tensor]]
"""`labelled` and `unlabelled`, each as `SliceStream` gives it."""


class TwoStreams(IterableDataset[Batch]):
    """Batches of both streams, from batch `start` on."""

    def __init__(self, labelled: LabelledStream, unlabelled: SliceStream, start: int = 0) -> None:
        self.labelled, self.unlabelled, self.start = labelled, unlabelled, start

    def __iter__(self) -> Iterator[Batch]:
        return in_turn(self.batch, self.start)

    def batch(self, index: int) -> Batch:
        """Batch `index` of both."""
        return {"labelled": self.labelled.batch(index), "unlabelled": self.unlabelled.batch(index)}
