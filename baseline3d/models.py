"""From a name to a 3D network with its weights, and back to a file.

As on the 2D side (`reference_module.models`) a weights file says itself what it is for, so that a name or a path is all
that anyone gives. Both sides may have models of one name: `baseline3d/small` is this side's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from baseline3d.description import SIDE, Description, is_of_this_side
from baseline3d.heads import Head, channels_of
from baseline3d.intensity import Figures
from baseline3d.preparation import InputSettings
from baseline3d.sliding import WindowSettings
from networks.configurations import configuration_names, keywords_of, read_config, with_overrides
from networks.weights import load_exactly, save_weights
from volumes.errors import InputError
from volumes.labels import LabelTable

FOLDER = "baseline3d"
"""Where the configurations are, below `configs`."""

KINDS = {
    "dynunet": ("baseline3d.dynunet", "DynUNet"),
    "residual": ("baseline3d.residual_unet", "ResidualUNet"),
}
"""Network kinds: where the class is, imported when it is needed."""

WEIGHTS_FOLDER = Path(__file__).with_name("weights")
DESCRIBED_STRUCTURES = 13
"""Structures of a network without weights: those of FLARE22."""


@dataclass(frozen=True)
class LoadedModel:
    """A network with its weights, in eval mode on the CPU.

    Attributes:
        network: from B x 1 x D x H x W to logits B x C x D x H x W.
        described: what the weights file says of it.
        coarse: the network that finds the box in which this one works, if the file has one.
    """

    network: nn.Module
    described: Description
    coarse: LoadedModel | None = None

    @property
    def table(self) -> LabelTable:
        """What the classes are."""
        return self.described.table

    @property
    def settings(self) -> InputSettings:
        """What the network sees of a volume."""
        return self.described.settings

    @property
    def windows(self) -> WindowSettings:
        """How it goes through one."""
        return self.described.windows

    @property
    def figures(self) -> Figures | None:
        """HU learnt from the training cases."""
        return self.described.figures

    @property
    def head(self) -> Head:
        """What its channels are."""
        return self.described.network["head"]


def read_configuration(name_or_path: str | Path) -> DictConfig:
    """A 3D configuration by name or path. What it does not say, the one says that it names as its `base`.

    Raises:
        InputError: no such configuration, or a base that has one itself.
    """
    whole = read_config(FOLDER, own_name(name_or_path))
    if "base" not in whole:
        return whole
    base = read_config(FOLDER, own_name(str(whole.pop("base"))))
    if "base" in base:
        raise InputError(
            f"{name_or_path}: base",
            found="a configuration that has a base itself",
            expected="one that says everything",
            fix="name that one's base",
        )
    return with_overrides(base, whole)


def build_network(section: Mapping[str, Any] | DictConfig, structures: int, where: str = "network") -> nn.Module:
    """A network, randomly initialised.

    Args:
        section: a configuration's `network` section: `kind` (one of `KINDS`), `head` (`softmax` or `sigmoid`) and that
            class's own keyword arguments.
        structures: background not included.
        where: what the section is called in errors.

    Raises:
        InputError: a section that does not describe a network.
    """
    content = plain(section)
    kind, head = content.pop("kind", None), content.pop("head", None)
    for name, value, known in (("kind", kind, tuple(KINDS)), ("head", head, ("softmax", "sigmoid"))):
        if value not in known:
            raise InputError(
                where,
                found=f"no {name}" if value is None else f"{name} '{value}'",
                expected=f"{name}: one of {', '.join(known)}",
                fix="correct the network section",
            )
    module, attribute = KINDS[kind]
    network_class: Callable[..., nn.Module] = getattr(import_module(module), attribute)
    channels = channels_of(head, structures)
    network = network_class(**keywords_of({"channels": channels, **content}, network_class, where))
    # Channels last: `small` takes 0.8 of the time on a CPU that computes in bfloat16.
    return network.to(memory_format=torch.channels_last_3d)


def check_patch(network: nn.Module, settings: InputSettings) -> None:
    """Raise InputError unless a patch of `settings` passes through `network`."""
    multiple: tuple[int, int, int] = network.multiple  # type: ignore[assignment]
    sides = list(zip(settings.patch, multiple, strict=True))
    # Instance norm of a single voxel is no norm: the coarsest stage needs two.
    if any(side % one for side, one in sides) or all(side == one for side, one in sides):
        raise InputError(
            "input.patch",
            found=" x ".join(map(str, settings.patch)),
            expected=f"multiples of {' x '.join(map(str, multiple))}, not all of them the least",
            fix="round it",
        )


def load_model(name: str | Path, weights: str | Path | None = None) -> LoadedModel:
    """A network with weights.

    Args:
        name: the name of weights that ship, with or without `baseline3d/`, of a configuration, or the path of a
            `.safetensors` or `.yaml` file.
        weights: the weights' file; None takes those that ship under this name.

    Raises:
        InputError: no such name, no weights, weights of another network or of another side, or a damaged file.
    """
    path = Path(weights) if weights is not None else _weights_of(name)
    described = Description.read(path)
    own = own_name(name)
    if own.endswith((".yaml", ".yml")) or (weights is not None and own in configuration_names(FOLDER)):
        section = plain(read_configuration(own).get("network"))
        if section != described.network:
            raise InputError(
                path,
                found="weights of another network",
                expected=f"those of configuration {own}",
                fix="name the weights' own configuration, or give only the weights' path",
            )
    network = build_network(described.network, len(described.table), f"{path}: network")
    if described.coarse is None:
        load_exactly(network, path)
        return LoadedModel(network.eval(), described)
    coarse = build_network(described.coarse.network, len(described.coarse.table), f"{path}: coarse network")
    load_exactly(_both(network, coarse), path)
    return LoadedModel(network.eval(), described, LoadedModel(coarse.eval(), described.coarse))


def save_model(
    network: nn.Module,
    described: Description,
    path: str | Path,
    metadata: Mapping[str, str] | None = None,
    coarse: LoadedModel | None = None,
) -> None:
    """Write a network with what `load_model` needs to know; the file appears whole or not at all.

    Args:
        metadata: what else shall be kept.
        coarse: the network that finds the box for this one.
    """
    described = replace(described, coarse=None if coarse is None else coarse.described)
    both = network if coarse is None else _both(network, coarse.network)
    save_weights(both, path, {**(metadata or {}), **described.metadata()})


def _both(network: nn.Module, coarse: nn.Module) -> nn.Module:
    """Two networks in one file."""
    return nn.ModuleDict({"fine": network, "coarse": coarse})


def is_3d(name: str | Path, weights: str | Path | None = None) -> bool:
    """Whether `load_model` is who should load this: by the weights' file, the prefix, or a name that no pair has."""
    if weights is not None or str(name).endswith(".safetensors"):
        return is_of_this_side(Path(weights if weights is not None else name))
    if str(name).startswith(f"{SIDE}/"):
        return True
    return shipped_weights(name) is not None and str(name) not in configuration_names("reference")


