"""Exports lie on the file's exact grid with names and colours, and the sparse one is what nnU-Net asks for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st

from tools.annotate.exports import export_labels, export_sparse, shown_labels, sparse_labels
from tools.annotate.given import GivenSlice
from tools.annotate.label_states import LabelState
from volumes.errors import InputError
from volumes.formats import read_label_map, read_volume
from volumes.volume import Volume

GRIDS = {
    "plain": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "flipped": (-1, 0, 0, 0, -1, 0, 0, 0, 1),
    "permuted": (0, 0, 1, 1, 0, 0, 0, -1, 0),
    "oblique": (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0),
}
LABELS = {2: LabelState("spleen", (10, 200, 30)), 7: LabelState("aorta, left", (255, 0, 1), visible=False)}


def _ct(folder: Path, grid: str) -> Volume:
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(-200, 200, (6, 9, 11)).astype(np.int16))
    image.SetDirection(GRIDS[grid])
    image.SetSpacing((0.7, 1.3, 2.9))
    image.SetOrigin((-12.25, 31.5, 7.125))
    sitk.WriteImage(image, str(folder / "ct.nii.gz"))
    return read_volume(folder / "ct.nii.gz")


def _slice(shape: tuple[int, int], speaks: set[int], complete: bool = False, **boxes: int) -> GivenSlice:
    """`l7=3` paints label 7 on the first 3 rows."""
    mask = np.zeros(shape, np.uint8)
    for name, rows in boxes.items():
        mask[:rows, :4] = int(name[1:])
    return GivenSlice(mask, frozenset(speaks), complete)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ending", [".nii.gz", ".seg.nrrd"])
def test_what_is_shown_comes_back_from_the_file_on_the_scans_own_grid(tmp_path: Path, grid: str, ending: str) -> None:
    volume = _ct(tmp_path, grid)
    proposals = np.zeros(volume.shape, np.uint8)
    proposals[1:3, 1:5, 1:6] = 2
    given = {1: _slice(volume.shape[1:], {7}, l7=3)}
    array = shown_labels(volume.shape, given, proposals)
    path = tmp_path / f"out{ending}"
    path.write_bytes(b"an older export")
    exported = export_labels(array, volume, LABELS, path)
    assert exported.bytes == path.stat().st_size
    back = read_label_map(path, like=volume)
    assert np.array_equal(back.array, array) and set(back.present()) == {2, 7}
    assert {value: (one.name, one.color) for value, one in back.table.items()} == {
        value: (one.name, one.color) for value, one in LABELS.items()
    }
    if ending == ".nii.gz":  # the scan's own format: bit for bit
        ct, written = sitk.ReadImage(str(tmp_path / "ct.nii.gz")), sitk.ReadImage(str(path))
        for ask in ("GetOrigin", "GetSpacing", "GetDirection", "GetSize"):
            assert getattr(ct, ask)() == getattr(written, ask)()
        assert exported.notes == ()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["ct.nii.gz", path.name], "nothing else is left"


def test_given_wins_over_proposals_and_rejected_ones_are_not_shown() -> None:
    shape = (4, 6, 6)
    proposals = np.full(shape, 2, np.uint8)
    given = {1: _slice(shape[1:], {7}, l7=3), 2: _slice(shape[1:], {2, 7}, l7=3), 3: _slice(shape[1:], set(), True)}
    seen = shown_labels(shape, given, proposals, hidden=[0])
    assert not seen[0].any(), "rejected"
    assert (seen[1][:3, :4] == 7).all() and (seen[1] == 2).sum() == 36 - 12
    assert set(np.unique(seen[2])) == {0, 7}, "label 2 is said to be absent there"
    assert not seen[3].any(), "accepted as empty"
    assert not shown_labels(shape, {}, proposals, labels=[7]).any(), "a label that was deleted"
    assert np.flatnonzero(shown_labels(shape, {}, proposals, extents={2: (1, 2)}).any((1, 2))).tolist() == [1, 2]
    alone = shown_labels(shape, given)
    assert np.array_equal(alone[1], given[1].mask) and not alone[0].any()


@settings(max_examples=40, deadline=None)
@over(st.integers(0, 2**32 - 1))
def test_a_sparse_voxel_is_a_label_or_known_background_or_ignored(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = sorted(rng.choice(np.arange(1, 255), rng.integers(1, 5), replace=False).tolist())
    given = {}
    for z in rng.choice(5, rng.integers(1, 5), replace=False).tolist():
        mask = rng.choice([0, *values], (4, 3)).astype(np.uint8)
        speaks = set(mask[mask > 0].tolist()) | set(rng.choice(values, 1).tolist())
        given[z] = GivenSlice(mask, frozenset(speaks), bool(rng.integers(2)))
    array, background = sparse_labels((5, 4, 3), given, values, len(values) + 1)
    assert background == (array == 0).sum()
    for z in range(5):
        for y, x in np.ndindex(4, 3):
            if z not in given:
                expected = len(values) + 1
            elif given[z].mask[y, x]:
                expected = values.index(given[z].mask[y, x]) + 1
            else:
                known = all(given[z].speaks_for(value) for value in values)
                expected = 0 if known else len(values) + 1
            assert array[z, y, x] == expected


def test_the_sparse_export_keeps_nnunets_rules(tmp_path: Path) -> None:
    volume = _ct(tmp_path, "permuted")
    labels = {**LABELS, 9: LabelState("Ignore", (1, 2, 3))}
    given = {0: _slice(volume.shape[1:], {2, 7, 9}, l7=3), 2: _slice(volume.shape[1:], {2}, l2=2)}
    exported = export_sparse(volume, given, labels, tmp_path / "case.nii.gz")
    (description,) = exported.others
    assert description.name == "case.dataset.json" and exported.notes == ()
    names = json.loads(description.read_text(encoding="utf-8"))["labels"]
    assert names == {"background": 0, "spleen": 1, "aorta, left": 2, "Ignore_label": 3, "ignore": 4}
    assert sorted(names.values()) == list(range(len(names))) and names["ignore"] == max(names.values())
    back = read_label_map(exported.path, like=volume)
    assert (
        (back.array[1] == 4).all()
        and set(np.unique(back.array[0])) == {0, 2}
        and set(np.unique(back.array[2])) == {1, 4}
    )
    assert back.table[4].name == "ignore" and back.table[2].name == "aorta, left"


def test_a_sparse_export_without_background_says_so(tmp_path: Path) -> None:
    volume = _ct(tmp_path, "plain")
    exported = export_sparse(volume, {2: _slice(volume.shape[1:], {2}, l2=2)}, LABELS, tmp_path / "case.nii.gz")
    assert "background" in exported.notes[0]
    with pytest.raises(InputError, match="no label on any key slice"):
        export_sparse(volume, {2: _slice(volume.shape[1:], {2})}, LABELS, tmp_path / "none.nii.gz")
    many = {value: LabelState(f"l{value}", (1, 1, 1)) for value in range(1, 256)}
    with pytest.raises(InputError, match="255 labels"):
        export_sparse(volume, {2: _slice(volume.shape[1:], {2}, l2=2)}, many, tmp_path / "none.nii.gz")
    assert not (tmp_path / "none.nii.gz").exists()


def test_a_full_disk_leaves_the_older_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, path = _ct(tmp_path, "plain"), tmp_path / "out.nii.gz"
    path.write_bytes(b"older")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("volumes.formats.os.replace", full)
    with pytest.raises(InputError, match="No space left"):
        export_labels(np.zeros(volume.shape, np.uint8), volume, LABELS, path)
    assert path.read_bytes() == b"older" and len(list(tmp_path.iterdir())) == 2
