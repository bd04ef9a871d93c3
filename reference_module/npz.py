"""Public weights of the R50-ViT-B/16 encoder, for people who have them.

Google publishes its hybrid vision transformers (Dosovitskiy et al. 2021) as `.npz` files of their JAX names, among
them `R50+ViT-B_16.npz`, with which the TransUNet of Chen et al. starts. The encoder takes them: ResNet, transformer
and position embeddings. The decoder keeps what it has, the file's classifier is not used.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from reference_module.transunet import TransUNet
from volumes.errors import InputError

Array = NDArray[Any]

_ATTENTION = "MultiHeadDotProductAttention_1"
_CLASSIFIER = ("cls", "head/", "pre_logits/")  # beginnings of names that a network without a classifier leaves
_NAMED = 6  # tensors named in one error


def load_npz(network: TransUNet, path: str | Path) -> None:
    """Give a TransUNet the encoder of a public `.npz` file.

    The network has the file's sizes (those of `configs/reference/paper.yaml` for R50-ViT-B/16), group norm, and any
    grid of position embeddings: the file's are interpolated, the classifier's own is dropped.

    Raises:
        InputError: no such file, one with code or damage in it, or tensors that are missing, unknown or misshapen;
            the network is unchanged then.
    """
    path = Path(path)
    if not isinstance(network.resnet.stem.get_submodule("norm"), nn.GroupNorm):
        raise _does_not_fit(path, "weights of a ResNet with group norm, for a network without")
    arrays = _read(path)
    wanted = dict(_names(network))
    missing = [name for name in wanted if name not in arrays]
    unknown = [name for name in arrays if name not in wanted and not name.startswith(_CLASSIFIER)]
    if missing or unknown:
        faults = [f"{len(missing)} missing ({_some(missing)})"] * bool(missing)
        faults += [f"{len(unknown)} unknown ({_some(unknown)})"] * bool(unknown)
        raise _does_not_fit(path, "; ".join(faults))
    found: dict[str, Tensor] = {}
    for name, (tensor, convert) in wanted.items():
        try:
            found[name] = _checked(convert(arrays[name]), tensor)
        except ValueError as error:
            raise _does_not_fit(path, f"{name} of shape {arrays[name].shape} ({error})") from error
    with torch.no_grad():
        for name, (tensor, _) in wanted.items():
            tensor.copy_(found[name])


Convert = Callable[[Array], Tensor]


def _names(network: TransUNet) -> Iterator[tuple[str, tuple[Tensor, Convert]]]:
    """The file's names; for each, the part of the network that takes it (a view) and how it is turned."""
    yield from _resnet_names(network)
    yield "embedding/kernel", (network.embed.weight, _kernel)
    yield "embedding/bias", (_of(network.embed.bias), _vector)
    grid = network.position_embedding.shape[-2:]
    yield (
        "Transformer/posembed_input/pos_embedding",
        (network.position_embedding, lambda given: _positions(given, grid[0], grid[1])),
    )
    for number, block in enumerate(network.blocks):
        yield from _transformer_names(block, f"Transformer/encoderblock_{number}")
    yield from _norm_names(network.norm, "Transformer/encoder_norm")


def _resnet_names(network: TransUNet) -> Iterator[tuple[str, tuple[Tensor, Convert]]]:
    resnet: Any = network.resnet
    yield "conv_root/kernel", (resnet.stem.conv.weight, _kernel)
    yield from _norm_names(resnet.stem.norm, "gn_root")
    for number, stage in enumerate(resnet.stages, 1):
        for unit, block in enumerate(stage.blocks, 1):
            root = f"block{number}/unit{unit}"
            for part in (1, 2, 3):
                yield f"{root}/conv{part}/kernel", (getattr(block, f"conv{part}").weight, _kernel)
                yield from _norm_names(getattr(block, f"norm{part}"), f"{root}/gn{part}")
            if block.downsample is not None:
                yield f"{root}/conv_proj/kernel", (block.downsample.conv.weight, _kernel)
                yield from _norm_names(block.downsample.norm, f"{root}/gn_proj")


