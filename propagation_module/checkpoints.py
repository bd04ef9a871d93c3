"""From a configuration's name to a network with its weights.

Checkpoints of the published STCN and of the mask-propagation paper load as well as ours (`layouts`). Loading
is strict: a tensor is used, or the error names it.
"""

from __future__ import annotations

import inspect
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from pickle import UnpicklingError  # what torch raises for a file that would run code
from typing import Any

import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from propagation_module.confidence import BY_PRESENCE, UNCALIBRATED, Calibration, Ending
from propagation_module.layouts import add_other_labels, layout_of, ours, theirs, without_prefix
from volumes.errors import InputError

log = logging.getLogger(__name__)

KINDS = {
    "stcn": ("propagation_module.stcn", "STCN"),
    "local_stcn": ("propagation_module.local_stcn", "LocalSTCN"),
}
"""Network kinds: where the class is, imported when it is needed."""

WEIGHTS_FOLDER = Path(__file__).with_name("weights")

_WRAPPERS = ("model", "state_dict", "network")
_NAMED = 12  # tensors named in one error


@dataclass(frozen=True)
class Loaded:
    """What `load_state` did: the layout that it recognised, and what the user should know."""

    layout: str
    notes: tuple[str, ...] = ()


def configuration_names() -> list[str]:
    """Names of the propagation configurations, sorted."""
    folder = files("configs").joinpath("propagation")
    found = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml"))


def read_config(name_or_path: str | Path) -> DictConfig:
    """The configuration `configs/propagation/<name>.yaml`, or any `.yaml` file."""
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        source: Any = Path(text)
    else:
        if text not in configuration_names():
            raise InputError(
                "configuration",
                found=f"'{text}'",
                expected=f"one of {', '.join(configuration_names())}",
                fix="name one of them, or give the path of a .yaml file",
            )
        source = files("configs").joinpath("propagation", f"{text}.yaml")
    try:
        config = OmegaConf.create(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise _bad_config(text, f"no readable file ({error.strerror})") from error
    except (OmegaConfBaseException, ValueError, yaml.YAMLError) as error:
        raise _bad_config(text, f"text that is not YAML ({error})") from error
    if not isinstance(config, DictConfig):
        raise _bad_config(text, "no settings")
    return config


def build_network(name_or_config: str | Path | Mapping[str, Any] | DictConfig) -> nn.Module:
    """The network of a configuration, randomly initialised.

    Args:
        name_or_config: a configuration's name, the path of a `.yaml` file, or its content. Its `network`
            section has the `kind` (one of `KINDS`) and the class's own keyword arguments, no others.
    """
    where = str(name_or_config) if isinstance(name_or_config, str | Path) else "configuration"
    given = read_config(name_or_config) if isinstance(name_or_config, str | Path) else name_or_config
    plain = OmegaConf.to_container(given, resolve=True) if isinstance(given, DictConfig) else dict(given)
    section = plain.get("network") if isinstance(plain, dict) else None
    if not isinstance(section, dict) or section.get("kind") not in KINDS:
        kind = section.get("kind") if isinstance(section, dict) else None
        raise InputError(
            where,
            found=f"network kind '{kind}'" if kind else "no network kind",
            expected=f"network: {{kind: one of {', '.join(KINDS)}}}",
            fix="correct the network section",
        )
    module, attribute = KINDS[section["kind"]]
    network_class = getattr(import_module(module), attribute)
    settings = {str(key): value for key, value in section.items() if key != "kind"}
    known = set(inspect.signature(network_class).parameters)
    if unknown := sorted(set(settings) - known):
        raise InputError(
            where,
            found=f"network settings {', '.join(unknown)}",
            expected=f"settings of {attribute}: {', '.join(sorted(known))}",
            fix="correct or remove them",
        )
    return network_class(**settings)


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


def read_metadata(path: Path) -> dict[str, str]:
    """What was saved beside the tensors of a `.safetensors` file.

    Raises:
        InputError: no such file, or not one of those.
    """
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise _bad_file(path, "no such file" if not path.exists() else "no safetensors file") from error


def read_settings(name: str | Path) -> dict[str, Any]:
    """The `propagation` section of a configuration."""
    content = OmegaConf.to_container(read_config(name), resolve=True)
    assert isinstance(content, dict)
    return dict(content.get("propagation") or {})


def describe_models() -> dict[str, dict[str, int | str | None]]:
    """`{"propagation/<name>": {"parameters": count, "weights": path or None}}` for every configuration."""
    found: dict[str, dict[str, int | str | None]] = {}
    for name in configuration_names():
        with torch.device("meta"):  # no memory, no initialisation: milliseconds instead of seconds
            network = build_network(name)
        weights = shipped_weights(name)
        found[f"propagation/{name}"] = {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "weights": None if weights is None else str(weights),
        }
    return found


def save_weights(network: nn.Module, path: str | Path, metadata: Mapping[str, str]) -> None:
    """Write the network's tensors as safetensors, in our layout; the file appears whole or not at all."""
    path = Path(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        save_file(tensors, temporary, metadata=dict(metadata))
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp's files are private, weights are not
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


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
    complaints = list(_complaints(given, wanted, strangers, layout))
    if complaints:
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


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file by name, as they are there, on the CPU; never runs code."""
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise _bad_file(path, "no such file") from error
    except UnpicklingError as error:
        raise _bad_file(path, "no checkpoint, or one with code in it") from error
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise _bad_file(path, f"a file that cannot be read ({type(error).__name__})") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise _bad_file(path, f"a {type(content).__name__} without tensors")
    strangers = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if strangers:
        raise _bad_file(path, f"entries that are no tensors: {_some(strangers)}")
    return {str(name): value for name, value in content.items()}


def _complaints(
    given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], strangers: list[str], layout: str
) -> Iterator[str]:
    """What does not fit, by the names that the file has or should have."""
    unexpected = strangers + [theirs(name, layout) for name in given if name not in wanted]
    if unexpected:
        yield f"{len(unexpected)} unexpected ({_some(unexpected)})"
    if missing := [theirs(name, layout) for name in wanted if name not in given]:
        yield f"{len(missing)} missing ({_some(missing)})"
    misshapen = [
        f"{theirs(name, layout)} is {tuple(given[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if misshapen:
        yield f"{len(misshapen)} of another shape ({_some(misshapen)})"


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(sorted(names)[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _bad_config(where: str, found: str) -> InputError:
    return InputError(where, found=found, expected="a YAML configuration", fix="see configs/propagation for examples")


def _bad_file(path: Path, found: str) -> InputError:
    return InputError(
        path,
        found=found,
        expected="weights as .safetensors, or a .pth file with nothing but tensors",
        fix="check the path; save other checkpoints again with torch.save(network.state_dict(), path)",
    )
