"""Members of the paper's rounds: pairs of 2D networks that segment every slice of a case (systems 1.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cps.labelling import Predict
from cps.uncertainty import member_scores
from networks.training.validation import means, summed
from reference_module.referencer import Referencer
from volumes.datasets import DataCase, DataSet
from volumes.formats import read_label_map, read_volume
from volumes.label_map import LabelMap


def member_opener(images: Mapping[str, Path], device: str) -> Callable[[Path], Predict]:
    """What opens a member from its weights (`cps.labelling.Labelling`).

    Args:
        images: CT of each case, by name.
        device: a torch device.
    """

    def open_member(weights: Path) -> Predict:
        referencer = Referencer.load(weights, device=device)
        return lambda case: _segment(referencer, images[case], case)

    return open_member


def validation_score(weights: Path, dataset: DataSet, device: str) -> float | None:
    """Mean over structures of the mean Dice on the validation cases, on the files' own grids; None without such cases.

    Scored are structures that a case contours, but for those that neither it nor the pair shows.
    """
    if not dataset.validation:
        return None
    referencer = Referencer.load(weights, device=device)
    scores = (_dice(referencer, case, dataset) for case in dataset.validation)
    return means(summed(scores, dataset.table), dataset.table).get("mean")


def _dice(referencer: Referencer, case: DataCase, dataset: DataSet) -> dict[int, float]:
    assert case.label is not None
    found = _segment(referencer, case.image, case.name)
    truth = read_label_map(case.label, like=found, table=dataset.table)
    scores = member_scores([found.array], truth.array)
    return {label: values[0] for label, values in scores.items() if case.contours(label)}


def _segment(referencer: Referencer, image: Path, name: str) -> LabelMap:
    volume = read_volume(image)
    return LabelMap(referencer.segment_all(volume), volume.geometry, referencer.table, name)