def _transformer_names(block: Any, root: str) -> Iterator[tuple[str, tuple[Tensor, Convert]]]:
    yield from _norm_names(block.norm1, f"{root}/LayerNorm_0")
    yield from _norm_names(block.norm2, f"{root}/LayerNorm_2")
    for part, weight, bias in zip(
        ("query", "key", "value"), block.attn.qkv.weight.chunk(3), block.attn.qkv.bias.chunk(3), strict=True
    ):
        yield f"{root}/{_ATTENTION}/{part}/kernel", (weight, _from_inputs)
        yield f"{root}/{_ATTENTION}/{part}/bias", (bias, _vector)
    yield f"{root}/{_ATTENTION}/out/kernel", (block.attn.proj.weight, _to_outputs)
    yield f"{root}/{_ATTENTION}/out/bias", (block.attn.proj.bias, _vector)
    for number, layer in enumerate((block.mlp.fc1, block.mlp.fc2)):
        yield f"{root}/MlpBlock_3/Dense_{number}/kernel", (layer.weight, _to_outputs)
        yield f"{root}/MlpBlock_3/Dense_{number}/bias", (layer.bias, _vector)


def _norm_names(norm: Any, root: str) -> Iterator[tuple[str, tuple[Tensor, Convert]]]:
    yield f"{root}/scale", (norm.weight, _vector)
    yield f"{root}/bias", (norm.bias, _vector)


def _kernel(given: Array) -> Tensor:
    """A convolution's kernel, height x width x in x out, as out x in x height x width."""
    if given.ndim != 4:
        raise ValueError("a kernel has four axes")
    return torch.from_numpy(given.transpose(3, 2, 0, 1).copy())


def _vector(given: Array) -> Tensor:
    """Group norm's are stored as 1 x 1 x 1 x channels, the attention's biases as heads x channels of a head."""
    return torch.from_numpy(given.reshape(-1).copy())


def _from_inputs(given: Array) -> Tensor:
    """in x heads x channels of a head, as out x in."""
    return torch.from_numpy(given.reshape(len(given), -1).T.copy())


def _to_outputs(given: Array) -> Tensor:
    """in x out, or heads x channels of a head x out, as out x in."""
    return torch.from_numpy(given.reshape(-1, given.shape[-1]).T.copy())


def _positions(given: Array, height: int, width: int) -> Tensor:
    """1 x (1 + side * side) x hidden, the classifier's first or not there, as 1 x hidden x height x width."""
    if given.ndim != 3:
        raise ValueError("position embeddings have three axes")
    tokens = given.shape[1]
    side = math.isqrt(tokens)
    first = 0 if side * side == tokens else 1
    if side * side + first != tokens or side == 0:
        raise ValueError("not the positions of a square")
    square = torch.from_numpy(given[:, first:].copy()).transpose(1, 2).reshape(1, -1, side, side)
    if (side, side) == (height, width):
        return square
    return F.interpolate(square.float(), size=(height, width), mode="bicubic", align_corners=False)


def _checked(given: Tensor, wanted: Tensor) -> Tensor:
    if given.shape != wanted.shape:
        raise ValueError(f"the network has {tuple(wanted.shape)} where this makes {tuple(given.shape)}")
    if not bool(torch.isfinite(given).all()):
        raise ValueError("numbers that are not finite")
    return given


def _of(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


def _read(path: Path) -> dict[str, Array]:
    """The arrays of a `.npz` file by name; never runs code (numpy would, for arrays of objects)."""
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise _unreadable(path, "a single array")
        with file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except InputError:
        raise
    except FileNotFoundError as error:
        raise _unreadable(path, "no such file") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, f"a file that cannot be read, or one with code in it ({error})") from error
    if other := [name for name, array in arrays.items() if array.dtype.kind != "f"]:
        raise _unreadable(path, f"arrays that hold no numbers with a fraction ({_some(other)})")
    return arrays


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _unreadable(path: Path, found: str) -> InputError:
    return InputError(
        path,
        found=found,
        expected="a .npz file of arrays, such as R50+ViT-B_16.npz",
        fix="check the path, or fetch the file again",
    )


def _does_not_fit(path: Path, found: str) -> InputError:
    return InputError(
        path,
        found=found,
        expected="the encoder of this TransUNet",
        fix="use the file that was made for it: R50+ViT-B_16.npz for the paper's, with norm: group",
    )
