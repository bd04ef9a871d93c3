"""A look into every file of a data set before anything costly starts.

What would spoil the training is refused; what a person should know is reported. Headers of all images and the
label maps are read, voxels of images are not: 2,000 of them would take hours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from volumes.datasets import DataCase, DataSet
from volumes.errors import InputError
from volumes.fingerprints import check_whole, same_contents
from volumes.formats import check_grid, read_label_map
from volumes.image_files import read_geometry
from volumes.volume import Geometry

Progress = Callable[[int, int], None]

_NAMED = 5  # cases of a kind; the report as JSON names all


@dataclass(frozen=True)
class StructureCount:
    """In how many labelled training cases a structure was contoured, and in how many of them it is."""

    label: int
    name: str
    contoured: int
    present: int


@dataclass(frozen=True)
class Findings:
    """What a data set holds.

    Attributes:
        labelled, unlabelled, validation: numbers of cases.
        slices: fewest and most slices of a case.
        smallest, largest: spacing (dz, dy, dx) in mm, the least and the greatest along each axis.
        structures: one entry for each label of the table.
        partly: for each partly labelled case, the structures that its labels do not speak for.
        empty: cases whose label map is empty.
        duplicates: cases whose images are the same file.
    """

    folder: str
    labelled: int
    unlabelled: int
    validation: int
    slices: tuple[int, int]
    smallest: tuple[float, float, float]
    largest: tuple[float, float, float]
    structures: tuple[StructureCount, ...]
    partly: dict[str, tuple[str, ...]]
    empty: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """For a JSON report."""
        return asdict(self)

    def summary(self) -> str:
        """One line."""
        text = f"{self.labelled} labelled, {self.unlabelled} unlabelled and {self.validation} validation cases"
        text += f" of {self.slices[0]} to {self.slices[1]} slices, {len(self.structures)} structures"
        for number, what in (
            (len(self.partly), "partly labelled"),
            (len(self.empty), "without any label"),
            (len(self.duplicates), "images that occur more than once"),
        ):
            text += f"; {number} {what}" if number else ""
        return text

    def table(self) -> str:
        """The summary, a line for each structure, and the cases that a person should look at."""
        width = max(len(one.name) for one in self.structures)
        spacing = " x ".join(
            f"{low:g}" if low == high else f"{low:g}..{high:g}"
            for low, high in zip(self.smallest, self.largest, strict=True)
        )
        lines = [f"{self.folder}: {self.summary()}", f"spacing {spacing} mm (slices x rows x columns)"]
        lines.append(f"{'structure':<{width + 6}}contoured in  present in")
        lines += [f"{one.label:>4}  {one.name:<{width}}{one.contoured:>13}{one.present:>12}" for one in self.structures]
        lines += [f"empty label map: {name}" for name in self.empty]
        lines += [f"the same image: {', '.join(names)}" for names in self.duplicates]
        lacking: dict[tuple[str, ...], list[str]] = {}
        for name, lacks in self.partly.items():
            lacking.setdefault(lacks, []).append(name)
        for lacks, names in sorted(lacking.items(), key=lambda one: -len(one[1])):
            whom = f"{len(names)} cases were" if len(names) > 1 else "1 case was"
            listed = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
            lines.append(f"{whom} not contoured for {', '.join(lacks)}: {listed}")
        return "\n".join(lines)


def check_dataset(dataset: DataSet, progress: Progress | None = None) -> Findings:
    """Look through a data set before training on it.

    Args:
        progress: called with cases done and cases in all.

    Raises:
        InputError: the first fault of `examine`, and how many more there are.
    """
    if not dataset.training:  # at once: there may be thousands of others to look into
        raise _no_labelled_case(dataset)
    findings, faults = examine(dataset, progress)
    if faults:
        first, others = faults[0], len(faults) - 1
        more = f" (and {others} more fault{'s' if others > 1 else ''})" if others else ""
        raise InputError(first.where, found=first.found + more, expected=first.expected, fix=first.fix)
    assert findings is not None
    return findings


def examine(dataset: DataSet, progress: Progress | None = None) -> tuple[Findings | None, list[InputError]]:
    """Look through a data set, to its end whatever is found.

    Args:
        progress: called with cases done and cases in all.

    Returns:
        What it holds, None if no image can be read, and all faults for which training refuses it: no labelled case; a
        file that is damaged or cut short; labels on another grid than their CT, that the table does not have, or of
        structures that the case is said not to contour; a structure of the table in no labelled training case; a case
        name twice; an image both to train and to validate on.
    """
    check = _Check(dataset)
    if not dataset.training:
        check.errors.append(_no_labelled_case(dataset))
    cases = (*dataset.training, *dataset.unlabelled, *dataset.validation)
    for done, case in enumerate(cases, start=1):
        with check.noting():
            check.case(case, training=done <= len(dataset.training))
        if progress is not None:
            progress(done, len(cases))
    check.names(cases)
    check.classes()
    duplicates = check.duplicates(cases)
    return check.findings(duplicates), check.errors


def _no_labelled_case(dataset: DataSet) -> InputError:
    return InputError(
        dataset.folder,
        found=f"no labelled case to train on ({len(dataset.unlabelled)} unlabelled)",
        expected="at least one",
        fix="add label files for some of the training images",
    )


class _Check:
    """What was seen so far."""

    def __init__(self, dataset: DataSet) -> None:
        self.dataset, self.labels = dataset, frozenset(dataset.table)
        self.errors: list[InputError] = []
        self.geometries: dict[Path, Geometry] = {}
        self.contoured: Counter[int] = Counter()
        self.present: Counter[int] = Counter()
        self.partly: dict[str, tuple[str, ...]] = {}
        self.empty: list[str] = []

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Keep an InputError, so that the others are found as well."""
        try:
            yield
        except InputError as error:
            self.errors.append(error)

    def case(self, case: DataCase, training: bool) -> None:
        geometry, voxel_bytes = read_geometry(case.image)
        check_whole(case.image, voxel_bytes)
        self.geometries[case.image] = geometry
        if case.label is None:
            return
        label_map = read_label_map(case.label)
        check_grid(case.label, label_map.geometry, geometry, case.name)
        present = frozenset(label_map.present())
        contoured = self.labels if case.contoured is None else case.contoured
        _check_labels(case, present, contoured, self.dataset)
        if not present:
            self.empty.append(case.name)
        if contoured != self.labels:
            lacks = sorted(self.labels - contoured)
            self.partly[case.name] = tuple(self.dataset.table.name_of(label) for label in lacks)
        if training:
            self.contoured.update(contoured)
            self.present.update(present)

    def names(self, cases: Sequence[DataCase]) -> None:
        """No case twice: neither in training and validation, nor as two files."""
        for name, times in Counter(case.name for case in cases).items():
            if times > 1:
                self.errors.append(
                    InputError(
                        self.dataset.folder,
                        found=f"the case {name} {times} times",
                        expected="each case once, to train or to validate on",
                        fix="take one away, or rename it if it is another patient",
                    )
                )

    def classes(self) -> None:
        """Every structure of the table is in a training case."""
        if self.errors:
            return  # a case that could not be read may be the one
        missing = [label for label in self.dataset.table if not self.present[label]]
        if missing:
            names = ", ".join(self.dataset.table.name_of(label) for label in missing)
            self.errors.append(
                InputError(
                    self.dataset.folder,
                    found=f"no labelled training case with {names}",
                    expected="every structure of the label table in at least one",
                    fix="add a case that has it, or take it out of the label table",
                )
            )

    def duplicates(self, cases: Sequence[DataCase]) -> tuple[tuple[str, ...], ...]:
        """Cases of the same image, of those that can be read; one in training and in validation is an error."""
        name_of = {case.image: case.name for case in cases if case.image in self.geometries}
        held_back = {case.image for case in self.dataset.validation}
        found: list[tuple[str, ...]] = []
        groups: list[list[Path]] = []
        with self.noting():
            groups = same_contents(name_of)
        for group in groups:
            found.append(tuple(name_of[path] for path in group))
            if held_back.intersection(group) and not held_back.issuperset(group):
                self.errors.append(
                    InputError(
                        next(path for path in group if path in held_back),
                        found=f"an image that is also in training, as {name_of[group[0]]}",
                        expected="validation cases that are not trained on",
                        fix="take one of the two away",
                    )
                )
        return tuple(found)

    def findings(self, duplicates: tuple[tuple[str, ...], ...]) -> Findings | None:
        dataset, geometries = self.dataset, self.geometries.values()
        if not geometries:
            return None
        depths = [geometry.shape_dhw[0] for geometry in geometries]
        by_axis = list(zip(*(geometry.spacing_dhw for geometry in geometries), strict=True))
        return Findings(
            folder=str(dataset.folder),
            labelled=len(dataset.training),
            unlabelled=len(dataset.unlabelled),
            validation=len(dataset.validation),
            slices=(min(depths), max(depths)),
            smallest=(min(by_axis[0]), min(by_axis[1]), min(by_axis[2])),
            largest=(max(by_axis[0]), max(by_axis[1]), max(by_axis[2])),
            structures=tuple(
                StructureCount(label, dataset.table.name_of(label), self.contoured[label], self.present[label])
                for label in dataset.table
            ),
            partly=self.partly,
            empty=tuple(self.empty),
            duplicates=duplicates,
        )


def _check_labels(case: DataCase, present: frozenset[int], contoured: frozenset[int], dataset: DataSet) -> None:
    unknown, unsaid = sorted(present - set(dataset.table)), sorted(present - contoured)
    if unknown:
        raise InputError(
            case.label or case.name,
            found=f"label {', '.join(map(str, unknown))}",
            expected=f"labels of {dataset.table.name}: {', '.join(map(str, dataset.table))}",
            fix="correct the label map, or add the label to the table",
        )
    if unsaid:
        names = ", ".join(dataset.table.name_of(label) for label in unsaid)
        raise InputError(
            case.label or case.name,
            found=f"{names}, which cases.json does not list for {case.name}",
            expected="no structure but those that the case is said to contour",
            fix="correct cases.json, or the label map",
        )
