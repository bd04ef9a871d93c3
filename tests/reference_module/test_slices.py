"""Stored slices: the volume's own values in canonical order, made once, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from networks.training import case_store
from reference_module import slices
from reference_module.inputs import pixel_shape, resized
from reference_module.slices import open_store
from volumes.datasets import DataCase
from volumes.errors import InputError
from volumes.formats import read_label_map, read_volume
from volumes.labels import Label, LabelTable
from volumes.resampling import resized_labels

TABLE = LabelTable([Label(2, "left_lung", (1, 2, 3)), Label(5, "heart", (4, 5, 6))])
MAKE = (5, 12, 14)  # D, H, W


def _write(path: Path, array: np.ndarray, direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1)) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((2.0, 3.0, 5.0))
    image.SetOrigin((10.5, -3.25, 100.0))
    image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def case(tmp_path: Path) -> DataCase:
    """A CT that runs to the patient's right and down, with two structures."""
    rng = np.random.default_rng(0)
    array = rng.integers(-1000, 1500, MAKE).astype(np.int16)
    labels = np.zeros(MAKE, np.uint8)
    labels[1:3, 2:6, 3:8] = 2
    labels[2:5, 8:11, 8:13] = 5
    turned = (-1, 0, 0, 0, 1, 0, 0, 0, -1)
    image = _write(tmp_path / "case_0000.nii.gz", array, turned)
    return DataCase("case", image, _write(tmp_path / "case.nii.gz", labels, turned), frozenset({2}))


def test_the_file_s_own_pixels(case: DataCase, tmp_path: Path) -> None:
    (stored,) = open_store([case], TABLE, tmp_path / "cache", None)
    volume = read_volume(case.image)
    labels = read_label_map(case.label or "", like=volume)
    assert isinstance(stored.image, np.memmap) and isinstance(stored.labels, np.memmap)
    assert stored.image.dtype == np.int16 and stored.labels.dtype == np.uint8
    np.testing.assert_array_equal(stored.image, volume.array)
    np.testing.assert_array_equal(stored.labels, labels.array)
    assert stored.shape == MAKE and stored.depth == 5 and stored.spacing == (5.0, 3.0, 2.0)
    assert stored.contoured == (2,)
    assert {label: where.tolist() for label, where in stored.slices_of.items()} == {
        label: np.flatnonzero((labels.array == label).any((1, 2))).tolist() for label in (2, 5)
    }


@pytest.mark.parametrize("pixel", [1.1, 2.0, 4.7, 11.0])
def test_other_pixels(case: DataCase, tmp_path: Path, pixel: float) -> None:
    (stored,) = open_store([case], TABLE, tmp_path / "cache", pixel)
    volume, labels = read_volume(case.image), read_label_map(case.label or "")
    shape = (round(12 * 3 / pixel), round(14 * 2 / pixel))
    assert stored.shape == (5, *shape) and pixel_shape((12, 14), (3.0, 2.0), pixel) == shape
    assert stored.spacing == pytest.approx((5.0, 36 / shape[0], 28 / shape[1]))
    assert stored.labels is not None
    for z in range(5):
        np.testing.assert_array_equal(stored.image[z], resized(volume.array[z], shape))
        np.testing.assert_array_equal(stored.labels[z], resized_labels(labels.array[z], shape))
    for label, where in stored.slices_of.items():
        assert where.tolist() == np.flatnonzero((stored.labels == label).any((1, 2))).tolist()


@pytest.mark.parametrize("factor", [1 / 3, 0.5, 1.7, 2.0, 3.0])
def test_image_and_labels_stay_on_each_other(factor: float) -> None:
    """The centre of mass of a bright block and that of its label move alike: no half pixel is lost."""
    plane, labels = np.zeros((60, 60), np.int16), np.zeros((60, 60), np.uint8)
    plane[12:36, 24:42], labels[12:36, 24:42] = 1000, 1
    shape = (round(60 * factor), round(60 * factor))
    grey, mask = resized(plane, shape).astype(float), resized_labels(labels, shape)
    for axis in (0, 1):
        grid = (np.arange(shape[axis]) + 0.5) / shape[axis]
        places = [float((one.sum(1 - axis) * grid).sum() / one.sum()) for one in (grey, mask)]
        assert places[0] == pytest.approx((24, 33)[axis] / 60, abs=0.002)
        assert places[1] == pytest.approx(places[0], abs=0.005)


def test_pixels_between_two_values_are_averaged() -> None:
    board = (np.indices((8, 8)).sum(0) % 2 * 200).astype(np.int16)
    assert np.all(resized(board, (4, 4)) == 100)


