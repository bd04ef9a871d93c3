"""The propagation module as the benchmark sees it: loaded once per process, known by a digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from propagation_module.propagator import Propagator


@dataclass(frozen=True)
class ModelSpec:
    """Which network, weights and device; `config` is a name or the path of a `.yaml` file."""

    config: str = "small"
    weights: Path | None = None
    device: str = "cpu"
    precision: str = "auto"


@lru_cache(maxsize=1)
def load(spec: ModelSpec) -> Propagator:
    """The propagator of a spec; raises InputError for bad weights or a bad configuration."""
    from propagation_module.propagator import Propagator

    return Propagator.load(spec.config, spec.weights, device=spec.device, precision=spec.precision)


def digest(spec: ModelSpec) -> str:
    """12 hexadecimal digits that change with any weight or setting; the device does not count."""
    from propagation_module.checkpoints import read_settings

    hashed = hashlib.sha256(
        json.dumps({**read_settings(spec.config), "precision": spec.precision}, sort_keys=True).encode()
    )
    for name, tensor in sorted(_network(spec).state_dict().items()):
        hashed.update(name.encode())
        hashed.update(tensor.cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()[:12]


@lru_cache(maxsize=1)
def _network(spec: ModelSpec) -> nn.Module:
    from propagation_module.checkpoints import load_network

    return load_network(spec.config, weights=spec.weights, device=spec.device)
