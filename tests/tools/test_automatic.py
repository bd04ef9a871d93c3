"""Automatic mode: what the pair sees becomes key slices, what it missed is asked for again, nothing crashes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from propagation_module.propagator import Propagator
from reference_module.choices import SelectionSettings
from reference_module.sampling import sample_slices
from tests.tools.pairs import HU, SPACING, TABLE, HounsfieldPair, ellipsoids, referencer
from tools.automatic import AutomaticSettings, segment_alone, segment_volume
from tools.questions import where_doubtful, where_missed, where_unseen
from volumes.errors import InputError
from volumes.metrics import dice
from volumes.volume import Geometry, Volume


@pytest.fixture(scope="module")
def propagator() -> Propagator:
    return Propagator.load("small", precision="float32")


def noise(shape: tuple[int, int, int]) -> Volume:
    hu = np.random.default_rng(1).integers(-110, -90, shape).astype(np.int16)
    return Volume(hu, Geometry.axial(shape, SPACING), "noise")


def test_everything_is_labelled_and_the_report_says_why(propagator: Propagator) -> None:
    volume, truth = ellipsoids()
    found = segment_volume(volume, referencer(HounsfieldPair(24)), propagator)
    for label in HU:
        assert dice(truth == label, found.labels == label) > 0.93, label
    report = json.loads(json.dumps(found.report))
    assert report["strategy"] == "consistent" and report["sampled"] == sample_slices(24)
    assert report["missed"] == [] and report["doubtful"] == {} and found.warnings == ()
    assert {name for one in report["key_slices"] for name in one["structures"]} == set(TABLE.names())
    assert len(report["key_slices"]) < 12, "few of the 24 slices"
    for one in report["key_slices"]:
        assert all(name in one["reason"] for name in one["structures"])
        for name in one["structures"]:
            value = TABLE.by_name(name).value
            np.testing.assert_array_equal(
                found.labels[one["slice"]] == value, truth[one["slice"]] == value, "key slices come back as they were"
            )
    for label, confidence in found.confidence.items():
        assert confidence.shape == (24,) and confidence.dtype == np.float32
        assert ((confidence >= 0) & (confidence <= 1)).all(), label


def test_the_same_again(propagator: Propagator) -> None:
    volume, _ = ellipsoids()
    pair = HounsfieldPair(24, lambda z, label: 0.3 if label == 2 and z % 5 == 0 else 1.0)
    first, second = (segment_volume(volume, referencer(pair), propagator) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)
    for one in (first, second):
        assert one.report["blend"].pop("seconds") > 0
    assert first.report == second.report


def test_the_pair_has_its_say_on_every_slice(propagator: Propagator) -> None:
    """Of what propagation loses, and only where it is told to."""
    volume, truth = ellipsoids()
    pair = referencer(HounsfieldPair(24))
    found = segment_volume(volume, pair, propagator)
    assert found.report["blend"]["share"] == AutomaticSettings().blend
    alone = segment_volume(volume, pair, propagator, AutomaticSettings(blend=0))
    assert alone.report["blend"] is None
    assert alone.key_slices.slices() == found.key_slices.slices()
    for label in HU:
        assert dice(truth == label, found.labels == label) >= dice(truth == label, alone.labels == label)
        np.testing.assert_array_equal(found.confidence[label], alone.confidence[label])
    seen = segment_alone(volume, pair)
    assert (found.labels != alone.labels).any() or (found.labels == seen.labels).all()


def test_a_structure_that_was_missed_is_asked_for(propagator: Propagator) -> None:
    """It is too faint on the slices that are looked at first, and plain between them."""
    volume, truth = ellipsoids()
    sampled = sample_slices(24)
    pair = HounsfieldPair(24, lambda z, label: 0.3 if label == 2 and z in sampled else 1.0)
    without = segment_volume(volume, referencer(pair), propagator, AutomaticSettings(requery=0))
    assert without.report["missed"] == ["label_2"] and not (without.labels == 2).any()
    found = segment_volume(volume, referencer(pair), propagator)
    assert found.report["missed"] == []
    assert dice(truth == 2, found.labels == 2) > 0.85
    answered = [one for one in found.report["requery"] if one["answer"] == "key slice"]
    assert answered[0]["structure"] == "label_2" and answered[0]["slice"] not in sampled
    by_slice = {one["slice"]: one for one in found.report["key_slices"]}
    assert all("label_2" in by_slice[one["slice"]]["structures"] for one in answered)
    assert all("looked at again" in by_slice[one["slice"]]["reason"] for one in answered)


def test_the_budget_binds(propagator: Propagator) -> None:
    volume, _ = ellipsoids()
    pair = HounsfieldPair(24, lambda z, label: 0.3 if label == 2 else 1.0)  # always faint: asked for in vain
    nothing = segment_volume(volume, referencer(pair), propagator, AutomaticSettings(requery=0))
    for budget in (1, 4):
        found = segment_volume(volume, referencer(pair), propagator, AutomaticSettings(requery=budget))
        more = set(found.report["segmented"]) - set(nothing.report["segmented"])
        assert 1 <= len(more) <= budget
        assert {one["answer"] for one in found.report["requery"]} <= {"the pair is not sure either", "budget spent"}


def test_missed_structures_are_asked_for_where_they_are_likeliest() -> None:
    volume, _ = ellipsoids()
    pair = HounsfieldPair(24, lambda z, label: {5: 0.3, 10: 0.45}.get(z, 0.0) if label == 2 else 1.0)
    seen = referencer(pair).segment(volume, [0, 5, 10, 15, 23])
    (question,) = where_missed(seen, [2], SelectionSettings())
    assert question.z == 7, "between slices 5 and 10, which both hint at it"
    blind = referencer(HounsfieldPair(24, lambda z, label: 0.0)).segment(volume, [0, 5, 10, 15, 23])
    assert where_missed(blind, [1, 2], SelectionSettings()) == [], "the pair is sure that they are not there"
    assert [(one.z, one.label) for one in where_unseen(blind, [1, 2], 2)] == [(19, 1), (19, 2), (2, 1), (2, 2)]


def test_a_thin_structure_between_two_slices_is_found(propagator: Propagator) -> None:
    volume, truth = ellipsoids(second=(10, 13))
    assert not (truth[sample_slices(24)] == 2).any()
    pair = HounsfieldPair(24, lambda z, label: 1.0 if label == 2 else 0.0)  # no other structure to look about for
    found = segment_volume(volume, referencer(pair), propagator)
    assert dice(truth == 2, found.labels == 2) > 0.85
    assert any("may lie between" in one["reason"] for one in found.report["requery"])


def test_questions_are_about_slices_in_doubt(propagator: Propagator) -> None:
    volume, truth = ellipsoids()
    session = propagator.open(volume)
    for z in (8, 16):
        session.annotate(z, truth[z])
    for _ in session.propagate(live=False):
        pass

    def ask(confidence: dict[int, np.ndarray], asked: dict[int, set[int]]) -> list[tuple[int, int]]:
        found = where_doubtful(session, confidence, asked, TABLE, confident=0.8, most=3)
        return [(question.z, question.label) for question in found]

    sure = {label: np.ones(24, np.float32) for label in (1, 2)}
    assert ask(sure, {}) == []
    one = {**sure, 1: np.where(np.arange(24) == 12, 0.3, 1.0).astype(np.float32)}
    assert ask(one, {}) == [(12, 1)]
    assert ask(one, {12: {1}}) == [], "once is enough"
    almost = {**sure, 1: np.full(24, 0.85, np.float32)}
    assert ask(almost, {}) == [], "confident enough"


def test_key_slices_that_the_members_disagree_on_make_the_rest_doubtful(propagator: Propagator) -> None:
    class Quarrel(HounsfieldPair):
        def forward(self, images, position):  # type: ignore[no-untyped-def]
            first, second = super().forward(images, position)
            second[:, 2] = second[:, 2].roll(7, -1)  # half of it
            return first, second

    volume, _ = ellipsoids()
    plain = segment_volume(volume, referencer(HounsfieldPair(24)), propagator, AutomaticSettings(requery=0))
    found = segment_volume(volume, referencer(Quarrel(24)), propagator, AutomaticSettings(requery=0))
    inside = slice(8, 16)
    assert found.confidence[2][inside].max() < 0.6 < plain.confidence[2][inside].min()
    assert found.confidence[1][inside].min() == pytest.approx(plain.confidence[1][inside].min(), abs=0.02)
    assert "label_2" in found.report["doubtful"] and "label_2: in doubt" in found.warnings[0]


@pytest.mark.parametrize("requery", [0, 48])
def test_nothing_found_is_an_empty_label_map(propagator: Propagator, requery: int) -> None:
    volume = noise((24, 30, 44))
    found = segment_volume(volume, referencer(HounsfieldPair(24)), propagator, AutomaticSettings(requery=requery))
    assert found.labels.shape == volume.shape and not found.labels.any()
    assert found.confidence == {} and found.report["key_slices"] == []
    assert found.report["missed"] == ["label_1", "label_2"] and found.report["blend"] is None
    assert len(found.warnings) == 1 and "empty" in found.warnings[0]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_volumes_of_few_slices(propagator: Propagator, depth: int) -> None:
    volume, truth = ellipsoids(depth, second=(0, depth - 1))
    found = segment_volume(volume, referencer(HounsfieldPair(depth)), propagator)
    for label in HU:
        assert dice(truth == label, found.labels == label) > 0.9, label
    empty = segment_volume(noise((depth, 9, 31)), referencer(HounsfieldPair(depth)), propagator)
    assert not empty.labels.any() and empty.warnings


@pytest.mark.parametrize("strategy", ["largest_area", "non_empty", "least_uncertainty"])
def test_other_strategies(propagator: Propagator, strategy: str) -> None:
    volume, truth = ellipsoids()
    settings = AutomaticSettings(strategy=strategy)
    found = segment_volume(volume, referencer(HounsfieldPair(24)), propagator, settings)
    assert found.report["strategy"] == strategy
    assert all(one["reason"] for one in found.report["key_slices"])
    for label in HU:
        assert dice(truth == label, found.labels == label) > 0.85, label


def test_the_pair_alone() -> None:
    volume, truth = ellipsoids()
    steps: list[tuple[int, int]] = []
    found = segment_alone(volume, referencer(HounsfieldPair(24)), lambda done, total: steps.append((done, total)))
    np.testing.assert_array_equal(found.labels, truth)
    assert steps[-1] == (24, 24) and found.report == {"key_slices": []} and found.warnings == ()
    assert segment_alone(noise((3, 20, 20)), referencer(HounsfieldPair(3))).warnings


def test_progress_is_told(propagator: Propagator) -> None:
    volume, _ = ellipsoids()
    steps: list[tuple[int, int]] = []
    pair = referencer(HounsfieldPair(24))
    segment_volume(volume, pair, propagator, progress=lambda done, total: steps.append((done, total)))
    assert (len(sample_slices(24)), len(sample_slices(24))) in steps
    assert all(0 <= done <= total for done, total in steps)


def test_settings_that_cannot_be(propagator: Propagator) -> None:
    volume, _ = ellipsoids()
    with pytest.raises(InputError, match="requery: found -1"):
        AutomaticSettings(requery=-1)
    for share in (-0.1, 1.0):
        with pytest.raises(InputError, match=f"blend: found {share}; expected a share"):
            AutomaticSettings(blend=share)
    with pytest.raises(InputError, match="strategy: found 'best'.*consistent"):
        segment_volume(volume, referencer(HounsfieldPair(24)), propagator, AutomaticSettings(strategy="best"))
