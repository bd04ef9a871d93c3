"""Keyslice from Python: label a few slices of a CT, get every slice labelled.

    import keyslice

    result = keyslice.propagate("ct.nii.gz", "keys.nii.gz")
    result.save("labels.nii.gz")

The names below are loaded when they are first used, so that importing the package costs nothing. docs/python.md shows
them at work.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyslice.axes import Axes
    from keyslice.models import load, load_segmenter
    from keyslice.results import Result
    from keyslice.scores import evaluate
    from keyslice.sessions import Session
    from keyslice.sessions import open_session as open
    from keyslice.volumewise import propagate, segment
    from tools.automatic import AutomaticSettings
    from tools.demo import example_case
    from volumes.errors import InputError
    from volumes.labels import LabelTable

_HOME = {
    "Axes": "keyslice.axes.Axes",
    "AutomaticSettings": "tools.automatic.AutomaticSettings",
    "InputError": "volumes.errors.InputError",
    "LabelTable": "volumes.labels.LabelTable",
    "Result": "keyslice.results.Result",
    "Session": "keyslice.sessions.Session",
    "evaluate": "keyslice.scores.evaluate",
    "example_case": "tools.demo.example_case",
    "load": "keyslice.models.load",
    "load_segmenter": "keyslice.models.load_segmenter",
    "open": "keyslice.sessions.open_session",
    "propagate": "keyslice.volumewise.propagate",
    "segment": "keyslice.volumewise.segment",
}

__all__ = [
    "AutomaticSettings",
    "Axes",
    "InputError",
    "LabelTable",
    "Result",
    "Session",
    "evaluate",
    "example_case",
    "load",
    "load_segmenter",
    "open",
    "propagate",
    "segment",
]

_ROOMS = ("volumes", "networks", "propagation_module", "reference_module", "cps", "baseline3d", "configs", "tools")


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'keyslice' has no attribute '{name}'")
    _check_rooms()
    module, _, attribute = _HOME[name].rpartition(".")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


@lru_cache(maxsize=1)
def _check_rooms() -> None:
    """Keyslice's packages have common names: one of a script's own folder would be taken for ours."""
    here = Path(__file__).resolve().parents[1]
    for room in _ROOMS:
        found = find_spec(room)
        origin = None if found is None or found.origin is None else Path(found.origin).resolve()
        if origin is None or origin.parent.parent != here:
            raise ImportError(
                f"package '{room}' of Keyslice: found {origin or 'none'}; expected it in {here}; "
                "rename your own module of that name, or run from another folder"
            )
