"""The official FLARE22 rules for DSC and NSD, one by one, and the golden value of the surface Dice."""

import numpy as np
import pytest

from volumes.errors import InputError
from volumes.label_map import LabelMap
from volumes.labels import Label, LabelTable
from volumes.metrics import (
    DEFAULT_TOLERANCE_MM,
    Score,
    case_scores,
    dice,
    structure_score,
    surface_dice,
    tolerance_of,
)
from volumes.volume import Geometry

RED = (200, 0, 0)


def ellipsoid(shape, center, radii):
    grid = np.indices(shape).astype(float)
    return sum(((grid[a] - center[a]) / radii[a]) ** 2 for a in range(3)) <= 1


@pytest.fixture(scope="module")
def golden():
    """Truth, prediction (D, H, W) and spacing (dz, dy, dx) of the golden case, which is given in x, y, z."""
    shape, radii = (60, 56, 30), (14, 12, 7)
    pair = [ellipsoid(shape, (x, 28, 15), radii).transpose(2, 1, 0) for x in (30, 33)]
    return *pair, (2.5, 0.8, 0.8)


def label_map(array, table=None, spacing=(2.0, 1.0, 1.0)):
    array = np.asarray(array, np.uint8)
    table = table or LabelTable.default(range(1, 4))
    return LabelMap(array, Geometry.axial(array.shape, spacing), table)


def cube(shape=(12, 16, 16), z=(2, 9), y=(4, 12), x=(4, 12)):
    mask = np.zeros(shape, bool)
    mask[slice(*z), slice(*y), slice(*x)] = True
    return mask


def test_golden_dsc(golden):
    truth, prediction, _ = golden
    assert dice(truth, prediction) == pytest.approx(0.8427724, abs=1e-6)


@pytest.mark.parametrize(("tolerance", "expected"), [(1, 0.5893332), (2, 0.9151912), (3, 1.0)])
def test_golden_nsd(golden, tolerance, expected):
    truth, prediction, spacing = golden
    assert surface_dice(truth, prediction, spacing, tolerance) == pytest.approx(expected, abs=1e-6)


def test_axis_order_of_the_spacing_counts(golden):
    truth, prediction, spacing = golden
    assert abs(surface_dice(truth, prediction, spacing[::-1], 1) - 0.5893332) > 0.01


def test_cropping_to_the_structure_changes_nothing(golden):
    truth, prediction, spacing = golden
    padded = [np.pad(mask, 9) for mask in (truth, prediction)]
    whole = surface_dice(truth, prediction, spacing, 1)
    assert surface_dice(*padded, spacing, 1) == pytest.approx(whole, abs=1e-7)
    box = (slice(7, 24), slice(15, 42), slice(15, 49))  # touches the structure on all sides
    assert surface_dice(truth[box], prediction[box], spacing, 1) == pytest.approx(whole, abs=1e-7)


def test_a_distance_of_exactly_the_tolerance_is_within():
    truth, prediction = cube(z=(2, 8)), cube(z=(3, 9))
    assert surface_dice(truth, prediction, (2.0, 1.0, 1.0), 2.0) == 1.0
    assert surface_dice(truth, prediction, (2.0, 1.0, 1.0), 1.99) < 1.0


def test_masks_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        dice(np.zeros((2, 3, 4), bool), np.zeros((1, 3, 4), bool))


def test_both_empty_is_perfect_and_one_empty_is_nothing():
    empty, full = np.zeros((12, 16, 16), bool), cube()
    spacing = (1.0, 1.0, 1.0)
    assert structure_score(empty, empty, spacing, 2) == Score(1.0, 1.0)
    assert structure_score(full, empty, spacing, 2) == Score(0.0, 0.0)
    assert structure_score(empty, full, spacing, 2) == Score(0.0, 0.0)
    assert dice(empty, empty) == surface_dice(empty, empty, spacing, 2) == 1.0
    assert surface_dice(full, empty, spacing, 2) == 0.0


def test_dsc_below_0_2_makes_nsd_0():
    truth, prediction = cube(x=(2, 6)), cube(x=(5, 14))  # one column in common
    assert 0 < dice(truth, prediction) < 0.2
    assert surface_dice(truth, prediction, (1.0, 1.0, 1.0), 9) > 0
    score = structure_score(truth, prediction, (1.0, 1.0, 1.0), 9)
    assert score.dsc > 0
    assert score.nsd == 0.0


