"""Key slices: the slices that carry given labels, and what each of them speaks for.

This is all that passes from a person or the reference module to the propagation module. A key slice
speaks for some labels: each is there (it occurs in the mask) or absent (it was named and does not
occur). Any other label is unknown on that slice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from volumes.errors import InputError
from volumes.labels import MAX_LABEL, LabelTable

if TYPE_CHECKING:
    from volumes.label_map import LabelMap

Extents = dict[int, tuple[int, int]]
"""First and last slice of a label, both inside: `{label: (z_first, z_last)}`."""


@dataclass(frozen=True, eq=False)
class _KeySlice:
    mask: npt.NDArray[np.uint8]
    occurring: frozenset[int]
    named: frozenset[int]
    complete: bool


class KeySlices:
    """Labelled slices of one volume.

    Args:
        shape_dhw: shape `(D, H, W)` of the volume.
        where: the file or person that they come from, for messages.
    """

    def __init__(self, shape_dhw: tuple[int, int, int], *, where: str | Path = "key slices") -> None:
        depth, height, width = (int(n) for n in shape_dhw)
        self.shape_dhw = (depth, height, width)
        self.where = where
        self._slices: dict[int, _KeySlice] = {}

    @classmethod
    def from_label_map(
        cls, label_map: LabelMap, slices: Sequence[int] | None = None, complete: bool = False
    ) -> KeySlices:
        """Take slices of a label map as key slices.

        Args:
            label_map: labels on the volume's grid.
            slices: z of the slices that count; None takes every slice with a label on it.
            complete: each of them speaks for all labels of the set: those that are missing are absent.

        Raises InputError if there is no key slice, if one lies outside the volume, or if one carries no
        label and so would say nothing (unless `complete`).
        """
        keys = cls(label_map.shape, where=label_map.name)
        chosen = np.flatnonzero(label_map.array.any(axis=(1, 2))).tolist() if slices is None else list(slices)
        for z in sorted(set(chosen)):
            keys._check_slice(z)
            mask = label_map.array[z]
            if not complete and not mask.any():
                raise keys._bad(
                    f"no label on slice {z}",
                    "a label on every key slice",
                    "leave the slice out, or say with --complete that what is missing there is absent",
                )
            keys.add(z, mask, complete=complete)
        if not keys.labels:
            raise keys._bad("no labelled slice", "at least one slice with a label (1 to 255)", "label a slice first")
        return keys

    def add(
        self,
        z: int,
        mask: npt.NDArray[Any],
        labels: Iterable[int] | None = None,
        complete: bool = False,
    ) -> None:
        """Add a key slice, or replace the one at `z`.

        Args:
            z: slice index, 0 at the most inferior slice.
            mask: whole numbers 0..255, `(H, W)`; it is copied.
            labels: what the slice speaks for. None: the labels in `mask`. Otherwise every label in `mask`
                must be named, and a named label that does not occur in `mask` is absent on this slice.
            complete: the slice speaks for all labels of the set, also for those added later.
        """
        self._check_slice(z)
        painted = self._painted(z, mask)
        occurring = frozenset(int(value) for value in np.unique(painted) if value)
        named = occurring if labels is None else frozenset(int(value) for value in labels)
        if not all(1 <= value <= MAX_LABEL for value in named):
            raise self._bad(f"labels {sorted(named)} on slice {z}", "labels from 1 to 255", "renumber them")
        if not occurring <= named:
            raise self._bad(
                f"label {min(occurring - named)} painted on slice {z}, which does not speak for it",
                "every painted label among those that the slice speaks for",
                "name it as well, or remove it from the mask",
            )
        self._slices[int(z)] = _KeySlice(painted, occurring, named, complete)

    def remove(self, z: int) -> None:
        """Take the key slice at `z` away."""
        del self._slices[int(z)]

    def slices(self) -> list[int]:
        """Indices of the key slices, sorted."""
        return sorted(self._slices)

    def mask(self, z: int) -> npt.NDArray[np.uint8]:
        """Labels `(H, W)` of key slice `z`, uint8, read-only."""
        return self._slices[z].mask.view()

    def speaks_for(self, z: int) -> frozenset[int]:
        """Labels that key slice `z` speaks for, present or absent; any other label is unknown there."""
        key = self._slices[z]
        return key.named | frozenset(self.labels) if key.complete else key.named

    def named(self, z: int) -> frozenset[int]:
        """Labels that key slice `z` was said to speak for; a complete one speaks for others too."""
        return self._slices[z].named

    def is_complete(self, z: int) -> bool:
        """Whether key slice `z` speaks for all labels, also for those added later."""
        return self._slices[z].complete

    @property
    def labels(self) -> tuple[int, ...]:
        """Labels that occur on at least one key slice, sorted."""
        return tuple(sorted(frozenset[int]().union(*(key.occurring for key in self._slices.values()))))

    def slices_of(self, label: int) -> list[int]:
        """Key slices that speak for `label`, whether it is there or absent."""
        return [z for z in self.slices() if label in self.speaks_for(z)]

    def slices_with(self, label: int) -> list[int]:
        """Key slices on which `label` occurs."""
        return [z for z in self.slices() if label in self._slices[z].occurring]

    def __len__(self) -> int:
        return len(self._slices)

    def __contains__(self, z: object) -> bool:
        return z in self._slices

    def __repr__(self) -> str:
        return f"KeySlices(slices={self.slices()}, labels={list(self.labels)})"

    def _check_slice(self, z: int) -> None:
        depth = self.shape_dhw[0]
        if not 0 <= z < depth:
            raise self._bad(f"key slice {z}", f"a slice from 0 to {depth - 1}", "count slices from 0, inferior first")

    def _painted(self, z: int, mask: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        array = np.asarray(mask)
        if array.shape != self.shape_dhw[1:]:
            raise self._bad(
                f"a mask of shape {array.shape} on slice {z}",
                f"{self.shape_dhw[1:]}",
                "use the volume's own grid",
            )
        if array.dtype.kind not in "uib":
            raise self._bad(f"a mask of {array.dtype} on slice {z}", "whole numbers", "convert it to uint8")
        if array.size and (array.min() < 0 or array.max() > MAX_LABEL):
            raise self._bad(
                f"labels from {array.min()} to {array.max()} on slice {z}",
                "labels from 0 to 255",
                "renumber them",
            )
        painted = array.astype(np.uint8, order="C", copy=True)
        painted.setflags(write=False)
        return painted

    def _bad(self, found: str, expected: str, fix: str) -> InputError:
        return InputError(self.where, found=found, expected=expected, fix=fix)


def read_extents(path: str | Path, table: LabelTable, depth: int) -> Extents:
    """Read start and stop marks: `{"liver": [12, 88], "5": [3, 60]}`, both ends inside.

    Args:
        path: JSON file.
        table: resolves the names.
        depth: number of slices of the volume; every mark must lie in 0..depth-1.
    """

    def bad(found: str) -> InputError:
        return InputError(
            path,
            found=found,
            expected=f'{{"liver": [first, last]}} with slices 0 <= first <= last <= {depth - 1}',
            fix="correct the marks; slices count from 0, inferior first",
        )

    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise bad(f"no readable file ({error.strerror})") from error
    except ValueError as error:
        raise bad(f"text that is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise bad(f"a JSON {type(content).__name__}")
    extents: Extents = {}
    for key, marks in content.items():
        try:
            label = table.resolve(key)
        except InputError as error:
            raise bad(f"the label '{key}', which is not in {table.name}") from error
        if not isinstance(marks, list) or len(marks) != 2 or not all(type(mark) is int for mark in marks):
            raise bad(f"{json.dumps(marks)} for '{key}'")
        first, last = marks
        if not 0 <= first <= last < depth:
            raise bad(f"[{first}, {last}] for '{key}'")
        if label in extents:
            raise bad(f"label {label} twice")
        extents[label] = (first, last)
    return extents
