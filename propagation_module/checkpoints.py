"""From a configuration's name to a network with its weights.

Checkpoints of the published STCN and of the mask-propagation paper load as well as ours (`layouts`). Loading
is strict: a tensor is used, or the error names it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from networks.configurations import configuration_names, keywords_of, read_config
from networks.metadata import read_metadata
from networks.weights import read_tensors, save_weights, what_does_not_fit
from propagation_module.confidence import BY_PRESENCE, UNCALIBRATED, Calibration, Ending
from propagation_module.layouts import add_other_labels, layout_of, ours, theirs, without_prefix
from volumes.errors import InputError

__all__ = [
    "Loaded",
    "PropagationSettings",
    "build_network",
    "describe_models",
    "load_calibration",
    "load_network",
    "load_state",
    "read_metadata",
    "read_settings",
    "save_weights",
    "shipped_weights",
]

log = logging.getLogger(__name__)

FOLDER = "propagation"
"""Where the configurations are, in `configs/`."""

KINDS = {
    "stcn": ("propagation_module.stcn", "STCN"),
    "local_stcn": ("propagation_module.local_stcn", "LocalSTCN"),
}
"""Network kinds: where the class is, imported when it is needed."""

WEIGHTS_FOLDER = Path(__file__).with_name("weights")


@dataclass(frozen=True)
class Loaded:
    """What `load_state` did: the layout that it recognised, and what the user should know."""

    layout: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PropagationSettings:
    """The `propagation` section of a configuration: how its network is used. See `Propagator`; all may be left out."""

    pixel: float | None = 1.5
    top_k: int = 20
    memory_every: int = 0
    memory_slices: int = 4


def build_network(name_or_config: str | Path | Mapping[str, Any] | DictConfig) -> nn.Module:
    """The network of a configuration, randomly initialised.

    Args:
        name_or_config: a configuration's name, the path of a `.yaml` file, or its content. Its `network`
            section has the `kind` (one of `KINDS`) and the class's own keyword arguments, no others.
    """
    is_name = isinstance(name_or_config, str | Path)
    where = str(name_or_config) if is_name else "configuration"
    given = read_config(FOLDER, name_or_config) if isinstance(name_or_config, str | Path) else name_or_config
    section = given.get("network")
    kind = section.get("kind") if isinstance(section, Mapping) else None
    if not isinstance(section, Mapping) or kind not in KINDS:
        raise InputError(
            where,
            found=f"network kind '{kind}'" if kind else "no network kind",
            expected=f"network: {{kind: one of {', '.join(KINDS)}}}",
            fix="correct the network section",
        )
    module, attribute = KINDS[kind]
    network_class = getattr(import_module(module), attribute)
    settings = {key: section[key] for key in section if key != "kind"}
    return network_class(**keywords_of(settings, network_class, f"{where}: network"))


def load_network(
    name: str | Path = "small", weights: str | Path | None = None, device: str | torch.device = "cpu"
) -> nn.Module:
    """A network with weights, in eval mode, on `device`.

    Args:
        name: a configuration's name or the path of a `.yaml` file.
        weights: `.safetensors` or `.pth` file; None takes the weights that ship for this configuration.
    """
    network = build_network(name)
    path = Path(weights) if weights is not None else shipped_weights(name)
    if path is None:
        raise InputError(
            f"configuration {name}",
            found="no weights that ship with it",
            expected="weights",
            fix="give a .safetensors or .pth file with --weights, or train them: keyslice train propagation",
        )
    load_state(network, path)
    return network.to(device).eval()


def shipped_weights(name: str | Path) -> Path | None:
    """The weights in the package for a configuration's name, if there are any."""
    path = WEIGHTS_FOLDER / f"{name}.safetensors"
    return path if path.is_file() else None


def load_calibration(name: str | Path = "small", weights: str | Path | None = None) -> tuple[Calibration, Ending]:
    """What was saved with the weights, as `load_network` finds them, on their confidence and on where structures end.

    Returns:
        `UNCALIBRATED` and `BY_PRESENCE` for weights that have none.

    Raises:
        InputError: one that cannot be read.
    """
    path = Path(weights) if weights is not None else shipped_weights(name)
    found = read_metadata(path) if path is not None and path.suffix == ".safetensors" else {}
    try:
        calibration = Calibration.from_json(found["calibration"]) if "calibration" in found else UNCALIBRATED
        return calibration, Ending.from_json(found["ending"]) if "ending" in found else BY_PRESENCE
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            path or name,
            found=f"a calibration that does not fit ({error})",
            expected="one that this version wrote",
            fix="calibrate again: python -m tools.benchmark confidence --fit",
        ) from error


def read_settings(name: str | Path) -> dict[str, Any]:
    """What the `propagation` section of a configuration says, see `PropagationSettings`."""
    return keywords_of(read_config(FOLDER, name).get("propagation"), PropagationSettings, f"{name}: propagation")


def describe_models() -> dict[str, dict[str, int | str | None]]:
    """`{"propagation/<name>": {"parameters": count, "weights": path or None}}` for every configuration."""
    found: dict[str, dict[str, int | str | None]] = {}
    for name in configuration_names(FOLDER):
        with torch.device("meta"):  # no memory, no initialisation: milliseconds instead of seconds
            network = build_network(name)
        weights = shipped_weights(name)
        found[f"propagation/{name}"] = {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "weights": None if weights is None else str(weights),
        }
    return found


def load_state(network: nn.Module, path: str | Path) -> Loaded:
    """Load a checkpoint into `network`, strictly.

    Every tensor of the file is used and every tensor of the network is given, or the error names those that
    are not. Two exceptions, both without effect on the output of the published network: a batch counter
    (`num_batches_tracked`) may be missing, and a value encoder of four input channels (the single-object
    STCN) gets a fifth of zeros, for the other labels, as the published evaluation does it.

    Args:
        path: `.safetensors`, or what torch.save wrote, without code: tensors, alone or under `model`,
            `state_dict` or `network`, with or without the prefix `module.`.
    """
    tensors = without_prefix(read_tensors(path))
    layout = layout_of(tensors)
    names = {name: ours(name, layout) for name in tensors}
    given = {found: tensors[name] for name, found in names.items() if found is not None}
    strangers = [name for name, found in names.items() if found is None]
    wanted = network.state_dict()
    notes = add_other_labels(given, wanted)
    for name, tensor in wanted.items():
        if name.endswith("num_batches_tracked"):
            given.setdefault(name, tensor)
    fits_not = what_does_not_fit(given, wanted, strangers=strangers, name_in_file=lambda name: theirs(name, layout))
    if complaints := list(fits_not):
        raise InputError(
            path,
            found=f"weights in the {layout} layout that do not fit: {'; '.join(complaints)}",
            expected=f"the {len(wanted)} tensors of the configured network",
            fix="choose the configuration that these weights were made for (keyslice info lists them)",
        )
    network.load_state_dict(given, strict=True)
    for note in notes:
        log.warning("%s: %s", path, note)
    return Loaded(layout, notes)
