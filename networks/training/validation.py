"""Scores of validation cases, and their means over cases and ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from volumes.labels import LabelTable


class NotInEvalMode(RuntimeError):
    """Validation was asked of a network that is being trained: dropout and batch statistics would blur its score."""


def check_eval_mode(network: nn.Module) -> None:
    """Raise NotInEvalMode if some part of a network is in training mode."""
    if any(module.training for module in network.modules()):
        raise NotInEvalMode("call eval() first")


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
