"""The cases of a training, ready to be drawn from; refused if nothing can be learnt from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from networks.training.case_store import Progress, StoredCase
from networks.training.cases import check_labelled, chosen_cases, joined, stored_groups
from networks.training.pseudo_label import PseudoLabel
from reference_module.slices import open_store
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
    progress: Progress | None = None,
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
    check_labelled(dataset)
    joining, left = joined(dataset, pseudo)
    if with_unlabelled and not dataset.unlabelled:
        raise InputError(
            dataset.folder,
            found="no unlabelled case",
            expected="images without labels, which cross pseudo supervision learns from",
            fix="add them to imagesTr or imagesUn, or use keyslice train reference",
        )

    def store(group: Sequence[DataCase], told: Progress) -> list[StoredCase]:
        return open_store(group, dataset.table, cache, pixel, told, workers if workers > 1 else 0)

    validation = chosen_cases(dataset.validation, validate_on)
    groups = [dataset.training, joining, left if with_unlabelled else [], validation]
    return TrainingCases(dataset.table, *stored_groups(groups, store, dataset, progress))
