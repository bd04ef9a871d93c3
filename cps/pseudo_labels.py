"""Accepted pseudo-labels as a data set in nnU-Net raw layout, to train anything on.

    OUT/dataset.json
    OUT/imagesTr/CASE_0000.nii.gz    a link to the case's image where the file system has them, else a copy
    OUT/labelsTr/CASE.nii.gz         a copy, so that correcting it changes nothing in the rounds
    OUT/cases.json                   what each pseudo-label speaks for, where one does not speak for all of the table
    OUT/report.md, report.json       why these cases were accepted and the others were not

A pseudo-label speaks for the structures that the rule of selection says (`cps.selection.Verdict`); the others are taken
out of it. Whether these are in the case nobody knows, so the data set is partly labelled, as if people had contoured
some structures alone (`volumes.datasets`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from cps.journal import replace_file, write_whole
from cps.round_report import write_report
from cps.round_state import RoundsState
from networks.training.pseudo_label import PseudoLabel
from volumes.errors import InputError
from volumes.formats import read_label_map, read_volume, write_label_map
from volumes.image_files import image_in_file_order
from volumes.label_map import LabelMap

DATASET, CASES = "dataset.json", "cases.json"
_ENDING = ".nii.gz"


def export_pseudo_labels(state: RoundsState, out: Path) -> list[str]:
    """Write the accepted cases of a state into the folder `out`, which is made if it is not there.

    `dataset.json` comes last, so an export that was killed is no data set and can be started again. Where no case is
    accepted, the report is all that is written.

    Returns:
        Names of the cases, sorted.

    Raises:
        InputError: there is a data set in `out`, or labels of cases that are not accepted, or an image that was
            labelled is gone.
    """
    check_export(out)
    accepted = state.accepted()
    _check_leftovers(out / "labelsTr", accepted.keys())
    images = {case: Path(state.about["unlabelled"][case]) for case in accepted}
    for image in images.values():
        if not image.exists():
            raise InputError(
                image, found="nothing there", expected="the image that was labelled", fix="put it back where it was"
            )
    out.mkdir(parents=True, exist_ok=True)
    write_report(state, out)
    if not accepted:
        return []
    for part in ("imagesTr", "labelsTr"):
        (out / part).mkdir(exist_ok=True)
    for case, labels in sorted(accepted.items()):
        replace_file(out / "imagesTr" / f"{case}_0000{_ENDING}", partial(_image, images[case]))
        replace_file(out / "labelsTr" / f"{case}{_ENDING}", partial(_labels, labels))
    structures = {name: int(value) for value, name in state.about["structures"].items()}
    partly = any(labels.contoured is not None for labels in accepted.values())
    if partly:
        listed = {
            case: {"structures": [n for n, value in structures.items() if _speaks_for(labels, value)]}
            for case, labels in sorted(accepted.items())
        }
        write_whole(out / CASES, json.dumps(listed, indent=2, ensure_ascii=False) + "\n")
    content = {
        "name": "pseudo-labels",
        "description": "Label maps that a network made and a rule selected (report.md), not a person.",
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **structures},
        "numTraining": len(accepted),
        "file_ending": _ENDING,
        **({"partially_labelled": True} if partly else {}),
    }
    write_whole(out / DATASET, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return sorted(accepted)


def check_export(out: Path) -> None:
    """Raise InputError where an export would mix two data sets. Cheap, for a command to call before its real work."""
    if (out / DATASET).exists():
        raise InputError(out, found="a data set", expected="a new or empty folder", fix="choose another folder")


def _check_leftovers(folder: Path, accepted: Collection[str]) -> None:
    """Raise InputError where an export that was killed, by another rule, has left labels that are not accepted now."""
    names = sorted(path.name for path in folder.glob(f"*{_ENDING}") if not path.name.startswith("."))
    if left := [name for name in names if name.removesuffix(_ENDING) not in accepted]:
        raise InputError(
            folder,
            found=f"{left[0]}, which is not among the accepted cases",
            expected="no labels but theirs",
            fix="delete the folder, or choose another",
        )


def _speaks_for(labels: PseudoLabel, value: int) -> bool:
    return labels.contoured is None or value in labels.contoured


def _labels(source: PseudoLabel, target: Path) -> None:
    """The pseudo-label, without structures that it does not speak for."""
    labels = read_label_map(source.path)
    silent = [value for value in labels.present() if not _speaks_for(source, value)]
    if not silent:
        shutil.copyfile(source.path, target)
        return
    array = np.where(np.isin(labels.array, silent), 0, labels.array).astype(np.uint8)
    write_label_map(LabelMap(array, labels.geometry, labels.table, labels.name), target, overwrite=True)


def _image(source: Path, target: Path) -> None:
    """The image as .nii.gz: a link, a copy, or converted from another format."""
    if not source.name.lower().endswith(_ENDING):
        volume = read_volume(source)
        image = image_in_file_order(volume.geometry.to_file(volume.array), volume.geometry)
        sitk.WriteImage(image, str(target), True)
        return
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
