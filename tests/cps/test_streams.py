"""Two streams: labelled slices once a pass, unlabelled ones without end, both known from the batch's number."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from cps.streams import TwoStreams
from reference_module.labelled_stream import LabelledStream
from reference_module.slice_streams import SliceSettings, SliceStream
from reference_module.training_cases import TrainingCases, open_cases


@pytest.fixture
def cases(training_set: Path, tmp_path: Path) -> TrainingCases:
    return open_cases(training_set, cache=tmp_path / "cases", pixel=None, with_unlabelled=True)


def _streams(cases: TrainingCases, start: int = 0, rank: int = 0, ranks: int = 1, **settings: object) -> TwoStreams:
    drawn = SliceSettings(size=24, **settings)  # type: ignore[arg-type]
    labelled = LabelledStream(cases, settings=drawn, batch_size=3, pseudo_share=0.5, seed=4, rank=rank, ranks=ranks)
    unlabelled = SliceStream(
        cases.unlabelled, cases.table, settings=drawn, labelled=False, batch_size=2, seed=5, rank=rank
    )
    return TwoStreams(labelled, unlabelled, start)


def _equal(a: dict[str, dict[str, Tensor]], b: dict[str, dict[str, Tensor]]) -> bool:
    return all(torch.equal(a[stream][name], b[stream][name]) for stream in a for name in a[stream])


def test_a_batch_of_both(cases: TrainingCases) -> None:
    batch = next(iter(_streams(cases)))
    assert batch["labelled"]["image"].shape == (3, 3, 24, 24) and batch["unlabelled"]["image"].shape == (2, 3, 24, 24)
    assert set(batch["labelled"]) == {"image", "position", "label", "known"}
    assert set(batch["unlabelled"]) == {"image", "position"}


def test_labelled_slices_come_once_a_pass_and_unlabelled_never_end(cases: TrainingCases) -> None:
    streams = _streams(cases)
    in_all = sum(case.depth for case in cases.labelled)  # 18 slices: 6 batches of 3
    (labelled,) = streams.labelled.streams
    import numpy as np

    for turn in range(2):
        numbers = range(turn * in_all, (turn + 1) * in_all)
        drawn = Counter(labelled.draw(number, np.random.default_rng(0))[:2] for number in numbers)
        assert set(drawn.values()) == {1} and len(drawn) == in_all
    assert len(list(islice(streams, 30))) == 30, "no stream ends, five passes on"


@pytest.mark.parametrize("workers", [0, 2])
def test_gone_on_with_it_gives_the_batches_that_it_would_have_given(cases: TrainingCases, workers: int) -> None:
    straight = list(islice(_streams(cases, augmentation=1.0, flips="swap"), 6))
    resumed = _streams(cases, start=3, augmentation=1.0, flips="swap")
    found = list(islice(DataLoader(resumed, batch_size=None, num_workers=workers), 3))
    assert all(_equal(a, b) for a, b in zip(straight[3:], found, strict=True))


def test_ranks_see_different_slices(cases: TrainingCases) -> None:
    first, second = (_streams(cases, rank=rank, ranks=2) for rank in (0, 1))
    assert not _equal(first.batch(0), second.batch(0))
    names = [{case.name for case in stream.labelled.streams[0].cases} for stream in (first, second)]
    assert not names[0] & names[1] and names[0] | names[1] == {case.name for case in cases.labelled}
