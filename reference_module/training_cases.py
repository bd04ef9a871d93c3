"""The cases of a training, ready to be drawn from; refused if nothing can be learnt from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reference_module.pseudo_label import PseudoLabel
from reference_module.slices import StoredCase, open_store
from reference_module.validation import chosen_cases
from volumes.datasets import DataCase, DataSet, read_dataset
from volumes.errors import InputError
from volumes.labels import LabelTable


@dataclass(frozen=True)
class TrainingCases:
    """Cases by what they are for.

    Attributes:
        table: the data set's structures.
        labelled: with labels that a person drew.
        pseudo: with labels of a network's own (cps.rounds).
        unlabelled: without; empty where they were not asked for.
        validation: labelled cases that are held back.
    """

    table: LabelTable
    labelled: list[StoredCase]
    pseudo: list[StoredCase]
    unlabelled: list[StoredCase]
    validation: list[StoredCase]


def open_cases(
    data: str | Path | DataSet,
    *,
    cache: Path,
    pixel: float | None,
    pseudo: Mapping[str, str | Path | PseudoLabel] | None = None,
    with_unlabelled: bool = False,
    validate_on: int = 0,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingCases:
    """Read a data set and prepare its volumes, those with labels first, since most can be wrong with them.

    Args:
        data: a data set, or the folder of one.
        cache: where prepared volumes are kept; several runs may share it.
        pixel: see `open_store`.
        pseudo: label map for each of some unlabelled cases, by the case's name; a plain path speaks for all structures.
        with_unlabelled: prepare the unlabelled cases too.
        validate_on: at most so many validation cases; 0: all, -1: none.
        workers: processes that prepare volumes; with 0 or 1 this one does, which has nothing else to do meanwhile.
        progress: called with cases done and cases in all.

    Raises:
        InputError: no labelled case, a structure that no labelled case has, pseudo-labels for a case that is not there
            or that has labels, no unlabelled case where they are wanted.
    """
    dataset = data if isinstance(data, DataSet) else read_dataset(data)
    if not dataset.training:
        raise InputError(
            dataset.folder,
            found="no labelled case",
            expected="at least one, and better ten",
            fix="add label maps, labelsTr/CASE.nii.gz for imagesTr/CASE_0000.nii.gz",
        )
    joining, left = _joined(dataset, {name: PseudoLabel.of(given) for name, given in (pseudo or {}).items()})
    if with_unlabelled and not dataset.unlabelled:
        raise InputError(
            dataset.folder,
            found="no unlabelled case",
            expected="images without labels, which cross pseudo supervision learns from",
            fix="add them to imagesTr or imagesUn, or use keyslice train reference",
        )

    left = left if with_unlabelled else []
    validation = chosen_cases(dataset.validation, validate_on) if validate_on >= 0 else []
    groups: list[Sequence[DataCase]] = [dataset.training, joining, left, validation]
    stored: list[list[StoredCase]] = []
    for group in groups:
        before, total = sum(map(len, stored)), sum(map(len, groups))

        def told(done: int, _: int, before: int = before, total: int = total) -> None:
            if progress is not None:
                progress(before + done, total)

        stored.append(open_store(group, dataset.table, cache, pixel, told, workers if workers > 1 else 0))
        if len(stored) == 2:
            _check_structures(dataset, [*stored[0], *stored[1]])
    return TrainingCases(dataset.table, *stored)


def _joined(dataset: DataSet, pseudo: Mapping[str, PseudoLabel]) -> tuple[list[DataCase], list[DataCase]]:
    """Unlabelled cases that get pseudo-labels, with them, and those that do not."""
    known = {case.name for case in dataset.unlabelled}
    for name, given in pseudo.items():
        if name not in known:
            raise InputError(
                f"pseudo-labels of {name}",
                found="no unlabelled case of this name",
                expected=f"one of the {len(known)} unlabelled cases of {dataset.folder}",
                fix="take it out, or check the case's name",
            )
        if not given.path.is_file():
            raise InputError(
                given.path, found="no such file", expected=f"pseudo-labels of {name}", fix="make them again"
            )
    joining = [
        replace(case, label=pseudo[case.name].path, contoured=pseudo[case.name].contoured)
        for case in dataset.unlabelled
        if case.name in pseudo
    ]
    return joining, [case for case in dataset.unlabelled if case.name not in pseudo]


def _check_structures(dataset: DataSet, cases: Sequence[StoredCase]) -> None:
    """Every structure of the table must be on some slice."""
    missing = [label for label in dataset.table if not any(len(case.slices_of.get(label, ())) for case in cases)]
    if missing:
        names = ", ".join(dataset.table.name_of(label) for label in missing)
        raise InputError(
            dataset.folder,
            found=f"no labelled case with {names}",
            expected="every structure of the label table in at least one",
            fix="add such a case, or take the structure out of the label table (dataset.json)",
        )
