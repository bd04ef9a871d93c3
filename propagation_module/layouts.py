"""Tensor names of the published STCN and of the mask-propagation paper, beside ours.

Where a name differs, a table says how it begins there and here; the first row that fits counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Table = tuple[tuple[str, str], ...]

# Names that differ: (theirs, ours) prefixes; what is not listed is the same in both.
_SHARED = (
    ("value_encoder.fuser.block1.downsample.", "value_encoder.fuser.enter.skip."),
    ("value_encoder.fuser.block1.", "value_encoder.fuser.enter."),
    ("value_encoder.fuser.block2.", "value_encoder.fuser.leave."),
    ("key_proj.key_proj.", "key_proj."),
    ("decoder.compress.downsample.", "decoder.compress.skip."),
    ("decoder.up_16_8.skip_conv.", "decoder.up8.skip_conv."),
    ("decoder.up_16_8.out_conv.downsample.", "decoder.up8.block.skip."),
    ("decoder.up_16_8.out_conv.", "decoder.up8.block."),
    ("decoder.up_8_4.skip_conv.", "decoder.up4.skip_conv."),
    ("decoder.up_8_4.out_conv.", "decoder.up4.block."),
    ("decoder.pred.", "decoder.predict."),
)
LAYOUTS: dict[str, Table] = {
    "keyslice": (),
    "stcn": (
        ("key_encoder.res2.", "key_encoder.layer1."),
        ("value_encoder.fuser.attention.ChannelGate.mlp.1.", "value_encoder.fuser.attention.squeeze."),
        ("value_encoder.fuser.attention.ChannelGate.mlp.3.", "value_encoder.fuser.attention.excite."),
        ("value_encoder.fuser.attention.SpatialGate.spatial.conv.", "value_encoder.fuser.attention.spatial."),
        *_SHARED,
        *((f"value_encoder.{part}.", f"value_encoder.trunk.{part}.") for part in ("conv1", "bn1")),
        *((f"value_encoder.layer{n}.", f"value_encoder.trunk.layer{n}.") for n in (1, 2, 3)),
    ),
    "paper": (
        ("key_encoder.model.", "key_encoder."),
        ("value_encoder.model.", "value_encoder.trunk."),
        *_SHARED,
    ),
}
"""`keyslice` is ours, `stcn` its authors', `paper` that of the mask-propagation paper's public code."""

_PREFIXES = ("module.", "model.", "network.")
_MASK_INPUT = "value_encoder.trunk.conv1.weight"


def without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop what a wrapping module put before every name."""
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return without_prefix({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return tensors


def layout_of(names: Iterable[str]) -> str:
    """The layout, a key of `LAYOUTS`, that tensor names are in."""
    names = list(names)
    if any(name.startswith(("key_encoder.model.", "value_encoder.model.")) for name in names):
        return "paper"
    if any(name.startswith(("key_encoder.res2.", "value_encoder.conv1.")) for name in names):
        return "stcn"
    return "keyslice"


def ours(name: str, layout: str) -> str | None:
    """Our name for a tensor of a layout; None if the layout has no such name."""
    found = _replace(name, LAYOUTS[layout])
    # There and back: a name of ours in a foreign file would else stand in for the foreign one.
    return found if theirs(found, layout) == name else None


def theirs(name: str, layout: str) -> str:
    """The name in a layout of a tensor of ours."""
    return _replace(name, tuple((here, there) for there, here in LAYOUTS[layout]))


def add_other_labels(given: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Give single-object weights the input channel that they lack, in place; notes for the user.

    Zeros, as in the published evaluation: they change nothing that was learned.
    """
    if _MASK_INPUT not in given or _MASK_INPUT not in wanted:
        return ()
    narrow, wide = given[_MASK_INPUT], wanted[_MASK_INPUT]
    if narrow.dim() != 4 or narrow.shape[1] != 4 or wide.shape[1] != 5:
        return ()
    given[_MASK_INPUT] = torch.cat([narrow, torch.zeros_like(narrow[:, :1])], 1)
    return (
        "single-object weights (four value-encoder channels): the fifth, the other labels' mask, is set to "
        "zero; train on, or build the network with other_objects: false",
    )


def _replace(name: str, table: Table) -> str:
    for before, after in table:
        if name.startswith(before):
            return after + name.removeprefix(before)
    return name
