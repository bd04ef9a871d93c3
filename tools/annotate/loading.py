"""Loading networks and tools beside the event loop, without keeping the interpreter from it for long.

Measured on the import of torch and the shipped network, processor time in one piece that no other thread got in
between: full garbage collections, which look through the 400,000 objects that come with torch, 0.25 s each, several
while it loads and then again and again while it propagates; binding torch's largest library, 0.25 s; anything else
below 0.08 s. With what this module does a full collection takes 0.3 ms, and the library is bound without the
interpreter.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_NEVER = 1 << 30
_lock = threading.Lock()
_binding = threading.Lock()  # the system binds one library at a time; who waits for it in an import keeps all others
_under_way = 0
_usual = gc.get_threshold()


@contextmanager
def loading() -> Iterator[None]:
    """Load something large in this block: no full garbage collection meanwhile, and none looks at it afterwards.

    Blocks of several threads may overlap. What was loaded counts as there for good.
    """
    global _under_way, _usual
    with _lock:
        _under_way += 1
        if _under_way == 1:
            _usual = gc.get_threshold()
            gc.set_threshold(*_usual[:2], _NEVER)
    try:
        yield
    finally:
        with _lock:
            _under_way -= 1
            if not _under_way:
                keep_for_good()
                gc.set_threshold(*_usual)


def keep_for_good() -> None:
    """No garbage collection looks again through what is there now, before the program ends."""
    gc.freeze()
    atexit.unregister(gc.unfreeze)
    atexit.register(gc.unfreeze)  # modules may check that they leave nothing behind, and complain


def load_torch() -> None:
    """Import torch. Its largest library is bound first, by a call that leaves the interpreter to others."""
    if "torch" not in sys.modules:
        with _binding:
            _bind_library()
    import torch  # noqa: F401


@cache
def load_tools() -> None:
    """Load what assisted painting needs, which takes a second."""
    with _binding, loading():
        from tools.annotate import assist  # noqa: F401


def _bind_library() -> None:
    """Where it is not found, as on other systems, importing torch binds it as ever."""
    spec = find_spec("torch")
    if sys.platform != "linux" or spec is None or spec.origin is None:
        return
    library = Path(spec.origin).parent / "lib" / "libtorch_cpu.so"
    if library.is_file():
        # Not ctypes.CDLL(library): opening one holds on to the interpreter, a call of a function does not.
        opened = ctypes.CDLL(None).dlopen
        opened.restype, opened.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
        opened(os.fsencode(library), os.RTLD_NOW | os.RTLD_LOCAL)
