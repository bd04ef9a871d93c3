"""From a name to a pair with its weights, and back to a file.

A weights file says itself which networks it is for, what its classes are called and which pixels and windows it was
trained with, so that a name, a path or a configuration is all that anyone gives.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from networks.configurations import configuration_names, keywords_of, read_config
from networks.weights import load_exactly, save_weights
from reference_module.description import WEIGHTS_FOLDER, Description, InputSettings
from reference_module.pair import Pair
from volumes.errors import InputError
from volumes.labels import LabelTable

__all__ = [
    "FOLDER",
    "InputSettings",
    "LoadedPair",
    "build_pair",
    "describe_models",
    "load_pair",
    "save_pair",
    "shipped_weights",
]

FOLDER = "reference"
"""Where the configurations are, below `configs`."""

KINDS = {
    "transunet": ("reference_module.transunet", "TransUNet"),
    "deeplabv3plus": ("reference_module.deeplab", "DeepLabV3Plus"),
}
"""Network kinds: where the class is, imported when it is needed."""

DESCRIBED_CLASSES = 14
"""Classes of a pair without weights: the 13 structures of FLARE22 and background."""

_LARGEST_HALF = 65504.0  # float16 has no larger number


@dataclass(frozen=True)
class LoadedPair:
    """A pair with its weights, in eval mode on the CPU.

    Attributes:
        pair: class 0 is background, class n the n-th label of `table`.
        table: what the classes are.
        settings: what its slices must look like.
    """

    pair: Pair
    table: LabelTable
    settings: InputSettings

    @property
    def values(self) -> tuple[int, ...]:
        """Label of each class."""
        return (0, *self.table)


def build_pair(
    name_or_config: str | Path | Mapping[str, Any] | DictConfig, classes: int | None = None, where: str = ""
) -> Pair:
    """The two networks of a configuration, randomly initialised.

    Args:
        name_or_config: a configuration's name, the path of a `.yaml` file, or its content. Its `network` section has
            `first` and `second`, each with its `kind` (one of `KINDS`) and that class's own keyword arguments.
        classes: background included; None takes `DESCRIBED_CLASSES`.
        where: what errors name, if the content is given: the configuration that it is of.

    Raises:
        InputError: no such configuration, or a network section that does not describe a pair.
    """
    name = str(name_or_config) if isinstance(name_or_config, str | Path) else where
    section, count = _network_section(name_or_config), DESCRIBED_CLASSES if classes is None else classes
    return _built(section, count, f"{name}: network" if name else "network")


def load_pair(name: str | Path, weights: str | Path | None = None) -> LoadedPair:
    """A pair with weights.

    Args:
        name: the name of weights that ship, of a configuration, or the path of a `.safetensors` or `.yaml` file.
        weights: the weights' file; None takes those that ship under this name.

    Raises:
        InputError: no such name, no weights, weights of another network or class count, or a file that is damaged.
    """
    path = Path(weights) if weights is not None else _weights_of(name)
    description = Description.read(path)
    section = description.network
    if _is_configuration(name) and _complete(_network_section(name)) != _complete(section):
        raise InputError(
            path,
            found="weights of other networks",
            expected=f"those of configuration {name}",
            fix="name the weights' own configuration, or give only the weights' path",
        )
    pair = _built(section, description.classes, f"{path}: network")
    load_exactly(pair, path)
    return LoadedPair(pair.eval(), description.table, description.settings)


def save_pair(
    pair: Pair,
    path: str | Path,
    table: LabelTable,
    settings: InputSettings,
    metadata: Mapping[str, str] | None = None,
    *,
    half: bool = False,
) -> None:
    """Write a pair with what `load_pair` needs to know; the file appears whole or not at all.

    Args:
        pair: one that `build_pair` made.
        path: `.safetensors`.
        table: its n-th label is class n.
        metadata: more to keep beside it, such as the run's settings.
        half: store numbers as float16, half the size, for a file that ships; `load_pair` gives float32 again.

    Raises:
        InputError: a table of other classes than the pair's, or half and numbers that float16 does not hold.
    """
    if len(table) + 1 != pair.classes:
        raise InputError(
            f"label table {table.name}",
            found=f"{len(table)} labels for networks of {pair.classes} classes",
            expected="a class for each label, and background",
            fix="give the table that the pair was built for",
        )
    if half and (name := _too_large(pair)) is not None:
        raise InputError(
            path,
            found=f"numbers above {_LARGEST_HALF:g} in {name}",
            expected="numbers that float16 holds",
            fix="save without half",
        )
    own = Description(pair.made_of, table, settings).metadata()
    save_weights(pair, path, {**(metadata or {}), **own}, dtype=torch.float16 if half else None)


def shipped_weights(name: str | Path) -> Path | None:
    """The weights in the package under a name, if there are any."""
    path = WEIGHTS_FOLDER / f"{name}.safetensors"
    return path if path.is_file() else None


def describe_models() -> dict[str, dict[str, int | str | None]]:
    """`{"reference/<name>": {"parameters": count, "weights": path or None}}` for every configuration and weights.

    A configuration without weights of its name is counted at `DESCRIBED_CLASSES`.
    """
    found: dict[str, dict[str, int | str | None]] = {}
    shipped = {path.stem for path in WEIGHTS_FOLDER.glob("*.safetensors")}
    for name in sorted({*configuration_names(FOLDER), *shipped}):
        weights = shipped_weights(name)
        with torch.device("meta"):  # no memory, no initialisation
            if weights is None:
                pair = build_pair(name)
            else:
                description = Description.read(weights)
                pair = _built(description.network, description.classes, f"{weights}: network")
        found[f"{FOLDER}/{name}"] = {
            "parameters": sum(parameter.numel() for parameter in pair.parameters()),
            "weights": None if weights is None else str(weights),
        }
    return found


def _built(section: Mapping[str, Any], classes: int, where: str) -> Pair:
    if set(section) != {"first", "second"}:
        raise InputError(
            where,
            found=f"the keys {', '.join(sorted(map(str, section)))}" if section else "nothing",
            expected="first and second",
            fix="describe both networks of the pair there",
        )
    if classes < 2:
        raise InputError(
            where, found=f"{classes} classes", expected="background and a structure", fix="name structures"
        )
    first, second = (_network(section[role], classes, f"{where}.{role}") for role in ("first", "second"))
    # Channels last: bfloat16 convolutions take 0.8 of the time on a CPU, and half precision less on a GPU.
    return Pair(first, second, classes, section).to(memory_format=torch.channels_last)


def _network(section: Any, classes: int, where: str) -> torch.nn.Module:
    kind = section.get("kind") if isinstance(section, Mapping) else None
    if kind not in KINDS:
        raise InputError(
            where,
            found="no network kind" if kind is None else f"network kind '{kind}'",
            expected=f"kind: one of {', '.join(KINDS)}",
            fix="correct the network section",
        )
    network_class = _network_class(kind)
    settings = {key: value for key, value in section.items() if key != "kind"}
    return network_class(**keywords_of({"classes": classes, **settings}, network_class, where))


def _network_class(kind: str) -> Callable[..., torch.nn.Module]:
    module, attribute = KINDS[kind]
    return getattr(import_module(module), attribute)


def _network_section(name_or_config: str | Path | Mapping[str, Any] | DictConfig) -> dict[str, Any]:
    """Plain content of a configuration's `network` section, as JSON would have it."""
    given = read_config(FOLDER, name_or_config) if isinstance(name_or_config, str | Path) else name_or_config
    plain = OmegaConf.to_container(given, resolve=True) if isinstance(given, DictConfig) else dict(given)
    section = plain.get("network") if isinstance(plain, dict) else None
    return json.loads(json.dumps(section)) if isinstance(section, dict) else {}


