"""Which part of memory a query reads: tiles of a box, and the memory tokens near enough to matter to each.

`LocalSTCN` weighs memory by where it lies, so all of a box against all of its memory is nearly all zeros: bone of a
whole slice, 3,840 query by 10,752 memory tokens, took 0.31 s that way and takes 0.05 s in tiles (one core). Boxes
are in pixels, their sides on multiples of `STRIDE`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from propagation_module.grid import Box
from propagation_module.local_stcn import STRIDE

TILE = 64  # pixels, about; 32 and 48 took 1.1 times as long on liver_17, 96 and 128 1.2 to 1.3 on its largest read


def tiles_of(box: Box) -> list[list[Box]]:
    """`box` in tiles of about `TILE` pixels each way, row by row."""
    top, bottom, left, right = box
    return [[(*rows, *columns) for columns in _pieces(left, right)] for rows in _pieces(top, bottom)]


def around(tile: Box, memory: Sequence[Box], reach: float) -> Box:
    """Where memory tokens must lie to matter to `tile`: within `reach` pixels of it.

    Where no slice in memory covers the tile, the nearest tokens count however far they are: it is how much farther
    than those a token lies that makes it weigh nothing.
    """
    beyond = min(_overshoot(tile, box) for box in memory)
    margin = math.ceil((reach + beyond) / STRIDE) * STRIDE
    top, bottom, left, right = tile
    return top - margin, bottom + margin, left - margin, right + margin


def window(box: Box, part: Box) -> tuple[slice, slice]:
    """Which rows and columns of the tokens of `box` lie in `part`."""
    top, left = box[0], box[2]
    ends = (part[0] - top, part[1] - top, part[2] - left, part[3] - left)
    first, last, start, end = (max(end // STRIDE, 0) for end in ends)
    return slice(first, last), slice(start, end)


def tokens_in(tokens: Tensor, box: Box, part: Box) -> Tensor:
    """Those of the tokens B x C x N of `box`, row by row, that lie in `part`: B x n x C."""
    height, width = (box[1] - box[0]) // STRIDE, (box[3] - box[2]) // STRIDE
    rows, columns = window(box, part)
    return tokens.transpose(1, 2).unflatten(1, (height, width))[:, rows, columns].flatten(1, 2)


def _pieces(start: int, end: int) -> list[tuple[int, int]]:
    """From `start` to `end` in pieces as even as whole tokens allow."""
    length = (end - start) // STRIDE
    count = max(1, round(length * STRIDE / TILE))
    ends = [start + STRIDE * (length * i // count) for i in range(count + 1)]
    return list(zip(ends, ends[1:], strict=False))


def _overshoot(tile: Box, box: Box) -> float:
    """How far, in pixels, the tile's farthest corner lies outside `box`; 0 if all of it is inside."""
    down = max(box[0] - tile[0], tile[1] - box[1], 0)
    across = max(box[2] - tile[2], tile[3] - box[3], 0)
    return math.hypot(down, across)
