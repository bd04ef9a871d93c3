"""Pseudo-labels that speak for some structures alone, on their way into a training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from networks.training.pseudo_label import PseudoLabel
from reference_module.labelled_stream import LabelledStream
from reference_module.slice_streams import SliceSettings
from reference_module.training_cases import open_cases
from volumes.datasets import read_dataset


def test_a_path_speaks_for_all_of_the_table() -> None:
    given = PseudoLabel(Path("labels.nii.gz"), frozenset({1}))
    assert PseudoLabel.of(given) is given
    assert PseudoLabel.of("labels.nii.gz") == PseudoLabel(Path("labels.nii.gz"), None)


@pytest.mark.parametrize("full", [False, True], ids=["partly labelled data", "full table"])
def test_what_it_does_not_speak_for_is_unknown_whatever_the_data_set_says(
    training_set: Path, tmp_path: Path, full: bool
) -> None:
    dataset = read_dataset(training_set)
    if full:
        dataset = replace(dataset, training=tuple(case for case in dataset.training if case.contoured is None))
    labels = training_set / "labelsTr" / "A.nii.gz"
    pseudo = {"U": labels, "V": PseudoLabel(labels, frozenset({1, 2})), "W": PseudoLabel(labels, frozenset())}
    cases = open_cases(dataset, cache=tmp_path, pixel=None, pseudo=pseudo)
    assert [(case.name, case.contoured) for case in cases.pseudo] == [("U", None), ("V", (1, 2)), ("W", ())]
    known = {}
    for case in cases.pseudo:
        stream = LabelledStream(
            replace(cases, pseudo=[case]), settings=SliceSettings(size=32), batch_size=2, pseudo_share=0.5, seed=1
        )
        known[case.name] = stream.batch(0)["known"][-1].tolist()
    assert known == {"U": [True] * 4, "V": [True, True, True, False], "W": [True, False, False, False]}