def shipped_weights(name: str | Path) -> Path | None:
    """The weights in the package under a name, if there are any."""
    path = WEIGHTS_FOLDER / f"{own_name(name)}.safetensors"
    return path if path.is_file() else None


def describe_models() -> dict[str, dict[str, int | str | None]]:
    """`{"baseline3d/<name>": {"parameters": count, "weights": path or None}}` for every configuration.

    A configuration without weights of its name is counted at `DESCRIBED_STRUCTURES`.
    """
    found: dict[str, dict[str, int | str | None]] = {}
    for name in configuration_names(FOLDER):
        weights = shipped_weights(name)
        section, structures = read_configuration(name).get("network"), DESCRIBED_STRUCTURES
        if weights is not None:
            described = Description.read(weights)
            section, structures = described.network, len(described.table)
        with torch.device("meta"):  # no memory, no initialisation
            network = build_network(section, structures, f"{name}: network")
        found[f"{SIDE}/{name}"] = {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "weights": None if weights is None else str(weights),
        }
    return found


def own_name(name: str | Path) -> str:
    """A model's name without its side; a path stays as it is."""
    text = str(name)
    return text if text.endswith((".yaml", ".yml", ".safetensors")) else text.removeprefix(f"{SIDE}/")


def plain(section: Mapping[str, Any] | DictConfig | None) -> dict[str, Any]:
    """A section's content, as JSON would have it."""
    content = OmegaConf.to_container(section, resolve=True) if isinstance(section, DictConfig) else section
    return json.loads(json.dumps(content)) if isinstance(content, Mapping) else {}


def _weights_of(name: str | Path) -> Path:
    """The file for a name or path that a user gave."""
    if str(name).endswith(".safetensors"):
        return Path(name)
    path = shipped_weights(name)
    if path is None:
        known = sorted(one.stem for one in WEIGHTS_FOLDER.glob("*.safetensors"))
        raise InputError(
            f"3D model {name}",
            found="no weights that ship under this name",
            expected=f"one of {', '.join(known)}" if known else "weights",
            fix="give a .safetensors file with --weights, or train them: keyslice train baseline3d",
        )
    return path
