"""What a 3D network sees of a volume: boxes, voxels of one size, and the papers' intensity rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baseline3d.boxes import box_of
from baseline3d.intensity import Figures, Histogram, IntensitySettings, scaled
from baseline3d.preparation import InputSettings, case_figures, plan, prepared_labels, prepared_slices, weights_back
from baseline3d.store import learnt_figures, open_prepared
from volumes.datasets import read_dataset
from volumes.volume import Geometry, Volume

RANGE = IntensitySettings("range", low=-300, high=300)


def volume(array: np.ndarray, spacing: tuple[float, float, float] = (3.0, 1.0, 1.0)) -> Volume:
    return Volume(array.astype(np.int16), Geometry.axial(array.shape, spacing), "made")


def test_gaos_rule_turns_what_is_outside_to_water() -> None:
    found = scaled(np.array([-1024, -300, -150, 0, 300, 301]), RANGE, None)
    assert found.tolist() == pytest.approx([0.5, 0.0, 0.25, 0.5, 1.0, 0.5])


def test_percentiles_and_figures_are_those_of_the_voxels() -> None:
    rng = np.random.default_rng(0)
    hu = rng.normal(40, 25, (30, 40, 50)).round().astype(np.int16)
    histogram = Histogram()
    for plane in hu:
        histogram.add(plane)
    found = histogram.learnt((0.5, 99.5))
    assert [found.low, found.high] == pytest.approx(np.percentile(hu, (0.5, 99.5)), abs=1)
    assert (found.mean, found.deviation) == pytest.approx((hu.mean(), hu.std()))
    seen = scaled(hu, IntensitySettings("percentiles"), found)
    assert seen.mean() == pytest.approx(0, abs=0.01) and seen.max() == pytest.approx(
        (found.high - found.mean) / found.deviation
    )


def test_zhangs_rule_takes_the_figures_of_the_crop() -> None:
    array = np.full((4, 10, 10), -1024)
    array[1:3, 2:8, 3:9] = np.arange(36).reshape(6, 6) * 40 - 400
    one = volume(array)
    rule = IntensitySettings("clip", low=-500, high=500)
    made = plan(one, InputSettings((4, 8, 8), rule, crop="dense"))
    assert made.box == (slice(1, 3), slice(2, 8), slice(3, 9))
    clipped = np.clip(array[made.box], -500, 500)
    figures = case_figures(one, made.box, rule)
    assert figures is not None and (figures.mean, figures.deviation) == pytest.approx((clipped.mean(), clipped.std()))
    seen = np.stack([scaled(plane, rule, figures) for plane in prepared_slices(one.array, made)])
    assert seen.mean() == pytest.approx(0, abs=1e-5) and seen.std() == pytest.approx(1, abs=1e-5)


def test_a_volume_of_one_value_divides_by_no_zero() -> None:
    histogram = Histogram()
    histogram.add(np.zeros((4, 4), np.int16))
    assert np.isfinite(scaled(np.zeros(3), IntensitySettings("clip"), histogram.clipped(-500, 500))).all()


def test_the_body_is_the_part_in_the_middle_not_the_table() -> None:
    array = np.full((8, 64, 64), -1000)
    array[:, 20:44, 16:48] = 0
    array[:, 56:60, 2:62] = 200
    one = volume(array, (2.0, 1.0, 1.0))
    assert box_of(one, "dense", -500, 0)[1:] == (slice(20, 60), slice(2, 62))
    depth, rows, columns = box_of(one, "body", -500, 0)
    assert depth == slice(0, 8) and abs(rows.start - 20) <= 4 and abs(rows.stop - 44) <= 4 and columns.stop <= 52
    assert rows.start <= 20 and rows.stop >= 44 and columns.start <= 16 and columns.stop >= 48, "all of it"
    assert box_of(volume(array, (2.0, 1.0, 1.0)), "dense", -500, 5.0)[1] == slice(15, 64)
    air = volume(np.full((3, 4, 5), -1000))
    assert box_of(air, "body", -500, 0) == box_of(air, "dense", -500, 0) == (slice(0, 3), slice(0, 4), slice(0, 5))


@given(
    depth=st.integers(1, 12),
    height=st.integers(1, 20),
    step=st.floats(0.4, 7.0),
    wanted=st.floats(0.4, 7.0),
)
@settings(max_examples=40, deadline=None)
def test_any_spacing_keeps_the_extent_and_the_mean(depth: int, height: int, step: float, wanted: float) -> None:
    array = np.random.default_rng(0).integers(-500, 500, (depth, height, 9))
    one = volume(array, (step, 1.0, 2.0))
    made = plan(one, InputSettings((4, 8, 8), RANGE, spacing=(wanted, wanted, wanted)))
    slices = list(prepared_slices(one.array, made))
    assert len(slices) == made.shape[0] and slices[0].shape == made.shape[1:] and slices[0].dtype == np.float32
    assert np.multiply(made.shape, made.spacing) == pytest.approx(np.multiply(array.shape, (step, 1.0, 2.0)))
    assert array.min() - 1e-3 <= min(map(np.min, slices)) and max(map(np.max, slices)) <= array.max() + 1e-3
    back = weights_back(made)
    assert len(back) == depth and all(shares.sum() == pytest.approx(1, abs=1e-5) for _, shares in back)
    assert [first for first, _ in back] == sorted(first for first, _ in back)
    labels = np.stack(list(prepared_labels((array > 0).astype(np.uint8), made)))
    assert labels.shape == made.shape and set(np.unique(labels)) <= {0, 1}


def test_a_ramp_stays_where_it_is_along_every_axis() -> None:
    ramp = np.add.outer(np.arange(30) * 20, np.add.outer(np.arange(24) * 3, np.arange(26) * 5))
    one = volume(ramp, (2.0, 1.0, 1.5))
    for spacing in ((1.0, 0.5, 0.75), (4.0, 2.0, 3.0), (2.0, 1.0, 1.5)):
        made = plan(one, InputSettings((4, 8, 8), RANGE, spacing=spacing))
        found = np.stack(list(prepared_slices(one.array, made)))
        z, y, x = (
            (np.arange(count) + 0.5) * step / own - 0.5
            for count, step, own in zip(made.shape, spacing, (2.0, 1.0, 1.5), strict=True)
        )
        expected = np.add.outer(z * 20, np.add.outer(y * 3, x * 5))
        inner = (slice(2, -2),) * 3
        np.testing.assert_allclose(found[inner], expected[inner], atol=0.01)


def test_the_store_keeps_what_is_prepared(training_set: Path, tmp_path: Path) -> None:
    dataset = read_dataset(training_set)
    inputs = InputSettings((4, 16, 16), IntensitySettings("percentiles"), spacing=(3.0, 4.0, 4.0))
    told: list[tuple[int, int]] = []
    cases = open_prepared(dataset.training, dataset.table, tmp_path, inputs, lambda *done: told.append(done))
    assert told == [(1, 3), (2, 3), (3, 3)] and [case.shape for case in cases] == [(6, 17, 18)] * 3
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = open_prepared(dataset.training, dataset.table, tmp_path, inputs)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    for case in again:
        assert case.labels is not None
        assert set(case.slices_of) == set(np.unique(case.labels)) - {0}
        assert np.array_equal(case.slices_of[1], np.flatnonzero((case.labels == 1).any((1, 2))))
    figures = learnt_figures(again, inputs.intensity)
    voxels = np.concatenate([np.asarray(case.image)[np.asarray(case.labels) > 0] for case in again])
    assert figures is not None and figures.mean == pytest.approx(voxels.mean())
    assert isinstance(figures, Figures) and cases[2].contoured == (1, 2)
