"""The cases of a training, gathered from a data set; refused if nothing can be learnt from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from networks.training.case_store import Progress, StoredCase
from networks.training.pseudo_label import PseudoLabel
from volumes.datasets import DataCase, DataSet
from volumes.errors import InputError

Stored = TypeVar("Stored", bound=StoredCase)


def check_labelled(dataset: DataSet) -> None:
    """Raise InputError for a data set without a labelled case."""
    if not dataset.training:
        raise InputError(
            dataset.folder,
            found="no labelled case",
            expected="at least one, and better ten",
            fix="add label maps, labelsTr/CASE.nii.gz for imagesTr/CASE_0000.nii.gz",
        )


def joined(
    dataset: DataSet, pseudo: Mapping[str, str | Path | PseudoLabel] | None
) -> tuple[list[DataCase], list[DataCase]]:
    """Unlabelled cases that get pseudo-labels, with them, and those that do not.

    Args:
        pseudo: label map for each of some unlabelled cases, by the case's name; a plain path speaks for all structures.

    Raises:
        InputError: pseudo-labels for a case that is not there or that has labels, or that are not there themselves.
    """
    joining = {name: PseudoLabel.of(given) for name, given in (pseudo or {}).items()}
    known = {case.name for case in dataset.unlabelled}
    for name, given in joining.items():
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
    with_labels = [
        replace(case, label=joining[case.name].path, contoured=joining[case.name].contoured)
        for case in dataset.unlabelled
        if case.name in joining
    ]
    return with_labels, [case for case in dataset.unlabelled if case.name not in joining]


def chosen_cases(cases: Sequence[Any], at_most: int) -> list[Any]:
    """At most so many cases, spread evenly over all; 0: all of them, -1: none."""
    if at_most < 0:
        return []
    if not at_most or len(cases) <= at_most:
        return list(cases)
    return [cases[i * len(cases) // at_most] for i in range(at_most)]


def stored_groups(
    groups: Sequence[Sequence[DataCase]],
    store: Callable[[Sequence[DataCase], Progress], list[Stored]],
    dataset: DataSet,
    progress: Progress | None,
) -> list[list[Stored]]:
    """Groups of cases prepared one after the other, and the labelled ones looked through as soon as they are there.

    Args:
        groups: the labelled cases, the pseudo-labelled ones, and whatever comes then.
        store: prepares cases, and tells of cases done and cases in all.
        progress: called with cases done and cases in all, of all groups.

    Raises:
        InputError: a structure that no labelled case has.
    """
    stored: list[list[Stored]] = []
    total = sum(map(len, groups))
    for group in groups:
        before = sum(map(len, stored))

        def told(done: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, total)

        stored.append(store(group, told))
        if len(stored) == 2:
            _check_structures(dataset, [*stored[0], *stored[1]])
    return stored


def _check_structures(dataset: DataSet, cases: Sequence[StoredCase]) -> None:
    """Every structure of the table must be on some slice."""
    missing = [label for label in dataset.table if not any(len(case.slices_of.get(label, ())) for case in cases)]
    if missing:
        names = ", ".join(dataset.table.name_of(label) for label in missing)
        raise InputError(
            dataset.folder,
            found=f"no labelled case with {names}",
            expected="every structure of the label table in at least one",
            fix="add such a case, lower input.pixel or input.spacing if such voxels are too large to show it, "
            "or take the structure out of the label table (dataset.json)",
        )
