"""DICOM-SEG and RTSTRUCT out of the annotation and into it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="DICOM labels need keyslice[dicom]")

from tests.volumes.dicom.series_writer import SeriesWriter  # noqa: E402
from tools.annotate.exports import export_labels  # noqa: E402
from tools.annotate.imports import as_key_slices, read_import  # noqa: E402
from tools.annotate.label_states import LabelState  # noqa: E402
from volumes.errors import InputError  # noqa: E402
from volumes.formats import read_volume  # noqa: E402
from volumes.volume import Volume  # noqa: E402

LABELS = {2: LabelState("spleen", (10, 200, 30)), 7: LabelState("aorta, left", (255, 0, 1))}


@pytest.fixture
def volume(tmp_path) -> Volume:
    return read_volume(SeriesWriter(tmp_path).classic())


@pytest.mark.parametrize("ending", [".seg.dcm", ".rtstruct.dcm"])
def test_an_export_comes_back_as_key_slices(ending, volume, tmp_path) -> None:
    array = np.zeros(volume.shape, np.uint8)
    array[1, 1:4, 1:4], array[3, 2:5, 2:6] = 2, 7
    exported = export_labels(array, volume, LABELS, tmp_path / f"out{ending}")
    assert exported.notes == () and exported.bytes == exported.path.stat().st_size
    imported = read_import(exported.path, volume, {4: "Spleen"})
    assert imported.merge.values == {2: 4, 7: 7}
    keys = as_key_slices(imported)
    assert sorted(keys) == [1, 3] and keys[1].speaks == {4} and keys[3].speaks == {7}
    np.testing.assert_array_equal(keys[3].mask == 7, array[3] == 7)


def test_dicom_of_another_ct_is_refused(volume, tmp_path) -> None:
    array = np.ones(volume.shape, np.uint8) * 2
    export_labels(array, volume, LABELS, tmp_path / "out.seg.dcm")
    other = read_volume(SeriesWriter(tmp_path).classic(folder="other"))
    with pytest.raises(InputError, match="another frame of reference"):
        read_import(tmp_path / "out.seg.dcm", other, {})


def test_dicom_of_a_ct_that_is_none_is_refused(volume, tmp_path) -> None:
    plain = Volume(volume.array, volume.geometry, "plain")
    with pytest.raises(InputError, match="no DICOM series"):
        export_labels(np.ones(volume.shape, np.uint8) * 2, plain, LABELS, tmp_path / "out.seg.dcm")
    assert not (tmp_path / "out.seg.dcm").exists()
