"""Enhanced series, folders with other objects, and stacks that are refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from tests.volumes.dicom.orders import OBLIQUE, different_values
from volumes import InputError, read_volume, write_label_map


def refused(path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_volume(path)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]])
def test_enhanced_ct_is_the_classic_volume_whatever_the_order_of_frames(order, series) -> None:
    array = different_values() // 2 * 2  # stored with slope 2
    for row, column in [((1, 0, 0), (0, 1, 0)), OBLIQUE[1][:2]]:
        classic = read_volume(series.classic(array, row=row, column=column, folder=f"classic{row}"))
        enhanced = read_volume(series.enhanced(array, row=row, column=column, order=order))
        np.testing.assert_array_equal(enhanced.array, classic.array)
        assert enhanced.geometry.is_close(classic.geometry)
        assert enhanced.geometry.displacement(classic.geometry) < 1e-9


def test_enhanced_ct_in_a_folder(series, tmp_path) -> None:
    (tmp_path / "case").mkdir()
    series.enhanced(name="case/IM0001")
    assert read_volume(tmp_path / "case").shape == (5, 6, 7)
    assert read_volume(tmp_path / "case" / "IM0001").shape == (5, 6, 7)


def test_frames_of_two_phases(series) -> None:
    assert "two slices at the same place" in refused(series.enhanced(order=[0, 1, 2, 3, 4, 0, 1, 2, 3, 4])).found


def test_a_missing_frame(series) -> None:
    assert "missing slices (a gap of 5.00 mm" in refused(series.enhanced(order=[0, 1, 3, 4])).found


def test_uneven_frames(series) -> None:
    assert "mm apart" in refused(series.enhanced(heights=[0, 2.5, 5.4, 7.5, 10])).found


def test_frames_that_are_scaled_each_in_its_own_way(series) -> None:
    path = series.enhanced(scales=[(2, -1024), (2, -1024), (3, -1024), (2, -1024), (2, 0)])
    assert refused(path).found == "frames that are scaled each in its own way"
    same = series.enhanced(different_values() // 2 * 2, scales=[(2, -1024)] * 5, name="same.dcm")
    np.testing.assert_array_equal(read_volume(same).array, different_values() // 2 * 2)


def test_steps_that_add_up_are_uneven_too(series) -> None:
    """Each step is within 5 % of the usual one, and yet the middle slice lies half a slice off an even grid."""
    heights = np.cumsum([0] + [2.58] * 20 + [2.5] * 3 + [2.42] * 20).tolist()
    array = np.zeros((len(heights), 6, 7), np.int16)
    assert "an even grid" in refused(series.classic(array, heights=heights)).found


def test_an_enhanced_ct_in_several_parts(series, tmp_path) -> None:
    (tmp_path / "case").mkdir()
    first = series.enhanced(order=[0, 1, 2], name="case/1.dcm")
    second = series.enhanced(order=[3, 4], name="case/2.dcm")
    import pydicom

    dataset = pydicom.dcmread(second)
    dataset.SeriesInstanceUID = pydicom.dcmread(first).SeriesInstanceUID
    dataset.save_as(second)
    assert "several files" in refused(tmp_path / "case").found


def test_labels_beside_the_series_are_passed_over(series, labels_of) -> None:
    folder = series.classic()
    volume = read_volume(folder)
    for name in ("labels.seg.dcm", "labels.rtstruct.dcm"):
        write_label_map(labels_of(volume), folder / name)
    np.testing.assert_array_equal(read_volume(folder).array, volume.array)


def test_pydicom_is_asked_for_only_where_frames_need_it(series, monkeypatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    folder, file = series.classic(), series.enhanced()
    monkeypatch.setattr("volumes.dicom.extra.import_module", missing)
    assert read_volume(folder).shape == (5, 6, 7)
    assert refused(file).fix == "pip install 'keyslice[dicom]'"
