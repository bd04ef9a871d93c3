"""What passes between server and page: paths, limits, and how masks and sets of pixels are written.

What a page may ask for is in `bodies`.

A mask `(H, W)` travels run-length encoded: unsigned varints (seven bits a byte, the lowest first) in pairs of run
length and value that cover all pixels in row-major order. In JSON that is base64, in a stream of bytes it comes after
its length in four bytes, little endian. A set of pixels is a list `[start, length, start, length, ...]`.
"""

from __future__ import annotations

import base64

import numpy as np
import numpy.typing as npt

CASE = "/api/cases/{case}"
MOST_SLICES = 64
"""Slices that one request for pixels may ask for: 32 MiB of a CT of 512 x 512."""
MOST_RUNS = 1 << 18
"""Runs in a set of pixels: every second pixel of 724 x 724, which is as ragged as a mask can be."""
BODY_LIMIT = 8 << 20
"""Bytes of a request: `MOST_RUNS` runs in JSON."""
IMPORT_LIMIT = 1 << 30
"""Bytes of a label map that is sent: 512 x 512 x 4000 voxels that are not packed."""

_LARGER = 1 << 7 * np.arange(1, 5)  # numbers from here on take another digit


def encode_mask(mask: npt.NDArray[np.uint8]) -> bytes:
    """`(H, W)` uint8 to run-length code; 0.3 ms for a slice of 512 x 512."""
    flat = np.ascontiguousarray(mask).ravel()
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    numbers = np.empty(2 * len(starts), np.int64)
    numbers[0::2] = np.diff(np.append(starts, len(flat)))
    numbers[1::2] = flat[starts]
    sizes = np.searchsorted(_LARGER, numbers, side="right") + 1
    places = np.cumsum(sizes) - sizes
    code = np.zeros(int(sizes.sum()), np.uint8)
    for digit in range(int(sizes.max())):
        here = sizes > digit
        follows = (sizes[here] > digit + 1).astype(np.int64) << 7
        code[places[here] + digit] = (numbers[here] >> 7 * digit & 0x7F) | follows
    return code.tobytes()


def decode_mask(code: bytes, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The mask `(H, W)` of a run-length code.

    Raises:
        ValueError: the code is broken, or of another shape.
    """
    digits = np.frombuffer(code, np.uint8)
    ends = np.flatnonzero(digits < 0x80)
    if not len(ends) or ends[-1] != len(digits) - 1 or len(ends) % 2:
        raise ValueError("a run-length code that is cut off")
    starts = np.concatenate(([0], ends[:-1] + 1))
    if (ends - starts).max() > 4:
        raise ValueError("a run-length code with a number beyond 35 bits")
    shifts = 7 * (np.arange(len(digits)) - np.repeat(starts, ends - starts + 1))
    numbers = np.add.reduceat((digits & 0x7F).astype(np.int64) << shifts, starts)
    lengths, values = numbers[0::2], numbers[1::2]
    if lengths.min() < 1 or values.max() > 255 or int(lengths.sum()) != shape[0] * shape[1]:
        raise ValueError("a run-length code that does not fit the slice")
    return np.repeat(values.astype(np.uint8), lengths).reshape(shape)


def mask_text(mask: npt.NDArray[np.uint8]) -> str:
    """A mask as JSON carries it."""
    return base64.b64encode(encode_mask(mask)).decode("ascii")


def mask_block(mask: npt.NDArray[np.uint8]) -> bytes:
    """A mask as a stream of bytes carries it."""
    code = encode_mask(mask)
    return len(code).to_bytes(4, "little") + code


def pixels_of(runs: list[int], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The set of pixels `(H, W)` of a list of runs.

    Raises:
        ValueError: not in rising order, overlapping, empty runs, or beyond the slice.
    """
    if len(runs) % 2:
        raise ValueError("a run without a length")
    starts, lengths = np.asarray(runs, np.int64).reshape(-1, 2).T
    ends = starts + lengths
    if len(runs) and (starts[0] < 0 or lengths.min() < 1):
        raise ValueError("a run that is empty or begins before the slice")
    if (starts[1:] < ends[:-1]).any():
        raise ValueError("runs that overlap or are not in rising order")
    if len(runs) and ends[-1] > shape[0] * shape[1]:
        raise ValueError("a run that ends beyond the slice")
    steps = np.zeros(shape[0] * shape[1] + 1, np.int8)
    steps[starts] += 1
    steps[ends] -= 1
    return np.cumsum(steps[:-1], dtype=np.int8).astype(bool).reshape(shape)


def runs_of(pixels: npt.NDArray[np.bool_]) -> list[int]:
    """The runs of a set of pixels `(H, W)`."""
    steps = np.diff(pixels.ravel().astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return np.stack((starts, ends - starts), axis=1).ravel().tolist()
