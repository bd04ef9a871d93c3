"""A label map of others becomes proposals or key slices, its labels the document's by name; a wrong one is refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from tools.annotate.exports import export_labels, export_sparse
from tools.annotate.given import GivenSlice
from tools.annotate.imports import as_key_slices, read_import
from tools.annotate.label_states import LabelState
from tools.annotate.merging import merge_labels
from volumes.errors import InputError
from volumes.labels import Label, LabelTable
from volumes.volume import Geometry, Volume

SHAPE = (5, 8, 10)
OWN = {1: "liver", 2: "spleen", 3: "label_3"}


@pytest.fixture
def volume() -> Volume:
    return Volume(np.zeros(SHAPE, np.int16), Geometry.axial(SHAPE, (3.0, 1.0, 1.0)), "case")


def _array() -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[1, 2:5, 2:6], array[3, 4:7, 1:4], array[3, 0, 0] = 1, 2, 5
    return array


def _table(**names: int) -> LabelTable:
    return LabelTable([Label(value, name, (1, 2, 3)) for name, value in names.items()])


def test_names_decide_which_label_is_which(tmp_path: Path, volume: Volume) -> None:
    labels = {1: LabelState("Spleen", (1, 2, 3)), 2: LabelState("tumour", (9, 8, 7)), 5: LabelState("liver", (4, 4, 4))}
    export_labels(_array(), volume, labels, tmp_path / "other.seg.nrrd")
    imported = read_import(tmp_path / "other.seg.nrrd", volume, OWN)
    assert imported.merge.values == {1: 2, 5: 1, 2: 4}, "2 is taken by another structure, 4 is free"
    assert {value: (one.name, one.color) for value, one in imported.merge.new.items()} == {4: ("tumour", (9, 8, 7))}
    assert (imported.array[_array() == 1] == 2).all() and (imported.array[_array() == 2] == 4).all()
    keys = as_key_slices(imported)
    assert sorted(keys) == [1, 3] and keys[3].speaks == {1, 4} and keys[3].kind == "imported"
    assert not any(one.complete for one in keys.values()), "the file does not tell"
    assert sorted(as_key_slices(imported, [3])) == [3]
    for wrong in (2, -1, 5):
        with pytest.raises(InputError, match=f"slice {wrong}"):
            as_key_slices(imported, [3, wrong])


def test_labels_without_names_go_by_their_numbers(tmp_path: Path, volume: Volume) -> None:
    image = sitk.GetImageFromArray(_array())
    image.SetSpacing((1.0, 1.0, 3.0))
    sitk.WriteImage(image, str(tmp_path / "plain.nii.gz"))
    imported = read_import(tmp_path / "plain.nii.gz", volume, OWN)
    assert np.array_equal(imported.array, _array())
    assert list(imported.merge.new) == [5] and imported.merge.values == {1: 1, 2: 2, 5: 5}


def test_merged_labels_never_share_a_number() -> None:
    merge = merge_labels({1: "a", 3: "c"}, _table(x=1, y=2, z=3, c=9), [1, 2, 3, 9], "file")
    assert merge.values[9] == 3 and len(set(merge.values.values())) == 4 and set(merge.new) == {2, 4, 5}
    assert merge.values[2] == 2, "a number that is free is kept"
    full = {value: f"own {value}" for value in range(1, 256)}
    with pytest.raises(InputError, match="at most 255 labels"):
        merge_labels(full, _table(x=1), [1], "file")


def test_a_sparse_export_comes_back_as_the_key_slices_it_was(tmp_path: Path, volume: Volume) -> None:
    array = _array()
    given = {
        1: GivenSlice(array[1], frozenset({1, 2})),
        2: GivenSlice(array[2], frozenset(), True),
        3: GivenSlice(np.where(array[3] == 2, array[3], 0).astype(np.uint8), frozenset({2})),
    }
    labels = {1: LabelState("liver", (1, 1, 1)), 2: LabelState("spleen", (2, 2, 2))}
    path = export_sparse(volume, given, labels, tmp_path / "sparse.nii.gz").path
    imported = read_import(path, volume, {1: "liver", 2: "spleen"})
    assert imported.merge.new == {}
    back = as_key_slices(imported)
    assert sorted(back) == [1, 2, 3] and {z: one.complete for z, one in back.items()} == {1: True, 2: True, 3: False}
    assert all(np.array_equal(back[z].mask, given[z].mask) for z in back)


@pytest.mark.parametrize("change", ["shape", "spacing", "origin", "direction"])
def test_another_grid_is_refused_in_one_line(tmp_path: Path, volume: Volume, change: str) -> None:
    image = sitk.GetImageFromArray(_array()[:4] if change == "shape" else _array())
    image.SetSpacing((1.0, 1.0, 3.1 if change == "spacing" else 3.0))
    image.SetOrigin((4.0 if change == "origin" else 0.0, 0.0, 0.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1) if change == "direction" else (1, 0, 0, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "other.nii.gz"))
    with pytest.raises(InputError) as caught:
        read_import(tmp_path / "other.nii.gz", volume, OWN)
    assert "\n" not in str(caught.value) and "other.nii.gz" in str(caught.value)


def test_a_small_file_of_a_huge_grid_is_refused_before_it_is_unpacked(tmp_path: Path, volume: Volume) -> None:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 30000, 30000, 30000, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 3, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(bytes(header)))
    with pytest.raises(InputError, match="30000"):
        read_import(path, volume, OWN)


@pytest.mark.parametrize("content", [b"", b"not an image", gzip.compress(b"x" * 400, mtime=0)])
def test_what_is_no_label_map_is_refused(tmp_path: Path, volume: Volume, content: bytes) -> None:
    (tmp_path / "broken.nii.gz").write_bytes(content)
    with pytest.raises(InputError):
        read_import(tmp_path / "broken.nii.gz", volume, OWN)


def test_an_empty_map_and_an_image_are_refused(tmp_path: Path, volume: Volume) -> None:
    for name, array in (("empty", np.zeros(SHAPE, np.uint8)), ("ct", np.full(SHAPE, -1000, np.int16))):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1.0, 1.0, 3.0))
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
        with pytest.raises(InputError):
            read_import(tmp_path / f"{name}.nii.gz", volume, OWN)
