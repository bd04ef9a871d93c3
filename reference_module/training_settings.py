"""A reference configuration, read strictly: which sections it has, its `training` and its `input`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from omegaconf import DictConfig

from networks.configurations import check_values, read_config, settings_of, with_overrides
from reference_module.losses import LossSettings
from reference_module.models import InputSettings
from reference_module.slice_streams import SliceSettings
from volumes.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The sections that a reference configuration has, all of them, and no others."""

    name: str
    network: Mapping[str, Any]
    input: Mapping[str, Any]
    training: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_name(self.name)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The `training` section of a reference configuration.

    Args:
        steps: optimiser steps.
        batch_size: labelled slices a step, on each GPU.
        workers: processes that make slices beside the training loop; 0: within it.
        schedule: `halve` (x0.5 at 80 % and 90 % of the run, systems 1.6) or `one_cycle`.
        gradient_clip: norm to which each network's gradient is clipped; 0: not at all.
        averaging: decay of the running mean of the weights, which is what the run ends with; 0: the last ones.
        validate_every: steps between two validations; 0: never.
        validation_cases: validate on at most so many; 0: on all.
        pseudo_share: share of the labelled slices that comes from pseudo-labelled cases, where there are any.
    """

    seed: int
    steps: int
    batch_size: int
    workers: int
    learning_rate: float
    weight_decay: float
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["halve", "one_cycle"]
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    gradient_clip: float
    averaging: float = 0.0
    checkpoint_every: int
    log_every: int
    validate_every: int
    validation_cases: int = 0
    pseudo_share: float = 0.5
    nodes: int = 1
    slices: SliceSettings
    losses: LossSettings

    def __post_init__(self) -> None:
        check_values(
            self,
            "training",
            ("seed", 0 <= self.seed < 2**63, "0 or more, and less than 2^63"),
            ("steps", self.steps >= 1, "1 or more"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("workers", self.workers >= 0, "0 or more"),
            ("learning_rate", self.learning_rate > 0, "more than 0"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("betas", all(0 <= one < 1 for one in self.betas), "two numbers from 0 to less than 1"),
            ("gradient_clip", self.gradient_clip >= 0, "0 or more"),
            ("averaging", 0 <= self.averaging < 1, "from 0 to less than 1"),
            ("checkpoint_every", self.checkpoint_every >= 1, "1 or more"),
            ("log_every", self.log_every >= 1, "1 or more"),
            ("validate_every", self.validate_every >= 0, "0 or more"),
            ("validation_cases", self.validation_cases >= 0, "0 or more"),
            ("pseudo_share", 0 <= self.pseudo_share <= 1, "a share from 0 to 1"),
            ("nodes", self.nodes >= 1, "1 or more"),
        )


def read_whole(name_or_path: str | Path) -> DictConfig:
    """A reference configuration with all of its sections.

    Raises:
        InputError: no such configuration, a section that is missing or unknown.
    """
    whole = read_config("reference", name_or_path)
    settings_of(whole, Configuration, str(name_or_path))
    return whole


def check_name(name: str) -> None:
    """Raise InputError unless a configuration's name can be that of its weights' file."""
    if not name or name.startswith(".") or Path(name).name != name:
        raise InputError("name", found=f"'{name}'", expected="a name for the weights' file", fix="correct the name")


Settings = TypeVar("Settings", bound=TrainingSettings)


def read_sections(
    whole: DictConfig, kind: type[Settings], overrides: Mapping[str, Any] | None, where: str
) -> tuple[Settings, InputSettings]:
    """The `training` and `input` sections with what `overrides` replaces (`{"steps": 10, "input": {"pixel": 2}}`).

    Raises:
        InputError: a setting that does not exist, is missing, or has a value that will not do.
    """
    changes = dict(overrides or {})
    inputs = settings_of(
        with_overrides(whole.get("input"), changes.pop("input", None)), InputSettings, f"{where}: input"
    )
    section = with_overrides(whole.get("training"), changes)
    slices = section.get("slices")
    if isinstance(slices, Mapping) and "windows" in slices:
        raise InputError(
            f"{where}: training.slices",
            found="windows",
            expected="them in the input section, which the weights keep",
            fix="set input.windows instead",
        )
    settings = settings_of(section, kind, f"{where}: training")
    return replace(settings, slices=replace(settings.slices, windows=inputs.windows)), inputs
