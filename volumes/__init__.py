"""Volumes, key slices and label maps: what travels through every tool, and the way from file to file.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from volumes.errors import InputError
    from volumes.formats import read_label_map, read_volume, write_label_map
    from volumes.key_slices import Extents, KeySlices, read_extents
    from volumes.label_map import LabelMap
    from volumes.labels import Label, LabelTable
    from volumes.volume import Geometry, Volume
    from volumes.windows import WINDOWS, windowed

_HOME = {
    "InputError": "errors",
    "Geometry": "volume",
    "Volume": "volume",
    "Label": "labels",
    "LabelTable": "labels",
    "LabelMap": "label_map",
    "KeySlices": "key_slices",
    "Extents": "key_slices",
    "read_extents": "key_slices",
    "read_volume": "formats",
    "read_label_map": "formats",
    "write_label_map": "formats",
    "WINDOWS": "windows",
    "windowed": "windows",
}

__all__ = [
    "WINDOWS",
    "Extents",
    "Geometry",
    "InputError",
    "KeySlices",
    "Label",
    "LabelMap",
    "LabelTable",
    "Volume",
    "read_extents",
    "read_label_map",
    "read_volume",
    "windowed",
    "write_label_map",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'volumes' has no attribute '{name}'")
    return getattr(import_module(f"volumes.{_HOME[name]}"), name)
