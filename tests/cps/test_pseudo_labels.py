"""Accepted pseudo-labels as a data set."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parent))
from fake_rounds import GEOMETRY, RULE, Fakes

from cps.labelling import Labelling
from cps.pseudo_labels import export_pseudo_labels
from cps.round_state import RoundsState
from cps.rounds import label_once
from volumes.errors import InputError
from volumes.formats import read_label_map, read_volume


def images(folder: Path, *endings: str) -> dict[str, Path]:
    """One CT for each ending, `easy_1` and so on, on the grid of the fake label maps."""
    folder.mkdir()
    found = {}
    for number, ending in enumerate(endings, start=1):
        array = np.arange(240, dtype=np.int16).reshape(GEOMETRY.shape_dhw) - 1000 + number
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(GEOMETRY.spacing_xyz)
        found[f"easy_{number}"] = folder / f"easy_{number}{ending}"
        sitk.WriteImage(image, str(found[f"easy_{number}"]))
    return found


def labelled(folder: Path, cts: dict[str, Path], **more: Path) -> RoundsState:
    fakes = Fakes(folder.with_name("calls"))
    labelling = Labelling(fakes.open_member, RULE, lambda line: None)
    return label_once(folder, {**cts, **more}, {1: "one", 2: "two"}, fakes.trained(folder.parent), labelling)


def test_accepted_cases_become_a_data_set_in_nnunet_raw_layout(tmp_path: Path) -> None:
    cts = images(tmp_path / "cts", "_0000.nii.gz", ".nrrd")
    state = labelled(tmp_path / "state", cts, never=tmp_path / "cts" / "easy_1_0000.nii.gz")
    out = tmp_path / "out"
    assert export_pseudo_labels(state, out) == ["easy_1", "easy_2"]
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert files == [
        "dataset.json",
        "imagesTr/easy_1_0000.nii.gz",
        "imagesTr/easy_2_0000.nii.gz",
        "labelsTr/easy_1.nii.gz",
        "labelsTr/easy_2.nii.gz",
        "report.json",
        "report.md",
    ]
    described = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    assert described["labels"] == {"background": 0, "one": 1, "two": 2}
    assert described["channel_names"] == {"0": "CT"}
    assert described["numTraining"] == 2 and described["file_ending"] == ".nii.gz"
    assert not described.get("partially_labelled")
    for case, source in cts.items():
        volume = read_volume(out / "imagesTr" / f"{case}_0000.nii.gz")
        assert np.array_equal(volume.array, read_volume(source).array)
        labels = read_label_map(out / "labelsTr" / f"{case}.nii.gz", like=volume)  # raises where grids differ
        assert labels.present() == (1, 2)


def test_the_data_set_can_be_read_back_to_train_on(tmp_path: Path) -> None:
    from volumes.datasets import read_dataset

    cts = images(tmp_path / "cts", ".nii.gz")
    export_pseudo_labels(labelled(tmp_path / "state", cts), tmp_path / "out")
    dataset = read_dataset(tmp_path / "out")
    (case,) = dataset.training
    assert case.name == "easy_1" and dataset.table.names() == ("one", "two")
    assert case.contours(1) and case.contours(2)


def test_what_a_pseudo_label_does_not_speak_for_is_left_out_and_unknown(tmp_path: Path) -> None:
    from volumes.datasets import read_dataset
    from volumes.integrity import check_dataset

    cts = images(tmp_path / "cts", ".nii.gz", ".nii.gz")
    state = labelled(tmp_path / "state", cts)
    accepted = state.rounds[1].verdicts
    assert accepted is not None
    state.judged(1, {**accepted, "easy_2": replace(accepted["easy_2"], structures=("one",))})
    out = tmp_path / "out"
    export_pseudo_labels(state, out)
    assert json.loads((out / "dataset.json").read_text(encoding="utf-8"))["partially_labelled"] is True
    dataset = read_dataset(out)
    first, second = dataset.training
    assert first.contoured is None and second.contoured == {1}
    assert first.label is not None and second.label is not None
    whole, part = read_label_map(first.label), read_label_map(second.label)
    assert whole.present() == (1, 2) and part.present() == (1,)
    assert np.array_equal(part.array == 1, whole.array == 1) and part.geometry.same_grid(whole.geometry)
    assert read_label_map(state.accepted()["easy_2"].path).present() == (1, 2), "another rule may speak for it again"
    check_dataset(dataset)  # raises for structures that a case is said not to contour


def test_labels_that_an_export_by_another_rule_has_left_are_refused(tmp_path: Path) -> None:
    cts = images(tmp_path / "cts", ".nii.gz")
    state = labelled(tmp_path / "state", cts)
    (tmp_path / "out" / "labelsTr").mkdir(parents=True)
    (tmp_path / "out" / "labelsTr" / "other.nii.gz").touch()
    with pytest.raises(InputError, match="found other.nii.gz, which is not among the accepted"):
        export_pseudo_labels(state, tmp_path / "out")
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_images_are_linked_and_labels_are_copied(tmp_path: Path) -> None:
    cts = images(tmp_path / "cts", ".nii.gz")
    state = labelled(tmp_path / "state", cts)
    out = tmp_path / "out"
    export_pseudo_labels(state, out)
    assert (out / "imagesTr" / "easy_1_0000.nii.gz").samefile(cts["easy_1"])
    assert not (out / "labelsTr" / "easy_1.nii.gz").samefile(state.accepted()["easy_1"].path)


def test_without_links_images_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*paths: object) -> None:
        raise OSError("another disk")

    cts = images(tmp_path / "cts", ".nii.gz")
    state = labelled(tmp_path / "state", cts)
    monkeypatch.setattr(os, "link", no_links)
    export_pseudo_labels(state, tmp_path / "out")
    copy = tmp_path / "out" / "imagesTr" / "easy_1_0000.nii.gz"
    assert copy.read_bytes() == cts["easy_1"].read_bytes() and not copy.samefile(cts["easy_1"])


def test_an_export_that_was_killed_goes_on_and_a_whole_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cts = images(tmp_path / "cts", ".nii.gz", ".nii.gz")
    state = labelled(tmp_path / "state", cts)
    out = tmp_path / "out"
    real, done = os.replace, 0

    def breaks(*paths: str) -> None:
        nonlocal done
        done += 1
        if done == 5:  # two reports, an image and its labels are there
            raise KeyboardInterrupt
        real(*paths)

    with monkeypatch.context() as context:
        context.setattr(os, "replace", breaks)
        with pytest.raises(KeyboardInterrupt):
            export_pseudo_labels(state, out)
    assert not (out / "dataset.json").exists()
    export_pseudo_labels(state, out)
    assert sorted(path.name for path in (out / "imagesTr").iterdir()) == ["easy_1_0000.nii.gz", "easy_2_0000.nii.gz"]
    with pytest.raises(InputError, match="found a data set"):
        export_pseudo_labels(state, out)


def test_no_accepted_case_makes_a_report_and_no_data_set(tmp_path: Path) -> None:
    state = labelled(tmp_path / "state", {}, never=Path("never.nii.gz"))
    out = tmp_path / "out"
    assert export_pseudo_labels(state, out) == []
    assert sorted(path.name for path in out.iterdir()) == ["report.json", "report.md"]


def test_an_image_that_is_gone_is_named_before_anything_is_written(tmp_path: Path) -> None:
    cts = images(tmp_path / "cts", ".nii.gz")
    state = labelled(tmp_path / "state", cts)
    cts["easy_1"].unlink()
    with pytest.raises(InputError, match="easy_1.nii.gz: found nothing there"):
        export_pseudo_labels(state, tmp_path / "out")
    assert not (tmp_path / "out").exists()
