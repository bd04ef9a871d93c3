"""How well networks segment cases that were held back: Dice on the files' own grids, whatever the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from cps.uncertainty import member_scores
from networks.training.validation import means, summed
from volumes.datasets import DataSet
from volumes.formats import read_label_map, read_volume
from volumes.label_map import LabelMap
from volumes.volume import Volume

Segment = Callable[[Volume], LabelMap]


def validation_dice(segment: Segment, dataset: DataSet) -> dict[str, float]:
    """Mean over the validation cases of each structure's Dice, by its name, and under `mean` the mean of these.

    Scored are structures that a case contours, but for those that neither it nor the network shows; empty without
    such cases.
    """

    def scores() -> Iterator[dict[int, float]]:
        for case in dataset.validation:
            assert case.label is not None
            found = segment(replace(read_volume(case.image), name=case.name))
            truth = read_label_map(case.label, like=found, table=dataset.table)
            by_label = member_scores([found.array], truth.array)
            yield {label: values[0] for label, values in by_label.items() if case.contours(label)}

    return means(summed(scores(), dataset.table), dataset.table)
