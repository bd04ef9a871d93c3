"""Accepted pseudo-labels as a data set in nnU-Net raw layout, to train anything on.

    OUT/dataset.json
    OUT/imagesTr/CASE_0000.nii.gz    a link to the case's image where the file system has them, else a copy
    OUT/labelsTr/CASE.nii.gz         a copy, so that correcting it changes nothing in the rounds
    OUT/report.md, report.json       why these cases were accepted and the others were not

A pseudo-label speaks for all structures of the table, whatever the labelled cases contoured: what it does not show is
not there, so the data set is not partly labelled.
"""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path

import SimpleITK as sitk

from cps.journal import replace_file, write_whole
from cps.round_report import write_report
from cps.round_state import RoundsState
from volumes.errors import InputError
from volumes.formats import read_volume

DATASET = "dataset.json"
_ENDING = ".nii.gz"


def export_pseudo_labels(state: RoundsState, out: Path) -> list[str]:
    """Write the accepted cases of a state into the folder `out`, which is made if it is not there.

    `dataset.json` comes last, so an export that was killed is no data set and can be started again. Where no case is
    accepted, the report is all that is written.

    Returns:
        Names of the cases, sorted.

    Raises:
        InputError: there is a data set in `out`, or an image that was labelled is gone.
    """
    check_export(out)
    accepted = state.accepted()
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
        replace_file(out / "labelsTr" / f"{case}{_ENDING}", partial(shutil.copyfile, labels))
    structures = {name: int(value) for value, name in state.about["structures"].items()}
    content = {
        "name": "pseudo-labels",
        "description": "Label maps that a network made and a rule selected (report.md), not a person.",
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **structures},
        "numTraining": len(accepted),
        "file_ending": _ENDING,
    }
    write_whole(out / DATASET, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return sorted(accepted)


def check_export(out: Path) -> None:
    """Raise InputError where an export would mix two data sets. Cheap, for a command to call before its real work."""
    if (out / DATASET).exists():
        raise InputError(out, found="a data set", expected="a new or empty folder", fix="choose another folder")


def _image(source: Path, target: Path) -> None:
    """The image as .nii.gz: a link, a copy, or converted from another format."""
    if not source.name.lower().endswith(_ENDING):
        volume = read_volume(source)
        image = sitk.GetImageFromArray(volume.geometry.to_file(volume.array))
        image.SetSpacing(volume.geometry.spacing_xyz)
        image.SetOrigin(volume.geometry.origin_xyz)
        image.SetDirection(volume.geometry.direction)
        sitk.WriteImage(image, str(target), True)
        return
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
