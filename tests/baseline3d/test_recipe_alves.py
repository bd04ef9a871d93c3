"""Alves' recipe: folds that label together, cases on which each two of them agree, a single network at last."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baseline3d.models import load_model
from baseline3d.postprocess_alves import AlvesPostprocessing
from baseline3d.recipes.alves import PairwiseRule, pairwise_dice
from baseline3d.recipes.folds import folds_of, kept_in_all, without
from baseline3d.recipes.run import check_recipe, train_recipe
from baseline3d.training_settings import checked, read_whole
from cps.round_state import read_rounds
from cps.selection import CaseScores
from volumes.datasets import read_dataset
from volumes.errors import InputError

Write = Callable[..., Path]
ALVES: dict[str, Any] = {"kind": "alves", "rounds": 3, "folds": 3, "threshold": 0.0}
LARGE = {"mm3": 9.0, "from": 0.0, "to": 9.0}


def scores(**agreements: tuple[float, ...]) -> CaseScores:
    return CaseScores("A", agreements, dict.fromkeys(agreements, 100))


def test_ten_pairs_of_five_members_by_hand() -> None:
    """Equation 1 for strips of 10, 10, 10, 10 and 5 voxels that begin together: six pairs agree, four have 2·5/15."""
    members = [np.zeros((1, 1, 20), np.uint8) for _ in range(5)]
    for member, length in zip(members, (10, 10, 10, 10, 5), strict=True):
        member[..., :length] = 3
    (values,) = pairwise_dice(members).values()
    assert len(values) == 10 and sorted(values) == pytest.approx([2 / 3] * 4 + [1.0] * 6)
    members[4][..., 15:] = 7  # nobody else sees it
    found = pairwise_dice(members)
    assert list(found) == [3, 7] and sorted(found[7]) == [0.0] * 4 + [1.0] * 6


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_the_order_of_members_does_not_matter_and_copies_agree(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    members = [rng.integers(0, 4, (2, 3, 4)).astype(np.uint8) for _ in range(count)]
    found, turned = pairwise_dice(members), pairwise_dice(members[::-1])
    assert {label: sorted(values) for label, values in found.items()} == {
        label: sorted(values) for label, values in turned.items()
    }
    assert all(len(values) == len(list(combinations(members, 2))) for values in found.values())
    assert all(set(values) == {1.0} for values in pairwise_dice([members[0]] * count).values())


def test_the_structure_on_which_they_agree_least_decides() -> None:
    """min over organs of the mean over pairs: 0.9 is enough, 0.899 is not, whatever the others are."""
    kept, left, empty = PairwiseRule(0.9).judge(
        [
            scores(liver=(1.0,) * 10, aorta=(0.8, 1.0) * 5),
            scores(liver=(1.0,) * 10, aorta=(0.8, 0.998) * 5),
            CaseScores("A", {}, {}),
        ]
    )
    assert kept.accepted and kept.score == pytest.approx(0.9) and kept.structures is None
    assert not left.accepted and left.reason == "below 0.9: aorta 0.899"
    assert not empty.accepted and empty.reason == "no structure was found"
    unseen = CaseScores("A", {"liver": (1.0,)}, {"liver": 0})
    assert not PairwiseRule(0.0).judge([unseen])[0].accepted, "some saw it, the ensemble does not: nothing to learn"


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(2, 7), st.integers(0, 99))
def test_folds_are_parts_of_nearly_equal_size(cases: int, count: int, seed: int) -> None:
    names = [f"case {number}" for number in range(cases)]
    folds = folds_of(names, count, seed)
    assert sorted(name for fold in folds for name in fold) == sorted(names)
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    assert folds == folds_of(names[::-1], count, seed), "files may be listed in any order"
    for number in range(count):
        rest = without(names, number, count)
        assert len(rest) == cases if cases < count else set(names) - set(rest) == set(names[number::count])


def test_a_structure_of_one_fold_alone_is_kept_for_all() -> None:
    sizes: dict[str, Any] = {"A": {"liver": LARGE}, "B": {"liver": LARGE, "rare": LARGE}, "C": {"rare": LARGE}, "D": {}}
    assert kept_in_all([["A"], ["B", "C"], ["D"]], sizes) == {"B": "rare"}
    assert kept_in_all([["A"], ["B"], ["C", "D"]], sizes) == {}
    assert kept_in_all([["A", "B"], ["C", "D"]], sizes) == {"A": "liver"}


def test_the_papers_settings_ship() -> None:
    recipe = check_recipe("alves")
    cycle = recipe.cycle()
    assert (cycle.members, cycle.rounds, cycle.last_members, recipe.fine_tune, recipe.anew) == (5, 5, 1, False, True)
    assert checked(read_whole("alves"), "alves").inference.step == 0.9
    small = checked(read_whole("alves-small", {}), "alves-small")
    assert small.inference.step == 0.9 and small.network == checked(read_whole("small"), "small").network


def _run(config: Path, data: Any, out: Path, start: Path | None) -> list[str]:
    told: list[str] = []
    train_recipe(config, data=data, out=out, start_from=start, progress=False, tell=told.append)
    return told


def _trained_on(run: Path) -> dict[str, list[str]]:
    """Cases of a training, by what they are."""
    cases = json.loads((run / "run.json").read_text(encoding="utf-8"))["cases"]
    return {
        kind: [name for name, one in cases.items() if one["as"] == kind] for kind in ("labelled", "pseudo-labelled")
    }


def test_folds_label_together_and_one_network_learns_of_all(
    training_set: Path, taught_3d: Path, tiny_recipe: Write, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    told = _run(tiny_recipe(ALVES, steps=2), training_set, out, taught_3d)
    state = read_rounds(out / "rounds")
    assert [len(one.members) for one in state.rounds.values()] == [3, 3, 1] and state.ended == "3 rounds are done"
    for number in (1, 2):
        assert sorted(state.rounds[number].scores) == ["U", "V", "W"], "all cases anew"
        scored = state.rounds[number].scores["U"]
        assert all(len(values) == 3 for values in scored.agreements.values()), "three pairs of three"
    runs = [_trained_on(out / f"rounds/round_01/member_{member}/training") for member in (1, 2, 3)]
    left_out = [set("ABC") - set(one["labelled"]) for one in runs]
    # Each leaves one out; left_ball, right_ball are in all three, tube in two of them.
    assert sorted(map(len, left_out)) == [1, 1, 1] and set.union(*left_out) == set("ABC")
    assert not any(one["pseudo-labelled"] for one in runs)
    second = [_trained_on(out / f"rounds/round_02/member_{member}/training") for member in (1, 2, 3)]
    assert sorted(name for one in second for name in one["pseudo-labelled"]) == sorted("UVW" * 2)
    assert _trained_on(out / "rounds/round_03/member_1/training") == {
        "labelled": ["A", "B", "C"],
        "pseudo-labelled": ["U", "V", "W"],
    }
    described = load_model(out / "tiny.safetensors").described
    after = described.postprocessing
    assert isinstance(after, AlvesPostprocessing)
    truth = json.loads((out / "stages.jsonl").read_text(encoding="utf-8").splitlines()[0])["result"]
    assert after.least_mm3["tube"] == pytest.approx(0.5 * min(truth[name]["tube"]["mm3"] for name in "AB"))
    assert "post-processing: closing of adrenals: no structure has the role adrenal" in told
    described_in = json.loads((out / "report.json").read_text(encoding="utf-8"))
    shipped, trained, start = (described_in["scores"][name]["mean"] for name in ("shipped", "trained", "start"))
    assert described_in["gain"] == pytest.approx(shipped - start, abs=1e-6)
    assert described_in["gain_without_postprocessing"] == pytest.approx(trained - start, abs=1e-6)
    report = (out / "report.md").read_text(encoding="utf-8")
    assert f"({trained - start:+.4f} before post-processing, which the start is without)" in report
    assert "- Left out: gallbladder enclosed by liver: no structure has the role liver or gallbladder" in report


def test_a_fold_without_a_structure_sees_one_all_the_same(
    training_set: Path, taught_3d: Path, tiny_recipe: Write, tmp_path: Path
) -> None:
    dataset = read_dataset(training_set)
    cases = tuple(case if case.name == "A" else replace(case, contoured=frozenset({1, 2})) for case in dataset.training)
    config = tiny_recipe({**ALVES, "rounds": 2, "threshold": 1.0}, steps=1)
    told = _run(config, replace(dataset, training=cases, validation=()), tmp_path / "run", taught_3d)
    assert any(line.endswith("A is not left out, no other fold has tube") for line in told)
    assert (
        told[-1].startswith(("round 1: no case was added", "post-processing")) and "round 1: no case was added" in told
    )


def test_fewer_cases_than_folds(training_set: Path, tiny_recipe: Write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"3 labelled cases for 4 folds.*lower recipe.folds"):
        _run(tiny_recipe({**ALVES, "folds": 4}), training_set, tmp_path / "run", None)
    with pytest.raises(InputError, match=r"recipe.folds: found 1"):
        _run(tiny_recipe({**ALVES, "folds": 1}), training_set, tmp_path / "run", None)
    assert not (tmp_path / "run").exists()
