"""Files of labels: what is shown as NIfTI or .seg.nrrd, and key slices alone for training with nnU-Net.

Nothing here belongs to the event loop's thread: hand over copies and write in another one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tools.annotate.given import GivenSlice, shown
from tools.files import stem_of, write_json
from volumes.errors import InputError
from volumes.key_slices import Extents
from volumes.label_map import LabelMap
from volumes.labels import MAX_LABEL, Color, Label, LabelTable, name_key
from volumes.volume import Volume

LabelMask = npt.NDArray[np.uint8]
IGNORE = "ignore"  # what nnU-Net calls the label of voxels that do not count; it must be the highest


class Named(Protocol):
    """A label of the document."""

    @property
    def name(self) -> str: ...

    @property
    def color(self) -> Color: ...


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the label map.
        bytes: its size.
        others: files that belong to it.
        notes: what the person should know.
    """

    path: Path
    bytes: int
    others: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def shown_labels(
    shape: tuple[int, int, int],
    given: Mapping[int, GivenSlice],
    proposals: Sequence[LabelMask] | None = None,
    hidden: Collection[int] = (),
    labels: Collection[int] | None = None,
    extents: Extents | None = None,
) -> LabelMask:
    """All that is seen, (D, H, W): what is given, else what is proposed; visible or not.

    Args:
        given: by slice.
        proposals: (H, W) of each of D slices; None for what is given alone.
        hidden: slices whose proposals were rejected.
        labels: those that there are; None for all.
        extents: of labels, beyond which their proposals are not seen.
    """
    seen: LabelMask = np.zeros(shape, np.uint8)
    known = frozenset(range(1, MAX_LABEL + 1) if labels is None else labels)
    for z in range(shape[0]):
        if proposals is not None and z not in hidden and proposals[z].any():
            outside = {label for label, (first, last) in (extents or {}).items() if not first <= z <= last}
            seen[z] = shown(given.get(z), proposals[z], known - outside)
        elif z in given:
            seen[z] = given[z].mask
    return seen


def export_labels(array: LabelMask, volume: Volume, labels: Mapping[int, Named], path: Path) -> Exported:
    """Write labels (D, H, W) on the volume's grid with their names and colours, whole or not at all.

    Args:
        path: ends in .nii.gz, .seg.nrrd or another format of `volumes.formats`; a file that is there is replaced.

    Raises:
        InputError: the file cannot be written, its format cannot hold the grid, or it is DICOM and the CT is not.
    """
    from volumes.formats import write_label_map

    table = _table(labels, path)
    shift = write_label_map(LabelMap(array, volume.geometry, table, volume.name, volume.source), path, overwrite=True)
    notes = () if shift == 0 else (f"the format holds the grid to within {shift:.2g} mm",)
    return Exported(path, path.stat().st_size, notes=notes)


def export_sparse(volume: Volume, given: Mapping[int, GivenSlice], labels: Mapping[int, Named], path: Path) -> Exported:
    """Write key slices for nnU-Net: a voxel of which nothing is known has the label `ignore`.

    Labels are numbered 1, 2, ... as nnU-Net wants them, in the order of their numbers here, and `ignore` comes after
    the last one. What this makes of the labels stands beside the label map, as the part of nnU-Net's `dataset.json`
    that it belongs in: `CASE.nii.gz` has `CASE.dataset.json`.

    Raises:
        InputError: no key slice, 255 labels, or the files cannot be written.
    """
    table = _table(labels, path)
    ignore = len(table) + 1
    if ignore > MAX_LABEL:
        raise InputError(
            path, found=f"{len(table)} labels", expected=f"at most {MAX_LABEL - 1}", fix="delete labels nobody needs"
        )
    if not any(one.mask.any() for one in given.values()):
        raise InputError(path, found="no label on any key slice", expected="at least one", fix="paint one first")
    array, background = sparse_labels(volume.shape, given, list(table), ignore)
    numbered = [Label(new, _free_name(one.name), one.color) for new, one in enumerate(table.values(), 1)]
    sparse = {one.value: one for one in (*numbered, Label(ignore, IGNORE, (128, 128, 128)))}
    names = {"background": 0, **{one.name: value for value, one in sparse.items()}}
    beside = path.with_name(f"{stem_of(path)}.dataset.json")
    description = {"channel_names": {"0": "CT"}, "labels": names, "numTraining": 1, "file_ending": ".nii.gz"}
    # First: a label map without it could be taken for one whose numbers are as in the annotation.
    write_json(beside, description)
    written = export_labels(array, volume, sparse, path)
    notes = written.notes
    if not background:
        notes += ("no voxel counts as background: accept key slices to say that they show all that there is",)
    return Exported(written.path, written.bytes, (beside,), notes)


def sparse_labels(
    shape: tuple[int, int, int], given: Mapping[int, GivenSlice], values: list[int], ignore: int
) -> tuple[LabelMask, int]:
    """Labels (D, H, W) of key slices, the n-th of `values` as n, with `ignore` wherever nothing is known.

    A voxel without a label is background where its slice speaks for all labels; on other key slices it may be one of
    those that the slice says nothing of.

    Returns:
        The labels, and how many voxels are background.
    """
    lookup = np.zeros(MAX_LABEL + 1, np.uint8)
    lookup[values] = np.arange(1, len(values) + 1)
    array: LabelMask = np.full(shape, ignore, np.uint8)
    background = 0
    for z, one in given.items():
        numbered = lookup[one.mask]
        if one.complete or one.speaks.issuperset(values):
            background += int((numbered == 0).sum())
        else:
            numbered[numbered == 0] = ignore
        array[z] = numbered
    return array, background


def _table(labels: Mapping[int, Named], where: Path) -> LabelTable:
    return LabelTable((Label(value, one.name, one.color) for value, one in labels.items()), name=str(where))


def _free_name(name: str) -> str:
    """Not one of the two names that nnU-Net has a meaning for."""
    return f"{name}_label" if name_key(name) in (IGNORE, "background") else name
