"""How the C library and the convolution library treat memory while networks run."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import lru_cache
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # <malloc.h>
KEPT = 512 * 2**20  # free at the heap's end before it goes back to the system
LARGEST = 32 * 2**20  # blocks up to here come from the heap; glibc allows no more
COMPILED = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "32"}
"""Compiled convolutions that oneDNN, and PyTorch's layer above it, keep: one for each layer and size of its input.
Their own 1,024 each grew by some 350 MB within 300 slices and made nothing faster."""


def keep_freed_memory() -> None:
    """Keep freed blocks for the next layer instead of giving each back to the system; glibc alone.

    A network asks for the same few megabytes at each layer. Returned and asked for again, their pages are cleared
    each time: 7 % of the processor time of a propagation. Peak memory stays the same. To be called before a network
    runs for the first time: oneDNN then reads how many of its compiled convolutions it may keep.
    """
    for name, capacity in COMPILED.items():
        os.environ.setdefault(name, capacity)
    library = _glibc()
    if library is not None:
        library.mallopt(_TRIM_THRESHOLD, KEPT)
        library.mallopt(_MMAP_THRESHOLD, LARGEST)


def give_back_freed_memory() -> None:
    """Give what is free between blocks that are in use back to the system, else it grows with the work done."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@lru_cache(maxsize=1)
def _glibc() -> Any:
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL("libc.so.6")
        assert library.mallopt and library.malloc_trim
        return library
    except (OSError, AttributeError):
        return None  # another C library: only speed and some memory are lost
