"""Weights files: safetensors of ours, and checkpoints of others that hold nothing but tensors.

Loading is strict: a tensor is used, or the error names it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError  # what torch raises for a file that would run code

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from networks.metadata import bad_file
from volumes.errors import InputError

_WRAPPERS = ("model", "state_dict", "network")
_NAMED = 12  # tensors named in one error


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file by name, as they are there, on the CPU; never runs code.

    Args:
        path: `.safetensors`, or what torch.save wrote, without code: tensors, alone or under `model`,
            `state_dict` or `network`.

    Raises:
        InputError: no such file, or one without tensors, with code, or cut off.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise bad_file(path, "no such file") from error
    except UnpicklingError as error:
        raise bad_file(path, "no checkpoint, or one with code in it") from error
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise bad_file(path, f"a file that cannot be read ({type(error).__name__})") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise bad_file(path, f"a {type(content).__name__} without tensors")
    strangers = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if strangers:
        raise bad_file(path, f"entries that are no tensors: {_some(strangers)}")
    return {str(name): value for name, value in content.items()}


def save_weights(
    network: nn.Module, path: str | Path, metadata: Mapping[str, str], *, dtype: torch.dtype | None = None
) -> None:
    """Write the network's tensors as safetensors; the file appears whole or not at all.

    Args:
        metadata: kept beside the tensors, see `read_metadata`.
        dtype: of the file's floating-point tensors, such as `torch.bfloat16` for half the size; None keeps theirs.
    """
    path = Path(path)
    tensors = {
        name: tensor.detach().cpu().to(dtype if tensor.is_floating_point() else None).contiguous()
        for name, tensor in network.state_dict().items()
    }
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


def load_exactly(network: nn.Module, path: str | Path) -> None:
    """Load a weights file of ours into `network`; every tensor must be there, of the same name and shape.

    Raises:
        InputError: a file that cannot be read, or tensors that do not fit; nothing has been loaded then.
    """
    given, wanted = read_tensors(path), network.state_dict()
    if complaints := list(what_does_not_fit(given, wanted)):
        raise InputError(
            path,
            found=f"weights that do not fit: {'; '.join(complaints)}",
            expected=f"the {len(wanted)} tensors of the configured network",
            fix="choose the configuration that these weights were made for (keyslice info lists them)",
        )
    network.load_state_dict(given, strict=True)


def what_does_not_fit(
    given: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    *,
    strangers: Sequence[str] = (),
    name_in_file: Callable[[str], str] = str,
) -> Iterator[str]:
    """Complaints about a file's tensors, none if they fit.

    Args:
        given: the file's tensors, by the network's names.
        wanted: the network's.
        strangers: names in the file that no network of ours has.
        name_in_file: from the network's name of a tensor to the file's, for files that have other names.
    """
    unexpected = [*strangers, *(name_in_file(name) for name in given if name not in wanted)]
    if unexpected:
        yield f"{len(unexpected)} unexpected ({_some(unexpected)})"
    if missing := [name_in_file(name) for name in wanted if name not in given]:
        yield f"{len(missing)} missing ({_some(missing)})"
    misshapen = [
        f"{name_in_file(name)} is {tuple(given[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if misshapen:
        yield f"{len(misshapen)} of another shape ({_some(misshapen)})"


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(sorted(names)[:_NAMED]) + (f" and {more} more" if more > 0 else "")
