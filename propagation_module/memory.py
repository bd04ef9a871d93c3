"""The space-time memory: how a query token finds memory tokens, and what it takes from them.

Cheng et al. 2021 (STCN), section 3.2: the affinity of a memory key m and a query key q is -|m - q|^2, less
|q|^2, which cancels in the softmax over memory, and divided by sqrt(CK). One affinity serves every label.

Shapes: B batch, CK key channels, N memory tokens, Q query tokens, K labels, CV value channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from volumes.errors import InputError

GATHER_ELEMENTS = 2**24  # values gathered at once off the CPU: 64 MiB of float32


def with_position(key: Tensor, positions: Tensor, scale: float | Tensor) -> Tensor:
    """Keys that also carry their place, so that one squared distance covers appearance and space.

    Args:
        key: B x CK x N.
        positions: B x P x N, coordinates, say in mm. Centre them: float32 loses small differences between
            large squares.
        scale: weight of a unit of distance against a unit of key, one for all or P x 1.

    Returns:
        B x (CK + P) x N. Pass `affinity` the scale of the bare key, which these extra channels would change.
    """
    return torch.cat([key, positions * scale], dim=1)


def affinity(memory_key: Tensor, query_key: Tensor, *, scale: float | None = None) -> Tensor:
    """Likeness of every memory token to every query token: (2 m.q - |m|^2) / scale, in float32.

    Args:
        memory_key: B x CK x N.
        query_key: B x CK x Q.
        scale: divisor; None takes sqrt(CK).

    Returns:
        B x N x Q.
    """
    divisor = math.sqrt(memory_key.shape[1]) if scale is None else scale
    # Half precision overflows at 65504 and would round squares of keys to tens: always float32 here.
    with torch.autocast(memory_key.device.type, enabled=False):
        memory = memory_key.float()  # B x CK x N
        squares = memory.pow(2).sum(1).unsqueeze(2)  # B x N x 1
        products = memory.transpose(1, 2) @ query_key.float()  # B x N x Q
        return (2 * products - squares) / divisor


def top_k_softmax(scores: Tensor, top_k: int | None) -> tuple[Tensor, Tensor]:
    """Softmax over the `top_k` memory tokens that are most like each query token.

    Args:
        scores: B x N x Q, from `affinity`.
        top_k: how many to keep; more than N, or None, keeps all N.

    Returns:
        weights: B x k x Q, summing to 1 over k, largest first.
        tokens: B x k x Q, their indices in memory (int64).
    """
    if top_k is not None and top_k < 1:
        raise InputError("top_k", found=str(top_k), expected="at least 1", fix="use 20, or None for all")
    count = scores.shape[1] if top_k is None else min(top_k, scores.shape[1])
    # Along the last, contiguous axis: four times faster on a CPU than along N in place.
    best, tokens = scores.transpose(1, 2).contiguous().topk(count, dim=2)  # B x Q x k, both
    weights = best.softmax(2)  # subtracts the largest: no overflow, however large the scores
    return weights.transpose(1, 2), tokens.transpose(1, 2)


def readout(weights: Tensor, tokens: Tensor, values: Tensor) -> Tensor:
    """Weighted sum of the kept memory values, gathered: the zeros of a dense N x Q matrix are never made.

    Args:
        weights, tokens: B x k x Q, from `top_k_softmax`.
        values: B x N x C, one row a memory token, so that gathering a token is one contiguous read.

    Returns:
        B x C x Q, in the values' type.
    """
    batch, _, queries = weights.shape
    rows = values.shape[1]
    table = values.reshape(batch * rows, -1)  # BN x C
    offsets = torch.arange(batch, device=tokens.device).view(-1, 1, 1) * rows
    picked = (tokens + offsets).transpose(1, 2).flatten(0, 1)  # BQ x k
    shares = weights.transpose(1, 2).flatten(0, 1).to(table.dtype)  # BQ x k
    gather = _gather_bags if table.device.type == "cpu" and table.dtype == torch.float32 else _gather_chunks
    return gather(table, picked, shares).view(batch, queries, -1).transpose(1, 2)


def _gather_bags(table: Tensor, picked: Tensor, shares: Tensor) -> Tensor:
    """On a CPU: 4 ms for 1024 queries, k 20, C 1536; the chunks below 37 ms, a dense product 137 ms."""
    return F.embedding_bag(picked.contiguous(), table, per_sample_weights=shares.contiguous(), mode="sum")


def _gather_chunks(table: Tensor, picked: Tensor, shares: Tensor) -> Tensor:
    step = max(1, GATHER_ELEMENTS // (picked.shape[1] * table.shape[1]))
    parts = [
        torch.bmm(share.unsqueeze(1), table[pick]).squeeze(1)  # (q x 1 x k) @ (q x k x C)
        for pick, share in zip(picked.split(step), shares.split(step), strict=True)
    ]
    return torch.cat(parts)


def aggregate_logits(probabilities: Tensor, dim: int = 1) -> Tensor:
    """Independent label probabilities as logits of one distribution with background (systems.md 1.9).

    Background is where no label is: the product of 1 - p. All are clamped to [1e-7, 1 - 1e-7].

    Args:
        probabilities: K along `dim`, in [0, 1].

    Returns:
        The same shape with 1 + K along `dim`, background first, float32.
    """
    p = probabilities.float()
    background = torch.prod(1 - p, dim=dim, keepdim=True)
    p = torch.cat([background, p], dim).clamp(1e-7, 1 - 1e-7)
    return torch.log(p / (1 - p))


def aggregate(probabilities: Tensor, dim: int = 1) -> Tensor:
    """Soft aggregation: `aggregate_logits`, then softmax. 1 + K along `dim`, background first, sum 1."""
    return F.softmax(aggregate_logits(probabilities, dim), dim=dim)


class MemoryBank:
    """Keys and values of the slices that a propagation remembers, for K labels at once.

    Slices that are `keep`-ed stay for good. `replace_last` holds one more slice, the one just labelled, until
    the next slice arrives either way. Reading works from the first token on, with fewer than `top_k` too.

    Args:
        top_k: memory tokens that a query token may draw from; None for all.
        scale: divisor of the affinity; None takes sqrt(CK).
    """

    def __init__(self, *, top_k: int | None = 20, scale: float | None = None) -> None:
        self.top_k = top_k
        self.scale = scale
        self._keys = _Growing(axis=1)  # CK x N
        self._values = _Growing(axis=0)  # N x (K CV)
        self._labels = 0
        self._kept = 0
        self._filled = 0

    def __len__(self) -> int:
        """Tokens that a query can draw from."""
        return self._filled

    def keep(self, key: Tensor, value: Tensor) -> None:
        """Remember a slice for good: key CK x h x w, value K x CV x h x w. Drops the last slice."""
        self._write(key, value)
        self._kept = self._filled

    def replace_last(self, key: Tensor, value: Tensor) -> None:
        """Remember a slice until the next one comes: key CK x h x w, value K x CV x h x w."""
        self._write(key, value)

    def forget_last(self) -> None:
        """Drop the slice that `replace_last` holds, if there is one."""
        self._filled = self._kept

    def read(self, query: Tensor) -> Tensor:
        """What memory says of a query slice, CK x h x w: K x CV x h x w."""
        if not self._filled:
            raise InputError("memory", found="no slice", expected="at least one", fix="keep one first")
        keys = self._keys.filled(self._filled).unsqueeze(0)  # 1 x CK x N
        values = self._values.filled(self._filled).unsqueeze(0)  # 1 x N x (K CV)
        scores = affinity(keys, query.flatten(1).unsqueeze(0), scale=self.scale)  # 1 x N x hw
        weights, tokens = top_k_softmax(scores, self.top_k)  # 1 x k x hw
        found = readout(weights, tokens, values)[0]  # (K CV) x hw
        return found.reshape(self._labels, -1, *query.shape[-2:])

    def _write(self, key: Tensor, value: Tensor) -> None:
        self._labels = value.shape[0]
        rows = value.flatten(2).permute(2, 0, 1).flatten(1)  # hw x (K CV)
        self._keys.write(self._kept, key.flatten(1))
        self._values.write(self._kept, rows)
        self._filled = self._kept + rows.shape[0]


class _Growing:
    """A tensor that doubles its room along one axis, so that adding slices does not copy all of them."""

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._room: Tensor | None = None

    def write(self, start: int, block: Tensor) -> None:
        end = start + block.shape[self._axis]
        room = self._room
        if room is None or room.shape[self._axis] < end:
            shape = list(block.shape)
            shape[self._axis] = end if room is None else max(end, 2 * room.shape[self._axis])
            grown = block.new_empty(shape)
            if room is not None and start:
                grown.narrow(self._axis, 0, start).copy_(room.narrow(self._axis, 0, start))
            self._room = room = grown
        room.narrow(self._axis, start, end - start).copy_(block)

    def filled(self, end: int) -> Tensor:
        assert self._room is not None, "read before the first write"
        return self._room.narrow(self._axis, 0, end)
