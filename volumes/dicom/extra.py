"""The two packages of `keyslice[dicom]`, loaded when they are needed; one line says so where they are missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from volumes.errors import InputError


def load_pydicom(where: object) -> ModuleType:
    """pydicom; raises InputError if it is not installed."""
    return _load("pydicom", where)


def load_highdicom(where: object) -> ModuleType:
    """highdicom with its `seg` package; raises InputError if it is not installed."""
    module = _load("highdicom", where)
    _load("highdicom.seg", where)
    return module


def _load(name: str, where: object) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            str(where),
            found=f"DICOM that needs {name.partition('.')[0]}, which is not installed",
            expected="the extra 'dicom'",
            fix="pip install 'keyslice[dicom]'",
        ) from error
