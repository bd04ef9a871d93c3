"""A 3D configuration, read strictly: which sections it has, and what they may say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from omegaconf import DictConfig, OmegaConf

from baseline3d.augmentation import AugmentationSettings
from baseline3d.distillation import DistillationSettings
from baseline3d.models import build_network, check_patch, read_configuration
from baseline3d.patches import PatchSettings
from baseline3d.preparation import InputSettings
from baseline3d.sliding import WindowSettings
from networks.configurations import check_name, check_values, settings_of, with_overrides
from networks.training.settings import RunSettings
from volumes.errors import InputError


@dataclass(frozen=True)
class OptimizerSettings:
    """The `training.optimizer` section.

    Attributes:
        kind: `sgd` has Nesterov momentum (nnU-Net: Alves, Tong), `adam` (Gao), `adamw` (Zhang 3.2).
        betas: of the two Adams.
        schedule: `poly`: x (1 - step/steps)^power; `steps`: x each of `factors` from its share of the run on;
            `one_cycle`: up for a tenth of the run, then down.
    """

    kind: Literal["sgd", "adam", "adamw"]
    learning_rate: float
    schedule: Literal["poly", "steps", "one_cycle"]
    weight_decay: float = 0.0
    momentum: float = 0.99
    betas: tuple[float, float] = (0.9, 0.999)
    power: float = 0.9
    factors: Mapping[float, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_values(
            self,
            "training.optimizer",
            ("learning_rate", self.learning_rate > 0, "more than 0"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("momentum", 0 <= self.momentum < 1, "from 0 to less than 1"),
            ("betas", all(0 <= one < 1 for one in self.betas), "two numbers from 0 to less than 1"),
            ("power", self.power > 0, "more than 0"),
            (
                "factors",
                all(0 < share < 1 and factor > 0 for share, factor in self.factors.items())
                and bool(self.factors) == (self.schedule == "steps"),
                "for schedule: steps, and no other, factors above 0 by shares of the run between 0 and 1",
            ),
        )


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(RunSettings):
    """The `training` section of a 3D configuration: that of all networks, and

    Attributes:
        augmentation: of patches that people labelled.
        strong: of pseudo-labelled ones; None: as `augmentation`.
        distillation: how a teacher is learnt from, where there is one; None: as `DistillationSettings` has it.
    """

    optimizer: OptimizerSettings
    patches: PatchSettings
    augmentation: AugmentationSettings
    strong: AugmentationSettings | None = None
    distillation: DistillationSettings | None = None


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A 3D configuration: its sections, all of them, and no others.

    Attributes:
        recipe: of self-training, for `baseline3d.recipes.registry`; None: trained with labels alone.
    """

    name: str
    network: Mapping[str, Any]
    input: InputSettings
    inference: WindowSettings
    training: TrainingSettings
    recipe: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.network.get("head") == "sigmoid" and self.training.losses.lovasz:
            raise InputError(
                "training.losses.lovasz", found="a weight", expected="0 for a sigmoid head", fix="take it out"
            )
        coarser, spacing = self.inference.coarser, self.input.spacing
        if coarser is not None and spacing is not None and math.prod(coarser) <= math.prod(spacing):
            raise InputError(
                "inference.coarser",
                found=" x ".join(f"{side:g}" for side in coarser) + " mm",
                expected="larger voxels than input.spacing's, " + " x ".join(f"{side:g}" for side in spacing) + " mm",
                fix="raise it, or take it out",
            )


SECTIONS = ("network", "input", "inference", "recipe")
"""Overrides under these names replace entries of the section; all others are the training section's."""


def read_whole(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> DictConfig:
    """A 3D configuration with what `overrides` replaces (`{"steps": 10, "input": {"patch": [32, 64, 64]}}`).

    Raises:
        InputError: no such configuration, or settings that cannot be replaced.
    """
    whole = read_configuration(name_or_path)
    changes = dict(overrides or {})
    sections = {name: changes.pop(name) for name in SECTIONS if name in changes}
    return with_overrides(whole, {**sections, "training": changes})


def checked(whole: DictConfig, where: str) -> Configuration:
    """The configuration, as its sections' settings.

    Raises:
        InputError: a section or setting that is missing or does not exist, a value that will not do, or a patch that
            does not pass through the network.
    """
    found = settings_of(whole, Configuration, where)
    with torch.device("meta"):  # no memory, no initialisation
        check_patch(build_network(found.network, 1, f"{where}: network"), found.input)
    return found


def merged_settings(*overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Settings to replace, of which later ones replace earlier ones, section by section, setting by setting."""
    found: DictConfig = OmegaConf.create({})
    for one in overrides:
        found = with_overrides(found, one)
    content = OmegaConf.to_container(found)
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}