def test_made_once(case: DataCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, steps = tmp_path / "cache", []
    first = open_store([case], TABLE, cache, 2.0, lambda *step: steps.append(step))[0]
    assert steps == [(1, 1)] and not list(cache.glob("*.part"))
    monkeypatch.setattr(slices, "read_volume", None)
    monkeypatch.setattr(case_store, "read_label_map", None)
    again = open_store([case], TABLE, cache, 2.0)[0]
    assert again.image_file == first.image_file and again.label_file == first.label_file
    assert again.spacing == first.spacing and again.shape == first.shape
    assert {k: v.tolist() for k, v in again.slices_of.items()} == {k: v.tolist() for k, v in first.slices_of.items()}


def test_other_processes_make_the_same(case: DataCase, tmp_path: Path) -> None:
    cases = [replace(case, name=name) for name in "abc"]
    alone = open_store(cases, TABLE, tmp_path / "alone", 2.0)
    steps: list[tuple[int, int]] = []
    together = open_store(cases, TABLE, tmp_path / "together", 2.0, lambda *step: steps.append(step), workers=2)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    for one, other in zip(alone, together, strict=True):
        assert one.name == other.name and np.array_equal(one.image, other.image)
        assert one.labels is not None and other.labels is not None and np.array_equal(one.labels, other.labels)
    broken = [replace(case, name="d", label=tmp_path / "nowhere.nii.gz"), *cases]
    with pytest.raises(InputError, match="nowhere.nii.gz"):
        open_store(broken, TABLE, tmp_path / "together", 2.0, workers=2)


def test_what_changed_is_made_anew(case: DataCase, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = open_store([case], TABLE, cache, None)[0]
    assert open_store([case], TABLE, cache, 2.0)[0].shape != first.shape
    array = np.full(MAKE, 77, np.int16)
    _write(case.image, array, (-1, 0, 0, 0, 1, 0, 0, 0, -1))
    os.utime(case.image, ns=(1, 1))
    assert np.all(open_store([case], TABLE, cache, None)[0].image == 77)


def test_a_stored_array_that_is_not_whole_is_made_anew(case: DataCase, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = open_store([case], TABLE, cache, None)[0]
    expected = np.array(first.image)
    first.image_file.write_bytes(first.image_file.read_bytes()[:500])
    first.image_file.with_suffix(".json").unlink()
    np.testing.assert_array_equal(open_store([case], TABLE, cache, None)[0].image, expected)
    first.image_file.write_bytes(first.image_file.read_bytes()[:500])
    np.testing.assert_array_equal(open_store([case], TABLE, cache, None)[0].image, expected)


def test_an_array_counts_when_its_description_is_there(
    case: DataCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written last, each after what it stands for is on the disk: a power cut leaves no array of zeros."""
    cache, events = tmp_path / "cache", []
    sync, replace_path = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("synced"), sync(handle)))

    def renamed(path: Path, target: Path) -> Path:
        events.append("".join(target.suffixes))
        return replace_path(path, target)

    monkeypatch.setattr(Path, "replace", renamed)
    stored = open_store([case], TABLE, cache, None)[0]
    assert events == [
        "synced",
        ".image.npy",
        "synced",
        ".image.json",
        "synced",
        ".labels.npy",
        "synced",
        ".labels.json",
    ]
    made = stored.image_file.stat().st_ino
    with stored.image_file.open("ab") as file:
        file.write(b"more")
    again = open_store([case], TABLE, cache, None)[0]
    assert again.image_file.stat().st_ino != made and again.image_file.stat().st_size < 2000 + 128
    again.image_file.with_suffix(".json").write_text("{}")
    np.testing.assert_array_equal(open_store([case], TABLE, cache, None)[0].image, read_volume(case.image).array)


def test_processes_are_started_for_what_is_not_there(
    case: DataCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store([case], TABLE, tmp_path, 2.0)
    monkeypatch.setattr(case_store, "ProcessPoolExecutor", None)
    assert open_store([case], TABLE, tmp_path, 2.0, workers=2)[0].shape
    with pytest.raises(TypeError):
        open_store([case], TABLE, tmp_path, 3.0, workers=2)


def test_labels_that_come_later_leave_the_image_as_it_is(
    case: DataCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    bare = open_store([replace(case, label=None, contoured=None)], TABLE, cache, 2.0)[0]
    assert bare.labels is None and not bare.slices_of and bare.contoured is None
    monkeypatch.setattr(slices, "read_volume", None)
    labelled = open_store([case], TABLE, cache, 2.0)[0]
    assert labelled.image_file == bare.image_file and labelled.labels is not None


def test_a_structure_too_small_for_the_pixels_is_on_no_slice(case: DataCase, tmp_path: Path) -> None:
    labels = np.zeros(MAKE, np.uint8)
    labels[2, 3, 3] = 2
    labels[2, 6:, 6:] = 5
    small = replace(case, label=_write(tmp_path / "small.nii.gz", labels, (-1, 0, 0, 0, 1, 0, 0, 0, -1)))
    stored = open_store([small], TABLE, tmp_path / "cache", 14.0)[0]
    assert set(stored.slices_of) == {5}


@pytest.mark.parametrize("packed", [True, False])
def test_bad_labels(case: DataCase, tmp_path: Path, packed: bool) -> None:
    cache = tmp_path / "cache"
    if packed:
        open_store([replace(case, label=None)], TABLE, cache, None)
    other = _write(tmp_path / "other.nii.gz", np.zeros((4, 12, 14), np.uint8), (-1, 0, 0, 0, 1, 0, 0, 0, -1))
    with pytest.raises(InputError, match=r"other.nii.gz: found \(4, 12, 14\) voxels"):
        open_store([replace(case, label=other)], TABLE, cache, None)
    turned = _write(tmp_path / "turned.nii.gz", np.zeros(MAKE, np.uint8))
    with pytest.raises(InputError, match="turned.nii.gz: found a grid that lies up to"):
        open_store([replace(case, label=turned)], TABLE, cache, None)
    with pytest.raises(InputError, match="found label 5; expected labels of labels: 2"):
        open_store([case], LabelTable([TABLE[2]]), cache, None)


def test_no_space_or_no_folder(case: DataCase, tmp_path: Path, patch_full_disk: Callable[[], None]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="free disk space, or choose another cache folder"):
        open_store([case], TABLE, tmp_path / "file" / "cache", None)
    patch_full_disk()
    with pytest.raises(InputError, match="No space left on device"):
        open_store([case], TABLE, tmp_path / "cache", None)
    assert not list((tmp_path / "cache").glob("*.npy")) and not list((tmp_path / "cache").glob("*.part"))


@pytest.fixture
def patch_full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    return lambda: monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
