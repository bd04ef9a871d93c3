"""Propagation of labels from a few key slices to every slice of a volume.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from propagation_module.checkpoints import (
        build_network,
        describe_models,
        load_network,
        load_state,
        save_weights,
    )
    from propagation_module.compat import propagate_compat, propagate_volume_compat
    from propagation_module.memory import MemoryBank
    from propagation_module.propagator import Propagation, Propagator
    from propagation_module.session import Session, SliceUpdate
    from propagation_module.stcn import STCN
    from propagation_module.suggestion import Suggestion

_HOME = {
    "build_network": "checkpoints",
    "describe_models": "checkpoints",
    "load_network": "checkpoints",
    "load_state": "checkpoints",
    "save_weights": "checkpoints",
    "propagate_compat": "compat",
    "propagate_volume_compat": "compat",
    "MemoryBank": "memory",
    "Propagation": "propagator",
    "Propagator": "propagator",
    "STCN": "stcn",
    "Session": "session",
    "SliceUpdate": "session",
    "Suggestion": "suggestion",
}

__all__ = [
    "STCN",
    "MemoryBank",
    "Propagation",
    "Propagator",
    "Session",
    "SliceUpdate",
    "Suggestion",
    "build_network",
    "describe_models",
    "load_network",
    "load_state",
    "propagate_compat",
    "propagate_volume_compat",
    "save_weights",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'propagation_module' has no attribute '{name}'")
    return getattr(import_module(f"propagation_module.{_HOME[name]}"), name)
