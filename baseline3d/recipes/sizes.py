"""Where and how large the structures of the labelled cases are: what rules learn from, and folds are made by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np

from baseline3d.recipes.stages import Stage
from cps.uncertainty import voxel_counts
from volumes.datasets import DataCase, DataSet
from volumes.formats import read_label_map

Sizes = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By case and structure, of what a case contours and shows: `mm3`, and in mm from the lowest slice's lower side on
`from` and `to`."""

STAGE = "sizes"


def sizes_stage(dataset: DataSet, tell: Callable[[str], None]) -> Stage:
    """A stage whose result are the `Sizes` of the labelled training cases."""
    return Stage(STAGE, lambda place: {case.name: _sizes(case, dataset, tell) for case in dataset.training})


def _sizes(case: DataCase, dataset: DataSet, tell: Callable[[str], None]) -> dict[str, dict[str, float]]:
    assert case.label is not None
    labels = read_label_map(case.label)
    voxel, step = prod(labels.geometry.spacing_dhw), labels.geometry.spacing_dhw[0]
    counts = np.stack([voxel_counts(plane[None]) for plane in labels.array])  # D x 256
    tell(f"sizes: {case.name}")
    found = {}
    for value, label in dataset.table.items():
        slices = np.flatnonzero(counts[:, value])
        if len(slices) and case.contours(value):
            found[label.name] = {
                "mm3": round(int(counts[:, value].sum()) * voxel, 3),
                "from": round(int(slices[0]) * step, 3),
                "to": round((int(slices[-1]) + 1) * step, 3),
            }
    return found
