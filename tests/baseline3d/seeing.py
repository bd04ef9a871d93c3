"""A network that reads the class of each voxel from its value, so that a test paints what it finds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baseline3d.description import Description
from baseline3d.intensity import IntensitySettings
from baseline3d.models import LoadedModel
from baseline3d.preparation import InputSettings
from baseline3d.sliding import WindowSettings
from volumes.labels import Label, LabelTable

TABLE = LabelTable([Label(2, "liver", (1, 1, 1)), Label(5, "aorta", (2, 2, 2)), Label(9, "cord", (3, 3, 3))], "three")
STEP_HU = 100
"""Class n is seen in voxels of n x `STEP_HU` HU."""


class Seeing(nn.Module):
    """Logits of four classes (softmax) or three structures (sigmoid), from values in [0, 1] for [0, 400) HU."""

    def __init__(self, head: str) -> None:
        super().__init__()
        self.head = head
        self.windows: list[tuple[int, ...]] = []
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        self.windows.append(tuple(image.shape))
        classes = torch.round(image[:, 0] * 4).long().clamp(0, 3)
        found = 20.0 * nn.functional.one_hot(classes, 4).movedim(-1, 1) - 10.0
        return found[:, 1:] if self.head == "sigmoid" else found


def seeing(head: str = "softmax", *, step: float = 0.5, gaussian: bool = True, **settings: object) -> LoadedModel:
    """A model with this network; `settings` of its input."""
    intensity = IntensitySettings("range", low=0.0, high=400.0)
    inputs = InputSettings(**{"patch": (4, 8, 8), "intensity": intensity, **settings})  # type: ignore[arg-type]
    described = Description({"head": head}, TABLE, inputs, WindowSettings(step, gaussian), None)
    return LoadedModel(Seeing(head).eval(), described)