def _complete(section: Mapping[str, Any]) -> dict[str, Any]:
    """A network section with the defaults that it leaves out, so that two ways to write one network are equal."""
    found = {}
    for role, given in section.items():
        known = isinstance(given, Mapping) and given.get("kind") in KINDS
        defaults = inspect.signature(_network_class(given["kind"])).parameters.values() if known else ()
        values = {one.name: one.default for one in defaults if one.default is not one.empty}
        found[role] = {**values, **given} if known else given
    return json.loads(json.dumps(found))


def _is_configuration(name: str | Path) -> bool:
    return str(name).endswith((".yaml", ".yml")) or str(name) in configuration_names(FOLDER)


def _weights_of(name: str | Path) -> Path:
    """The file for a name or path that a user gave."""
    if str(name).endswith(".safetensors"):
        return Path(name)
    path = None if str(name).endswith((".yaml", ".yml")) else shipped_weights(name)
    if path is None:
        known = sorted(one.stem for one in WEIGHTS_FOLDER.glob("*.safetensors"))
        raise InputError(
            f"reference model {name}",
            found="no weights that ship under this name",
            expected=f"one of {', '.join(known)}" if known else "weights",
            fix="give a .safetensors file with --weights, or train them: keyslice train reference",
        )
    return path


def _too_large(pair: Pair) -> str | None:
    for name, tensor in pair.state_dict().items():
        if tensor.is_floating_point() and tensor.numel() and tensor.abs().max() > _LARGEST_HALF:
            return name
    return None
