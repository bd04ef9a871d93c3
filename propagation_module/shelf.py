"""Probabilities that wait: packed to a byte a pixel and deflated, in memory up to a budget and on disk beyond it.

A label's probabilities on a slice are mostly 0 and 1; deflated they take some hundred bytes. So what a session
keeps to answer a correction without computing everything again does not grow memory with labels times slices.
"""

from __future__ import annotations

import tempfile
import zlib

import numpy as np
from numpy.typing import NDArray

from propagation_module.grid import Patch

MEMORY_BYTES = 8 * 2**20
_SMALLEST = 8  # 2**8 bytes: the least block
_UNKNOWN, _EMPTY = -1, 0


def rounded(patch: Patch) -> Patch:
    """The patch as it comes back from a shelf."""
    return Patch(np.rint(patch.probability * 255).astype(np.uint8).astype(np.float32) / np.float32(255), patch.box)


class Shelf:
    """Patches by label and slice.

    Blocks have sizes of powers of two and are used again, so a long session does not grow its file.

    Args:
        depth: slices of the volume.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        # Never seen by a name; the system removes it with the process, however that ends.
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115 - as long as the shelf
        self._end = 0
        self._free: dict[int, list[int]] = {}
        self._offsets: dict[int, NDArray[np.int64]] = {}
        self._sizes: dict[int, NDArray[np.int32]] = {}
        self._boxes: dict[int, NDArray[np.uint16]] = {}

    def put(self, label: int, z: int, patch: Patch | None) -> None:
        """Keep the patch of `label` on slice `z`, None for nothing there, in place of what was kept."""
        self.drop(label, z)
        if label not in self._sizes:
            self._offsets[label] = np.zeros(self._depth, np.int64)
            self._sizes[label] = np.full(self._depth, _UNKNOWN, np.int32)
            self._boxes[label] = np.zeros((self._depth, 4), np.uint16)
        if patch is None:
            self._sizes[label][z] = _EMPTY
            return
        data = zlib.compress(np.rint(patch.probability * 255).astype(np.uint8).tobytes(), 1)
        block = _block(len(data))
        free = self._free.get(block)
        if free:
            offset = free.pop()
        else:
            offset, self._end = self._end, self._end + 2**block
        self._file.seek(offset)
        self._file.write(data)
        self._offsets[label][z], self._sizes[label][z], self._boxes[label][z] = offset, len(data), patch.box

    def get(self, label: int, z: int) -> Patch | None:
        """The patch of `label` on slice `z`, as kept to within 1/510; None where nothing is there or known."""
        if not self.known(label, z) or self._sizes[label][z] == _EMPTY:
            return None
        self._file.seek(int(self._offsets[label][z]))
        data = zlib.decompress(self._file.read(int(self._sizes[label][z])))
        top, bottom, left, right = (int(side) for side in self._boxes[label][z])
        values = np.frombuffer(data, np.uint8).reshape(bottom - top, right - left)
        return Patch(values.astype(np.float32) / np.float32(255), (top, bottom, left, right))

    def known(self, label: int, z: int) -> bool:
        """Whether anything was kept, be it that nothing is there."""
        return label in self._sizes and bool(self._sizes[label][z] != _UNKNOWN)

    def drop(self, label: int, z: int) -> None:
        """Forget what was kept."""
        if not self.known(label, z):
            return
        size = int(self._sizes[label][z])
        if size != _EMPTY:
            self._free.setdefault(_block(size), []).append(int(self._offsets[label][z]))
        self._sizes[label][z] = _UNKNOWN

    def clear(self) -> None:
        """Forget everything."""
        self._end = 0
        self._free.clear()
        self._sizes.clear()
        self._offsets.clear()
        self._boxes.clear()


def _block(size: int) -> int:
    return max(_SMALLEST, (size - 1).bit_length())
