"""The cases of a 3D training, ready to be drawn from; refused if nothing can be learnt from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline3d.boxes import Box
from baseline3d.intensity import Figures
from baseline3d.preparation import InputSettings
from baseline3d.store import PreparedCase, learnt_figures, open_prepared
from networks.training.case_store import Progress
from networks.training.cases import check_labelled, chosen_cases, joined, stored_groups
from networks.training.pseudo_label import PseudoLabel
from volumes.datasets import DataCase, DataSet
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
    progress: Progress | None = None,
    boxes: Mapping[str, Box] | None = None,
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
        boxes: by the case's name, the part that is looked at where it is not the one that `inputs.crop` finds.

    Raises:
        InputError: no labelled case, a structure that no labelled case has, pseudo-labels for a case that is not there
            or that has labels.
    """
    check_labelled(dataset)
    joining, _ = joined(dataset, pseudo)

    def store(group: Sequence[DataCase], told: Progress) -> list[PreparedCase]:
        return open_prepared(group, dataset.table, cache, inputs, told, workers if workers > 1 else 0, boxes)

    groups = [dataset.training, joining, chosen_cases(dataset.validation, validate_on)]
    labelled, pseudo_labelled, held_back = stored_groups(groups, store, dataset, progress)
    learnt = figures or learnt_figures(labelled, inputs.intensity)
    return TrainingCases(dataset.table, learnt, labelled, pseudo_labelled, held_back)
