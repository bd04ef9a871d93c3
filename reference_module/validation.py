"""How well a pair segments volumes that it was not trained on: Dice of each structure, on whole volumes.

On the pair's own pixels, as in training, since this runs while training does, and averaged along z, as in use; scores
on the files' own grid are `keyslice evaluate`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from networks.classes import class_values
from networks.training.case_store import StoredCase
from networks.training.validation import check_eval_mode
from reference_module.inputs import network_input, slice_position
from reference_module.pair import Pair
from reference_module.smoothing import smoothed
from volumes.labels import LabelTable

_PIXELS = 2_000_000  # of the slices that are looked at together: eight of 500 x 500


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
    check_eval_mode(pair)
    image, labels = case.image, case.labels
    assert labels is not None
    device = next(pair.parameters()).device
    values = torch.tensor(class_values(table), device=device)
    depth, height, width = image.shape
    at_once = max(1, min(16, _PIXELS // (height * width)))
    both = torch.zeros(len(values), dtype=torch.int64)
    sizes = torch.zeros(len(values), dtype=torch.int64)

    def probabilities() -> Iterator[Tensor]:
        for start in range(0, depth, at_once):
            rows = range(start, min(depth, start + at_once))
            images = torch.from_numpy(network_input(image[rows.start : rows.stop], windows)).to(device)
            position = torch.tensor([slice_position(z, depth) for z in rows], dtype=torch.float32, device=device)
            yield from pair.probabilities(images, position)

    for z, mean in enumerate(smoothed(probabilities(), depth, case.spacing[0])):
        found = values[mean.argmax(0)]  # h x w labels
        truth = torch.tensor(labels[z], device=device).long()
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
