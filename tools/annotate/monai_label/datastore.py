"""The work list as MONAI Label's clients see it: a datastore of images, each with its labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from tools.annotate.worklist import Entry, Worklist
from tools.files import VOLUME_SUFFIXES, suffix_of

FINAL: Final = "final"
ORIGINAL: Final = "original"
"""Tags: labels that a person gave, and all that is shown of a case, proposals included."""
LABEL_SUFFIX = ".nii.gz"
AS_THEY_ARE = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Images that are sent as the files that they are; others are converted, as they are no single file of an image."""

Row = Mapping[str, Any]


def image_suffix(entry: Entry) -> str:
    """Format in which a client gets the CT."""
    suffix = suffix_of(entry.ct, VOLUME_SUFFIXES) if entry.ct.is_file() else None
    return suffix if suffix in AS_THEY_ARE else LABEL_SUFFIX


def stats(rows: Iterable[Row]) -> dict[str, Any]:
    """How many images there are. Those with a label count as completed, as in MONAI Label."""
    listed = list(rows)
    labelled = sum(row["key_slices"] > 0 for row in listed)
    done = sum(row["state"] == "done" for row in listed)
    tags = {FINAL: labelled} if labelled else {}
    return {"total": len(listed), "completed": labelled, "label_tags": tags, "done": done}


def everything(worklist: Worklist, rows: Iterable[Row]) -> dict[str, Any]:
    """All images and their labels."""
    return {
        "name": worklist.root.name,
        "description": "cases of the opened folder",
        "images_dir": "",
        "labels_dir": "labels",
        "objects": {row["case"]: _object(worklist.entries[row["case"]], row) for row in rows},
    }


def image_info(entry: Entry, row: Row) -> dict[str, Any]:
    """What is said of an image. Its place on the disk is not."""
    seconds = {} if row["edited"] is None else {"ts": int(datetime.fromisoformat(row["edited"]).timestamp())}
    return {"name": f"{entry.key}{image_suffix(entry)}", **{name: row[name] for name in _TOLD}, **seconds}


_TOLD = ("state", "key_slices")


def next_case(rows: Iterable[Row]) -> str | None:
    """The next case to work on: the first without a label, else the first that is not done; None if all are."""
    unfinished = [row for row in rows if row["state"] != "done"]
    return next((row["case"] for row in sorted(unfinished, key=lambda row: row["key_slices"] > 0)), None)


def _object(entry: Entry, row: Row) -> dict[str, Any]:
    info = image_info(entry, row)
    final = {"ext": LABEL_SUFFIX, "info": {"name": f"{entry.key}{LABEL_SUFFIX}", "key_slices": row["key_slices"]}}
    labels = {FINAL: final} if row["key_slices"] else {}
    return {"image": {"ext": image_suffix(entry), "info": info}, "labels": labels}
