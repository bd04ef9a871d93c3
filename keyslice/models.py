"""Networks with their weights, loaded once and used for many volumes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tools.devices import choose_device
from tools.errors import as_input_error
from volumes.errors import InputError

if TYPE_CHECKING:
    from baseline3d.segmenter import VolumeSegmenter
    from propagation_module.propagator import Propagator
    from reference_module.referencer import Referencer

    Segmenter: TypeAlias = Referencer | VolumeSegmenter


def load(
    name: str | Path = "small", weights: str | Path | None = None, *, device: str = "auto", precision: str = "auto"
) -> Propagator:
    """A propagation network, for `propagate`, `segment` and `open`.

    Args:
        name: of a configuration (`keyslice info` lists them), or the path of a `.yaml` file.
        weights: `.safetensors` or `.pth` file; None takes those that ship.
        device: `auto` (the first CUDA device, else the CPU), `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `float32` or `bfloat16`; `auto` takes bfloat16 where the processor computes in it and a
            trial on the network agrees with float32.

    Raises:
        InputError: no such model or device, or weights that do not fit.
    """
    from networks.allocator import keep_freed_memory
    from propagation_module.propagator import Propagator

    keep_freed_memory()  # also bounds what compiled convolutions keep; has to come before a network runs
    with one_line(str(name)):
        return Propagator.load(name, _known(weights), device=choose_device(device), precision=precision)


def load_segmenter(
    name: str | Path, weights: str | Path | None = None, *, device: str = "auto", precision: str = "auto"
) -> Segmenter:
    """A pair of networks or a 3D network that knows certain structures, for `segment`.

    Args:
        name: of a model that ships (`head-neck`), of a configuration, or the path of a `.safetensors` file.
        weights, device, precision: as for `load`.

    Raises:
        InputError: as for `load`.
    """
    from baseline3d.models import is_3d
    from baseline3d.segmenter import VolumeSegmenter
    from networks.allocator import keep_freed_memory
    from reference_module.referencer import Referencer

    keep_freed_memory()
    found, chosen = _known(weights), choose_device(device)
    with one_line(str(name)):
        if is_3d(name, found):
            return VolumeSegmenter.load(name, found, device=chosen, precision=precision)
        return Referencer.load(name, found, device=chosen, precision=precision)


def ready_propagator(model: str | Path | Propagator, device: str) -> Propagator:
    """A loaded one as it is, else loaded."""
    if isinstance(model, (str, Path)):
        return load(model, device=device)
    _check_no_device(device, "keyslice.load")
    return model


def ready_segmenter(model: str | Path | Segmenter, device: str) -> Segmenter:
    """A loaded one as it is, else loaded."""
    if isinstance(model, (str, Path)):
        return load_segmenter(model, device=device)
    _check_no_device(device, "keyslice.load_segmenter")
    return model


@contextmanager
def one_line(where: str) -> Iterator[None]:
    """What goes wrong with the machine (memory, disk) is told as an InputError too; our own faults pass as they are."""
    try:
        yield
    except (OSError, MemoryError, RuntimeError) as error:
        known = as_input_error(error, where)
        if known is None:
            raise
        raise known from error


def _known(weights: str | Path | None) -> Path | None:
    if weights is None:
        return None
    if not Path(weights).is_file():
        raise InputError(weights, found="no such file", expected="weights, *.safetensors", fix="check the path")
    return Path(weights)


def _check_no_device(device: str, loader: str) -> None:
    if device != "auto":
        raise InputError(
            "device",
            found=f"'{device}' beside a model that is loaded",
            expected="one of the two: a loaded model stays where it is",
            fix=f"give the device to {loader}",
        )
