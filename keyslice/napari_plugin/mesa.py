"""Keeps torch from crashing in a viewer that draws with Mesa.

Mesa's drivers for AMD cards and for machines without a card bring an LLVM into the process, where every library sees
it. Triton, which torch imports, has one of its own, finds Mesa's functions instead, and the process ends with a
segmentation fault (napari 0.9.2, Mesa 22.3, triton of torch 2.15, on Linux).
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec


def load_triton_apart() -> None:
    """Load triton, where there is one, so that it looks for functions in itself first. To be called before torch."""
    if not hasattr(os, "RTLD_DEEPBIND") or "triton" in sys.modules or find_spec("triton") is None:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        import_module("triton")
    finally:
        sys.setdlopenflags(flags)
