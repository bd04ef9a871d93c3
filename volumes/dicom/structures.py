"""Structures that a DICOM file holds, each a set of masks, put together to a label map.

Segments and contours may overlap; a label map cannot. A voxel of several structures goes to the smallest of them (a
tumour to the tumour, not to the liver around it), and a note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volumes.dicom.codes import snomed_of
from volumes.errors import InputError
from volumes.label_map import LabelMap
from volumes.labels import MAX_LABEL, Color, Label, LabelTable, distinct_color, name_key
from volumes.snomed import Snomed
from volumes.volume import Volume

Part = tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]
"""A view of the labels, and which of its pixels belong to the structure."""


@dataclass(frozen=True)
class Structure:
    """One segment or region of interest.

    Attributes:
        name: as the file has it.
        size: voxels, or another measure by which structures of one file can be compared.
        parts: gives its masks, each with the view of labels (D, H, W) that it lies on; called once.
        color: None if the file has none.
        snomed: its code, if it has one.
        value: label that the file asks for.
    """

    name: str
    size: float
    parts: Callable[[npt.NDArray[np.uint8]], Iterator[Part]]
    color: Color | None = None
    snomed: Snomed | None = None
    value: int | None = None


def to_label_map(
    structures: Sequence[Structure], like: Volume | LabelMap, table: LabelTable | None, where: Path, notes: list[str]
) -> LabelMap:
    """Labels (D, H, W) on the grid of `like`.

    Args:
        table: gives numbers, names and colours: a structure is the label of its name or alias, else of its code, and
            one that is not in the table is left out. None takes what the file says.
        notes: what is known already; what is found here is added.

    Raises:
        InputError: none of the structures is in the table, or more than 255 without one.
    """
    chosen = _own_labels(structures, where) if table is None else _labels_from(table, structures, where, notes)
    array = np.zeros(like.geometry.shape_dhw, np.uint8)
    shared: dict[tuple[int, int], int] = {}
    for structure, label in sorted(chosen, key=lambda one: -one[0].size):
        drawn = 0
        for view, mask in structure.parts(array):
            under = view[mask]
            drawn += under.size
            for other, count in enumerate(np.bincount(under, minlength=MAX_LABEL + 1)):
                if count and other not in (0, label.value):
                    shared[other, label.value] = shared.get((other, label.value), 0) + int(count)
            view[mask] = label.value
        if not drawn:
            notes.append(f"'{structure.name}' covers no voxel")
    names = (
        LabelTable({label.value: label for _, label in chosen}.values(), name=str(where)) if table is None else table
    )
    for (larger, smaller), count in shared.items():
        first, second = names.name_of(larger), names.name_of(smaller)
        notes.append(f"'{first}' and '{second}' overlap: {count} voxels went to '{second}', the smaller one")
    return LabelMap(array, like.geometry, names, str(where), like.source, tuple(notes))


def _own_labels(structures: Sequence[Structure], where: Path) -> list[tuple[Structure, Label]]:
    if len(structures) > MAX_LABEL:
        raise InputError(
            where,
            found=f"{len(structures)} structures",
            expected=f"at most {MAX_LABEL}",
            fix="name those that you want with --labels",
        )
    wanted = [one.value for one in structures]
    fits = len(set(wanted)) == len(wanted) and all(value and 1 <= value <= MAX_LABEL for value in wanted)
    taken: set[str] = set()
    found = []
    for number, structure in enumerate(structures, 1):
        value = structure.value if fits and structure.value else number
        name = structure.name.strip()
        if not name or name.lstrip("+-").isdecimal():  # a number alone cannot name a label
            name = f"label_{name or value}"
        while name_key(name) in taken:
            name = f"{name} ({value})"
        taken.add(name_key(name))
        color = structure.color or distinct_color(value)
        found.append((structure, Label(value, name, color, snomed=structure.snomed)))
    return found


def _labels_from(
    table: LabelTable, structures: Sequence[Structure], where: Path, notes: list[str]
) -> list[tuple[Structure, Label]]:
    by_name = {name_key(text): label for label in table.values() for text in (label.name, *label.aliases)}
    by_code: dict[Snomed, list[Label]] = {}
    for label in table.values():
        if (code := snomed_of(label)) is not None:
            by_code.setdefault(_bare(code), []).append(label)
    found, left_out = [], []
    for structure in structures:
        same = [] if structure.snomed is None else by_code.get(_bare(structure.snomed), [])
        known = by_name.get(name_key(structure.name)) or (same[0] if len(same) == 1 else None)
        if known is None:
            left_out.append(structure.name)
        else:
            found.append((structure, known))
    if not found:
        raise InputError(
            where,
            found=f"no structure of {table.name} among {', '.join(left_out[:20])}",
            expected=f"one of {', '.join(table.names()[:20])}",
            fix="choose another table, or add these names to it as aliases",
        )
    if left_out:
        notes.append(f"not in {table.name} and left out: {', '.join(left_out)}")
    return found


def _bare(code: Snomed) -> Snomed:
    """What two writers of the same structure agree on: the code and the side."""
    return replace(code, meaning="", category="anatomy")