def test_scores_are_rounded_to_four_decimals(golden):
    truth, prediction, spacing = golden
    assert structure_score(truth, prediction, spacing, 1) == Score(0.8428, 0.5893)


def test_z_restriction_leaves_out_what_lies_beyond_and_the_top_slice():
    truth = cube(z=(3, 9))  # slices 3..8
    prediction = cube(z=(0, 12))  # runs on above and below
    prediction[8] = False  # wrong on the top slice, which does not count
    spacing = (1.0, 1.0, 1.0)
    assert structure_score(truth, prediction, spacing, 2, restrict_z=True) == Score(1.0, 1.0)
    assert structure_score(truth, prediction, spacing, 2).dsc < 1
    prediction[7] = False  # the slice below it does
    assert structure_score(truth, prediction, spacing, 2, restrict_z=True).dsc == round(2 * 4 / 9, 4)


def test_single_slice_truth_is_scored_on_its_slice_and_says_so():
    truth, prediction = cube(z=(5, 6)), cube(z=(0, 12))
    score = structure_score(truth, prediction, (1.0, 1.0, 1.0), 2, restrict_z=True)
    assert (score.dsc, score.nsd) == (1.0, 1.0)
    assert score.note is not None
    assert "single-slice" in score.note


def test_tolerance_and_role_come_from_the_table():
    table = LabelTable([Label(1, "organ", RED, None, 5.0), Label(2, "vessel", RED, "tubular", 2.0)])
    truth, prediction = np.zeros((2, 12, 16, 16), np.uint8)
    truth[cube(z=(2, 9), x=(2, 7))] = 1
    prediction[cube(z=(2, 9), x=(4, 9))] = 1  # 2 mm off: within 5, beyond the default's like on no side
    truth[cube(z=(3, 8), x=(10, 14))] = 2
    prediction[cube(z=(1, 12), x=(10, 14))] = 2
    scores = case_scores(label_map(truth), label_map(prediction), table)
    assert list(scores) == ["organ", "vessel"]
    assert scores["organ"].nsd == 1.0
    assert scores["vessel"] == Score(1.0, 1.0)
    strict = case_scores(label_map(truth), label_map(prediction), table, tolerances={1: 1.0})
    assert strict["organ"].nsd < 1.0


def test_default_tolerance():
    label = Label(1, "thing", RED)
    assert tolerance_of(label) == DEFAULT_TOLERANCE_MM == 2.0
    assert tolerance_of(label, {1: 7.0}) == 7.0
    assert tolerance_of(Label(1, "thing", RED, tolerance_mm=3.0)) == 3.0


def test_flare22_tolerances_and_restricted_structures():
    table = LabelTable.read("flare22")
    assert [tolerance_of(table[value]) for value in range(1, 14)] == [5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3]
    truth, prediction = np.zeros((2, 12, 16, 16), np.uint8)
    truth[cube(z=(3, 8))] = 1
    prediction[cube(z=(1, 12))] = 1
    restricted = []
    for value in range(1, 14):
        maps = [label_map(array * np.uint8(value)) for array in (truth, prediction)]
        if case_scores(*maps, table)[table[value].name].dsc == 1.0:
            restricted.append(value)
    assert restricted == [5, 6, 10]


def test_with_a_table_all_its_structures_count_without_one_those_that_occur():
    truth, prediction = np.zeros((2, 12, 16, 16), np.uint8)
    truth[cube()] = 1
    prediction[cube()] = 1
    prediction[0, 0, 0] = 3
    maps = label_map(truth), label_map(prediction)
    assert set(case_scores(*maps)) == {"label_1", "label_3"}
    scores = case_scores(*maps, LabelTable.default([1, 2, 3]))
    assert {name: score.dsc for name, score in scores.items()} == {"label_1": 1, "label_2": 1, "label_3": 0}


def test_other_grid_is_refused_in_one_line():
    array = cube().astype(np.uint8)
    with pytest.raises(InputError) as caught:
        case_scores(label_map(array), label_map(array, spacing=(2.0, 1.0, 1.5)))
    assert "\n" not in str(caught.value)
    assert "grid" in str(caught.value)
