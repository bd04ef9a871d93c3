"""A reference configuration, read strictly: which sections it has, its `training` and its `input`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from omegaconf import DictConfig

from networks.configurations import check_name, check_values, read_config, settings_of, with_overrides
from networks.training.settings import RunSettings
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
class TrainingSettings(RunSettings):
    """The `training` section of a reference configuration: that of all networks, and

    Args:
        schedule: `halve` (x0.5 at 80 % and 90 % of the run, systems 1.6) or `one_cycle`.
        slices: how slices are drawn and changed.
    """

    learning_rate: float
    weight_decay: float
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["halve", "one_cycle"]
    slices: SliceSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        check_values(
            self,
            "training",
            ("learning_rate", self.learning_rate > 0, "more than 0"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("betas", all(0 <= one < 1 for one in self.betas), "two numbers from 0 to less than 1"),
        )


def read_whole(name_or_path: str | Path) -> DictConfig:
    """A reference configuration with all of its sections.

    Raises:
        InputError: no such configuration, a section that is missing or unknown.
    """
    whole = read_config("reference", name_or_path)
    settings_of(whole, Configuration, str(name_or_path))
    return whole


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
