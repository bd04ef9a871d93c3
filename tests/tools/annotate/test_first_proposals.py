"""A result to review: a new case begins with it as proposals, one that was begun does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from tests.tools.annotate.serving import write_ct
from tools.annotate.opening import open_case
from tools.annotate.worklist import find_worklist
from volumes.formats import read_volume, write_label_map
from volumes.label_map import LabelMap
from volumes.labels import LabelTable


def test_a_result_is_proposed_first(tmp_path: Path) -> None:
    ct = write_ct(tmp_path / "ct.nii.gz")
    volume = read_volume(ct)
    array = np.zeros(volume.shape, np.uint8)
    array[2:5, 4:9, 4:9] = 3
    table = LabelTable.read("flare22")
    name = table[3].name
    (tmp_path / "results").mkdir()
    write_label_map(LabelMap(array, volume.geometry, table), tmp_path / "results" / "ct.seg.nrrd")
    (entry,) = find_worklist(ct, proposals=tmp_path / "results")
    for first in (True, False):
        opened = open_case(entry, None)
        try:
            assert opened.document.names[3] == name
            assert opened.proposals.slices() == [2, 3, 4]
            for z in range(len(array)):
                np.testing.assert_array_equal(opened.proposals.masks[z], array[z])
            assert not opened.document.slices, "nothing is painted"
        finally:
            opened.store.close()
        if first:  # the second time it is what was kept, whatever the file says
            sitk.WriteImage(sitk.Image(2, 2, 2, sitk.sitkUInt8), str(tmp_path / "results" / "ct.seg.nrrd"))
