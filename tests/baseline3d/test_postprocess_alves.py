"""Alves' five steps of post-processing, each by hand, and what is left out where structures have no role."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from baseline3d.postprocess import as_plain, from_plain
from baseline3d.postprocess_alves import AlvesPostprocessing, close, enclosed_becomes, within
from baseline3d.roles import structures_of
from volumes.errors import InputError
from volumes.labels import Label, LabelTable

FLARE = LabelTable.read("flare22")
LIVER, AORTA, ADRENAL, GALLBLADDER = 1, 5, 7, 9
HEAD_NECK = LabelTable(
    [Label(1, "brainstem", (1, 1, 1)), Label(2, "Esophagus", (2, 2, 2)), Label(3, "mandible", (3, 3, 3))], "head-neck"
)


def empty(depth: int = 12, side: int = 24) -> NDArray[np.uint8]:
    return np.zeros((depth, side, side), np.uint8)


def size(low: float, high: float, mm3: float = 100.0) -> dict[str, float]:
    return {"mm3": mm3, "from": low, "to": high}


def test_roles_come_from_the_table_or_by_name() -> None:
    assert structures_of(FLARE, "adrenal") == (7, 8) and structures_of(FLARE, "tubular") == (5, 6, 10)
    assert structures_of(FLARE, "liver") == (1,) and structures_of(FLARE, "gallbladder") == (9,)
    assert structures_of(HEAD_NECK, "tubular") == (2,) and structures_of(HEAD_NECK, "adrenal") == ()
    own = LabelTable([Label(4, "aorta", (1, 1, 1), role="organ"), Label(6, "cord", (2, 2, 2), role="tubular")])
    assert structures_of(own, "tubular") == (6,), "what a table says itself counts"


def test_a_structure_below_half_of_the_least_volume_is_dropped() -> None:
    sizes: dict[str, Any] = {"A": {"liver": size(0, 1, 800.0)}, "B": {"liver": size(0, 1, 400.0)}, "C": {}}
    found = AlvesPostprocessing.learnt(sizes, FLARE, smallest=0.5, component=0.0, beyond=20.0)
    assert found.least_mm3 == {"liver": 200.0}
    labels = empty()
    labels[0, 0, :25] = LIVER
    labels[1, 0, :3] = AORTA  # no limit is known for it
    at_limit, below = labels.copy(), labels.copy()
    below[0, 0, 0] = 0
    spacing = (2.0, 2.0, 200 / 24 / 4)  # 24 voxels are 200 mm³
    assert (found.apply(at_limit, spacing, FLARE) == labels).all()
    kept = found.apply(below, spacing, FLARE)
    assert not (kept == LIVER).any() and (kept == AORTA).sum() == 3


def test_adrenals_are_closed_with_five_voxels_where_nothing_else_is() -> None:
    labels = empty()
    labels[5, 10, 2:6] = labels[5, 10, 10:14] = ADRENAL  # a gap of four voxels, which two from either side fill
    labels[5, 10, 7] = LIVER
    close(labels, ADRENAL)
    assert labels[5, 10].tolist() == [0] * 2 + [ADRENAL] * 5 + [LIVER] + [ADRENAL] * 6 + [0] * 10
    far = empty()
    far[5, 10, 2:6] = far[5, 10, 11:14] = ADRENAL
    before = far.copy()
    close(far, ADRENAL)
    assert (far == before).all(), "five voxels are too far"


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_closing_takes_nothing_away_and_touches_nothing_else(seed: int) -> None:
    labels = np.random.default_rng(seed).choice([0, 0, 0, LIVER, ADRENAL], (4, 6, 6)).astype(np.uint8)
    before = labels.copy()
    close(labels, ADRENAL)
    assert ((before == 0) | (labels == before)).all() and set(np.unique(labels[before == 0])) <= {0, ADRENAL}


def test_slices_beyond_the_vessels_are_emptied_but_for_20_mm() -> None:
    labels = np.full((12, 4, 4), LIVER, np.uint8)
    labels[5:7, 0, 0] = AORTA
    found = AlvesPostprocessing({}, component=0.0).apply(labels.copy(), (10.0, 1.0, 1.0), FLARE)
    assert [z for z in range(12) if found[z].any()] == [3, 4, 5, 6, 7, 8]
    without = np.full((12, 4, 4), LIVER, np.uint8)
    assert (within(without.copy(), (AORTA,), 2) == without).all(), "no vessel, no range"


def test_parts_below_a_tenth_are_dropped() -> None:
    labels = empty(3, 40)
    labels[1, 5, :27] = LIVER
    labels[1, 20, :3] = LIVER  # a tenth of thirty stays
    assert (AlvesPostprocessing({}).apply(labels.copy(), (1.0, 1.0, 1.0), FLARE) == labels).all()
    labels[1, 5, 27:30] = LIVER
    found = AlvesPostprocessing({}).apply(labels.copy(), (1.0, 1.0, 1.0), FLARE)
    assert (found == LIVER).sum() == 30 and not found[1, 20].any()


def test_a_part_of_the_gallbladder_that_liver_encloses_on_a_slice_is_liver() -> None:
    labels = empty(6)
    labels[:, 2:12, 2:12] = LIVER
    labels[1:4, 5:7, 5:7] = GALLBLADDER  # enclosed
    labels[3, 5:7, 7:14] = GALLBLADDER  # reaches out of the liver there, but is enclosed on slices 1 and 2
    labels[1:4, 18:20, 5:9] = GALLBLADDER  # elsewhere
    before = labels.copy()
    enclosed_becomes(labels, GALLBLADDER, LIVER)
    assert (labels[1:4, 5:7, 5:7] == LIVER).all() and (labels[3, 5:7, 7:14] == LIVER).all()
    assert (labels[:, 15:] == before[:, 15:]).all()
    beside = empty(6)
    beside[:, 2:12, 2:12] = LIVER
    beside[1:4, 11, 4:8] = GALLBLADDER  # in the liver's rim, open to one side
    before = beside.copy()
    enclosed_becomes(beside, GALLBLADDER, LIVER)
    assert (beside == before).all()
    nothing = empty()
    enclosed_becomes(nothing, GALLBLADDER, LIVER)
    assert not nothing.any()


def test_what_does_not_apply_is_left_out_by_name() -> None:
    """In the head and neck the oesophagus is below all the rest: its range would cut brainstem and mandible."""
    sizes: dict[str, Any] = {
        name: {"brainstem": size(200, 260), "Esophagus": size(0, 100), "mandible": size(90, 119)} for name in "ABC"
    }
    found = AlvesPostprocessing.learnt(sizes, HEAD_NECK, smallest=0.5, component=0.1, beyond=20.0)
    assert found.farther == ("brainstem",)
    assert found.skipped(HEAD_NECK) == [
        "closing of adrenals: no structure has the role adrenal",
        "gallbladder enclosed by liver: no structure has the role liver or gallbladder",
        "range of the vessels: brainstem reach more than 20 mm beyond it in labelled cases",
    ]
    labels = empty()
    labels[10:, :9, :9] = 1
    labels[:2, :9, :9] = 2
    assert (found.apply(labels.copy(), (30.0, 1.0, 1.0), HEAD_NECK) == labels).all()
    abdomen: dict[str, Any] = {name: {"liver": size(0, 118), "aorta": size(20, 100)} for name in "ABC"}
    abdomen["odd"] = {"liver": size(0, 200), "aorta": size(20, 100)}
    learnt = AlvesPostprocessing.learnt(abdomen, FLARE, smallest=0.5, component=0.1, beyond=20.0)
    assert learnt.farther == () and learnt.skipped(FLARE) == []


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_nothing_is_invented_and_the_input_stays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 0, 0, *FLARE], (5, 7, 6)).astype(np.uint8)
    before = labels.copy()
    found = AlvesPostprocessing({"liver": 3.0, "spleen": 20.0}).apply(labels, (3.0, 1.0, 1.0), FLARE)
    assert found.shape == labels.shape and found.dtype == np.uint8 and (labels == before).all()
    changed = found != before
    assert set(np.unique(found[changed])) <= {0, LIVER, *structures_of(FLARE, "adrenal")}


def test_it_comes_back_from_a_weights_file() -> None:
    given = AlvesPostprocessing({"liver": 12.5}, 0.2, 5.0, ("spleen",))
    assert from_plain(as_plain(given), "weights") == given and from_plain(None, "weights") is None
    with pytest.raises(InputError, match="post-processing 'alvse'"):
        from_plain({"kind": "alvse"}, "weights")
    with pytest.raises(InputError, match="least"):
        from_plain({"kind": "alves", "least": {}}, "weights")
