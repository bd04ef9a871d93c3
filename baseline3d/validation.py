"""How well a 3D network segments volumes that it was not trained on: Dice of each structure, on whole volumes.

On the prepared grid, as in training, since this runs while training does; scores on the files' own grid are
`keyslice evaluate`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from baseline3d.cases import TrainingCases
from baseline3d.heads import Head, probabilities
from baseline3d.intensity import scaled
from baseline3d.preparation import InputSettings
from baseline3d.sliding import Windows, WindowSettings
from baseline3d.store import PreparedCase
from networks.classes import class_values
from networks.training.validation import check_eval_mode
from volumes.resampling import AIR


@torch.no_grad()
def prepared_dice(
    network: nn.Module,
    head: Head,
    case: PreparedCase,
    cases: TrainingCases,
    inputs: InputSettings,
    windows: WindowSettings,
) -> dict[int, float]:
    """Dice of the network's labels on every slice of a prepared case, by label.

    Args:
        network: in eval mode, on the device that is to compute.
        case: with labels. Scored are the structures that it contours, but for those that neither it nor the network
            shows.
        cases: for the table and the figures.

    Raises:
        NotInEvalMode: some part of the network is in training mode.
    """
    check_eval_mode(network)
    image, labels = case.image, case.labels
    assert labels is not None
    device = next(network.parameters()).device
    figures = case.figures if case.figures is not None else cases.figures
    values = np.array(class_values(cases.table), np.uint8)
    both, sizes = np.zeros(256, np.int64), np.zeros(256, np.int64)

    def seen() -> Iterator[NDArray[np.float32]]:
        return (scaled(hu, inputs.intensity, figures) for hu in image)

    found = Windows(case.shape, inputs.patch, windows, device).probabilities(
        seen(),
        lambda window: probabilities(network(window).float(), head),
        air=float(scaled(np.array(AIR), inputs.intensity, figures)),
    )
    for z, one in enumerate(found):
        predicted, truth = values[one.argmax(0).cpu().numpy()], np.asarray(labels[z])
        both += np.bincount(truth[truth == predicted], minlength=256)
        sizes += np.bincount(truth.ravel(), minlength=256) + np.bincount(predicted.ravel(), minlength=256)
    contoured = set(cases.table) if case.contoured is None else set(case.contoured)
    scored = [label for label in cases.table if label in contoured and sizes[label]]
    return {label: 2 * int(both[label]) / int(sizes[label]) for label in scored}
