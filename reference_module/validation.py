"""How well a pair segments volumes that it was not trained on: Dice of each structure, on whole volumes.

On the pair's own pixels, as in training, since this runs while training does; scores on the files' own grid are
`keyslice evaluate`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from reference_module.inputs import class_values, network_input, slice_position
from reference_module.pair import Pair
from reference_module.slices import StoredCase
from volumes.labels import LabelTable

_PIXELS = 2_000_000  # of the slices that are looked at together: eight of 500 x 500


class NotInEvalMode(RuntimeError):
    """Validation was asked of a network that is being trained: dropout and batch statistics would blur its score."""


def chosen_cases(cases: Sequence[Any], at_most: int) -> list[Any]:
    """At most so many cases, spread evenly over all; 0: all of them."""
    if not at_most or len(cases) <= at_most:
        return list(cases)
    return [cases[i * len(cases) // at_most] for i in range(at_most)]


@torch.no_grad()
def volume_dice(pair: Pair, case: StoredCase, table: LabelTable, windows: str) -> dict[int, float]:
    """Dice of the pair's labels on every slice of a case, by label.

    Args:
        pair: in eval mode, on the device that is to compute.
        case: with labels (D, H, W). Scored are the structures that it contours, but for those that neither it nor the
            pair shows.
        windows: of the pair's input.

    Raises:
        NotInEvalMode: some part of the pair is in training mode.
    """
    if any(module.training for module in pair.modules()):
        raise NotInEvalMode("call eval() first")
    image, labels = case.image, case.labels
    assert labels is not None
    device = next(pair.parameters()).device
    values = torch.tensor(class_values(table), device=device)
    depth, height, width = image.shape
    at_once = max(1, min(16, _PIXELS // (height * width)))
    both = torch.zeros(len(values), dtype=torch.int64)
    sizes = torch.zeros(len(values), dtype=torch.int64)
    for start in range(0, depth, at_once):
        rows = range(start, min(depth, start + at_once))
        images = torch.from_numpy(network_input(image[rows.start : rows.stop], windows)).to(device)
        position = torch.tensor([slice_position(z, depth) for z in rows], dtype=torch.float32, device=device)
        found = values[pair.probabilities(images, position).argmax(1)]  # b x H x W labels
        truth = torch.tensor(labels[rows.start : rows.stop], device=device).long()
        both += _counts(found[found == truth], values)
        sizes += _counts(found, values) + _counts(truth, values)
    contoured = set(table) if case.contoured is None else set(case.contoured)
    return {
        label: 2 * int(both[i]) / int(sizes[i])
        for i, label in enumerate(class_values(table))
        if label in contoured and sizes[i]
    }


def _counts(labels: Tensor, values: Tensor) -> Tensor:
    """How many pixels of `labels` have each of `values`, int64 on the CPU."""
    return torch.bincount(labels.flatten(), minlength=256)[values].cpu()


def summed(scores: Iterable[Mapping[int, float]], table: LabelTable) -> Tensor:
    """Sum and number of every structure's scores, float64 (K, 2) in the table's order: sums of parts can be added."""
    sums = torch.zeros(len(table), 2, dtype=torch.float64)
    rows = {label: row for row, label in enumerate(table)}
    for case in scores:
        for label, value in case.items():
            sums[rows[label]] += torch.tensor([value, 1.0], dtype=torch.float64)
    return sums


def means(sums: Tensor, table: LabelTable) -> dict[str, float]:
    """Mean Dice of each structure that has a score, by its name, and under `mean` their mean; empty without any."""
    found = {table.name_of(label): float(row[0] / row[1]) for label, row in zip(table, sums, strict=True) if row[1] > 0}
    return {**found, "mean": sum(found.values()) / len(found)} if found else {}
