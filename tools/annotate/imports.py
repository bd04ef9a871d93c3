"""Label maps of others, or earlier ones, taken into the annotation: as proposals or as key slices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tools.annotate.exports import IGNORE
from tools.annotate.given import GivenSlice
from tools.annotate.merging import LabelMerge, merge_labels
from volumes.errors import InputError
from volumes.label_map import LabelMap
from volumes.labels import LabelTable, name_key
from volumes.volume import Volume


@dataclass(frozen=True, eq=False)
class Imported:
    """A label map in the document's terms.

    Attributes:
        array: (D, H, W) uint8, in the document's numbers, new labels included.
        merge: how the file's labels became the document's, and those to be added first.
        complete: slices on which the file says of every voxel what it is, although it does not everywhere; empty for
            a file without a label `ignore`, which does not tell.
        notes: what the person should know of how the file was read.
    """

    array: npt.NDArray[np.uint8]
    merge: LabelMerge
    complete: frozenset[int]
    notes: tuple[str, ...] = ()


def read_import(path: Path, volume: Volume, names: Mapping[int, str], table: LabelTable | None = None) -> Imported:
    """Read a label map that lies on the volume's grid.

    The file's names decide which of its labels are the document's, see `merging.merge_labels`. A label called
    `ignore`, as sparse exports have, stands for voxels of which the file says nothing.

    Args:
        names: of the document's labels.
        table: names of the file's labels; None for those in the file.

    Raises:
        InputError: no label map, another grid, no label in it, or more labels than there are numbers.
    """
    found = read_on_grid(path, volume, table)
    ignored = [value for value, label in found.table.items() if name_key(label.name) == IGNORE]
    occurring = [value for value in found.present() if value not in ignored]
    if not occurring:
        raise InputError(path, found="no label", expected="a label map with labels", fix="choose another file")
    merge = merge_labels(names, found.table, occurring, path)
    complete = frozenset[int]()
    if ignored:
        open_slices = np.isin(found.array, ignored).any((1, 2))
        complete = frozenset(np.flatnonzero(~open_slices).tolist())
    return Imported(merge.applied(found.array), merge, complete, found.notes)


def read_on_grid(path: Path, volume: Volume, table: LabelTable | None = None) -> LabelMap:
    """Read a label map that lies on the volume's grid, and no other.

    Args:
        table: names of its labels; None for those in the file.

    Raises:
        InputError: no label map, or another grid.
    """
    from volumes.dicom.names import is_label_file_name
    from volumes.formats import check_grid, read_label_map
    from volumes.image_files import read_geometry

    # Before the voxels are read: a small file can unpack to more than there is memory for. DICOM labels have no grid
    # of their own, they are drawn on the volume's.
    if not is_label_file_name(path):
        check_grid(path, read_geometry(path)[0], volume.geometry, volume.name)
    return read_label_map(path, like=volume, table=table)


def as_key_slices(imported: Imported, slices: Iterable[int] | None = None) -> dict[int, GivenSlice]:
    """Slices of a label map as given ones; each speaks for the labels on it, or for all where the file says so.

    Args:
        slices: those that count; None for all with a label, or of which the file says everything.

    Raises:
        InputError: a slice that is not there, or that would say nothing.
    """
    depth = len(imported.array)
    labelled = set(np.flatnonzero(imported.array.any((1, 2))).tolist()) | imported.complete
    wanted = sorted(labelled if slices is None else set(slices))
    for z in wanted:
        if z not in labelled:
            raise InputError(
                "slices",
                found=f"slice {z}, without a label" if 0 <= z < depth else f"slice {z}",
                expected="labelled slices" if 0 <= z < depth else f"slices from 0 to {depth - 1}",
                fix="leave it out",
            )
    found = {}
    for z in wanted:
        speaks = frozenset(np.unique(imported.array[z]).tolist()) - {0}
        found[z] = GivenSlice(imported.array[z], speaks, z in imported.complete, "imported")
    return found
