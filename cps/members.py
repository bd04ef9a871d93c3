"""Members of the paper's rounds: pairs of 2D networks that segment every slice of a case (systems 1.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from cps.labelling import Predict
from cps.validation import validation_dice
from reference_module.referencer import Referencer
from volumes.datasets import DataSet
from volumes.formats import read_volume
from volumes.label_map import LabelMap
from volumes.volume import Volume


def member_opener(images: Mapping[str, Path], device: str) -> Callable[[Path], Predict]:
    """What opens a member from its weights (`cps.labelling.Labelling`).

    Args:
        images: CT of each case, by name.
        device: a torch device.
    """

    def open_member(weights: Path) -> Predict:
        referencer = Referencer.load(weights, device=device)
        return lambda case: _segment(referencer, replace(read_volume(images[case]), name=case))

    return open_member


def validation_score(weights: Path, dataset: DataSet, device: str) -> float | None:
    """Mean over structures of the mean Dice on the validation cases, on the files' own grids; None without such cases.

    Scored are structures that a case contours, but for those that neither it nor the pair shows.
    """
    if not dataset.validation:
        return None
    referencer = Referencer.load(weights, device=device)
    return validation_dice(partial(_segment, referencer), dataset).get("mean")


def _segment(referencer: Referencer, volume: Volume) -> LabelMap:
    return LabelMap(referencer.segment_all(volume), volume.geometry, referencer.table, volume.name)
