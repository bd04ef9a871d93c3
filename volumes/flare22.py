"""FLARE22's own folders: 50 labelled cases, 2,000 unlabelled ones, 50 to validate on.

As the challenge hands them out (https://flare22.grand-challenge.org), unpacked, in `FOLDER` or `FOLDER/Training`:

    Training/FLARE22_LabeledCase50/images/FLARE22_Tr_0001_0000.nii.gz
    Training/FLARE22_LabeledCase50/labels/FLARE22_Tr_0001.nii.gz
    Training/FLARE22_UnlabeledCase1-1000/Case_00001_0000.nii.gz      (several folders, or one of 2,000)
    Validation/FLARETs_0001_0000.nii.gz                              (or Tuning/images/...)
    Validation/labels/FLARETs_0001.nii.gz                            (published after the challenge)

Validation cases without labels are left out: nothing can be measured on them.
"""

from __future__ import annotations

from pathlib import Path

from volumes.datasets import DataCase, DataSet, check_images, labelled_cases, unlabelled_cases
from volumes.errors import InputError
from volumes.labels import LabelTable

_ENDING = ".nii.gz"
_VALIDATION = ("validation", "tuning")


def is_flare22(folder: Path) -> bool:
    """Whether a folder holds FLARE22's labelled training cases."""
    return _labelled_folder(folder) is not None


def read_flare22(folder: Path) -> DataSet:
    """The data set in a folder for which `is_flare22` holds; its table is the built-in `flare22`.

    Raises:
        InputError: no labelled case (the archives are still packed), a label file without its CT.
    """
    labelled = _labelled_folder(folder)
    assert labelled is not None
    training = labelled_cases(labelled / "images", labelled / "labels", _ENDING)
    check_images(training)
    if not training:
        packed = any(labelled.glob("*.zip"))
        raise InputError(
            labelled,
            found="archives that are not unpacked" if packed else "no file labels/FLARE22_Tr_0001.nii.gz",
            expected="images/ with FLARE22_Tr_0001_0000.nii.gz and labels/ with FLARE22_Tr_0001.nii.gz",
            fix="unpack images.zip and labels.zip there" if packed else "copy the labelled cases there",
        )
    unlabelled: list[DataCase] = []
    for place in _subfolders(labelled.parent):
        if "unlabel" in place.name.lower():
            unlabelled += unlabelled_cases(place, _ENDING) or unlabelled_cases(place / "images", _ENDING)
    return DataSet(
        folder, LabelTable.read("flare22"), tuple(training), tuple(unlabelled), tuple(_validation(labelled.parent))
    )


def _labelled_folder(folder: Path) -> Path | None:
    for parent in (folder, folder / "Training"):
        for place in _subfolders(parent):
            if place.name.lower().startswith("flare") and "_labeledcase" in place.name.lower():
                return place
    return None


def _validation(training: Path) -> list[DataCase]:
    """Labelled validation cases, in a folder beside that of the labelled ones or beside `Training`."""
    parents = [training, training.parent] if training.name.lower().startswith("training") else [training]
    for place in (child for parent in parents for child in _subfolders(parent)):
        if not place.name.lower().startswith(_VALIDATION):
            continue
        images = place / "images" if (place / "images").is_dir() else place
        for labels in _subfolders(place):
            if "label" in labels.name.lower():
                return [case for case in labelled_cases(images, labels, _ENDING) if case.image.is_file()]
    return []


def _subfolders(folder: Path) -> list[Path]:
    return sorted(place for place in folder.iterdir() if place.is_dir()) if folder.is_dir() else []
