"""The cases of a 3D training, ready to be drawn from; refused if nothing can be learnt from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline3d.intensity import Figures
from baseline3d.preparation import InputSettings
from baseline3d.store import PreparedCase, learnt_figures, open_prepared
from reference_module.pseudo_label import PseudoLabel
from reference_module.training_cases import _check_structures, _joined
from reference_module.validation import chosen_cases
from volumes.datasets import DataCase, DataSet
from volumes.errors import InputError
from volumes.labels import LabelTable


@dataclass(frozen=True)
class TrainingCases:
    """Cases by what they are for.

    Attributes:
        table: the data set's structures.
        figures: HU learnt from the labelled cases, for intensity rules that need them.
        labelled: with labels that a person drew.
        pseudo: with labels of a network's own.
        validation: labelled cases that are held back.
    """

    table: LabelTable
    figures: Figures | None
    labelled: list[PreparedCase]
    pseudo: list[PreparedCase]
    validation: list[PreparedCase]


def open_cases(
    dataset: DataSet,
    *,
    cache: Path,
    inputs: InputSettings,
    figures: Figures | None = None,
    pseudo: Mapping[str, str | Path | PseudoLabel] | None = None,
    validate_on: int = 0,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingCases:
    """Prepare the volumes of a data set.

    Args:
        cache: where prepared volumes are kept; several runs may share it.
        inputs: how they are prepared.
        figures: those of weights that the run begins with; None: learnt here.
        pseudo: label map for each of some unlabelled cases, by the case's name; a plain path speaks for all structures.
        validate_on: at most so many validation cases; 0: all, -1: none.
        workers: processes that prepare volumes; with 0 or 1 this one does, which has nothing else to do meanwhile.
        progress: called with cases done and cases in all.

    Raises:
        InputError: no labelled case, a structure that no labelled case has, pseudo-labels for a case that is not there
            or that has labels.
    """
    if not dataset.training:
        raise InputError(
            dataset.folder,
            found="no labelled case",
            expected="at least one, and better ten",
            fix="add label maps, labelsTr/CASE.nii.gz for imagesTr/CASE_0000.nii.gz",
        )
    joining, _ = _joined(dataset, {name: PseudoLabel.of(given) for name, given in (pseudo or {}).items()})
    validation = chosen_cases(dataset.validation, validate_on) if validate_on >= 0 else []
    groups: list[Sequence[DataCase]] = [dataset.training, joining, validation]
    stored: list[list[PreparedCase]] = []
    total = sum(map(len, groups))
    for group in groups:
        before = sum(map(len, stored))

        def told(done: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, total)

        processes = workers if workers > 1 else 0
        stored.append(open_prepared(group, dataset.table, cache, inputs, told, processes))
    labelled, pseudo_labelled, held_back = stored
    _check_structures(dataset, [*labelled, *pseudo_labelled])
    learnt = figures or learnt_figures(labelled, inputs.intensity)
    return TrainingCases(dataset.table, learnt, labelled, pseudo_labelled, held_back)
