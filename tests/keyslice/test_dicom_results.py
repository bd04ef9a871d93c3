"""Labels of a CT that is a DICOM series can be saved as DICOM, from Python as from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="DICOM labels need keyslice[dicom]")
pytest.importorskip("highdicom", reason="DICOM labels need keyslice[dicom]")

import keyslice  # noqa: E402
from tests.volumes.dicom.series_writer import SeriesWriter  # noqa: E402
from volumes import Label, LabelMap, LabelTable, read_label_map, read_volume, write_label_map  # noqa: E402

if TYPE_CHECKING:
    from propagation_module.propagator import Propagator


@pytest.mark.parametrize("ending", ["seg.dcm", "rtstruct.dcm"])
def test_a_result_is_saved_as_dicom(tmp_path: Path, model: Propagator, ending: str) -> None:
    series = SeriesWriter(tmp_path).classic()
    volume = read_volume(series)
    array = np.zeros(volume.shape, np.uint8)
    array[2, 1:5, 1:6] = 3
    keys = LabelMap(array, volume.geometry, LabelTable([Label(3, "liver", (181, 98, 66))]))
    write_label_map(keys, tmp_path / "keys.nii.gz")

    result = keyslice.propagate(series, tmp_path / "keys.nii.gz", model=model)
    result.save(tmp_path / f"out.{ending}")
    back = read_label_map(tmp_path / f"out.{ending}", like=volume)
    np.testing.assert_array_equal(back.array, result.label_map().array)
    assert back.array[2, 1:5, 1:6].all() and back.table.names() == ("liver",)
