"""From key slices to every slice: a network and how it is used.

Each label is carried by itself, so what one label gets does not depend on which others there are, nor on the order
in which they were given. Between key slices two directions are fused. Key slices are memory, never output: what was
given on them is put back as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from propagation_module.checkpoints import load_calibration, load_network, read_settings
from propagation_module.confidence import BY_PRESENCE, UNCALIBRATED, Evidence
from propagation_module.inference import prepare
from propagation_module.session import Session
from propagation_module.walks import MemorySettings
from volumes.key_slices import Extents, KeySlices
from volumes.volume import Volume

SETTINGS = frozenset({"pixel", "top_k", "memory_every", "memory_slices"})  # what a configuration may say of it
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Propagation:
    """What `Propagator.propagate` gives back.

    Args:
        labels: (D, H, W) uint8, canonical order.
        confidence: for each label, (D,) float32 in [0, 1]: the Dice to expect on a slice; 1 where it was given.
    """

    labels: NDArray[np.uint8]
    confidence: dict[int, NDArray[np.float32]]


class Propagator:
    """Carries key slices through volumes with a network.

    Args:
        network: `LocalSTCN` or `STCN`, see `checkpoints.load_network`.
        device: where it runs.
        precision: `auto`, `float32` or `bfloat16`, see `inference.prepare`.
        pixel: internal pixel spacing in mm; None for the file's own.
        top_k: memory tokens a query draws from (`STCN` alone).
        memory_every: predicted slices that join memory, besides the last one: every n-th; 0 for none.
        memory_slices: at most so many of them, the newest.
        calibration: from what is known of a mask to a confidence.
        ending: whether a structure has ended, where neither key slices nor marks say so.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        device: str | torch.device = "cpu",
        precision: str = "auto",
        pixel: float | None = 1.5,
        top_k: int = 20,
        memory_every: int = 0,
        memory_slices: int = 4,
        calibration: Callable[[Evidence], float] = UNCALIBRATED,
        ending: Callable[[Evidence], bool] = BY_PRESENCE,
    ) -> None:
        self.device = torch.device(device)
        self.network = prepare(network, self.device, precision)
        self.pixel, self.top_k = pixel, top_k
        self.memory, self.calibration = MemorySettings(memory_every, memory_slices), calibration
        self.ending = ending

    @classmethod
    def load(
        cls,
        name: str | Path = "small",
        weights: str | Path | None = None,
        *,
        device: str | torch.device = "cpu",
        precision: str = "auto",
    ) -> Propagator:
        """A configuration's network, settings and calibration.

        Args:
            name: a configuration's name or the path of a `.yaml` file.
            weights: `.safetensors` or `.pth` file; None takes the weights that ship.

        Raises:
            InputError: no such configuration, or weights that do not fit.
        """
        network = load_network(name, weights)
        calibration, ending = load_calibration(name, weights)
        return cls(
            network,
            device=device,
            precision=precision,
            calibration=calibration,
            ending=ending,
            **_own(read_settings(name)),
        )

    def open(self, volume: Volume) -> Session:
        """A session on a volume, without key slices yet."""
        return Session(
            volume,
            self.network,
            self.device,
            pixel=self.pixel,
            top_k=self.top_k,
            memory=self.memory,
            calibration=self.calibration,
            ending=self.ending,
        )

    def propagate(
        self,
        volume: Volume,
        key_slices: KeySlices,
        *,
        extents: Extents | None = None,
        progress: Progress | None = None,
    ) -> Propagation:
        """Label every slice of `volume`.

        Args:
            extents: first and last slice of labels for which they are known, both inside.
            progress: called with steps done and steps in all, of one label by one slice in one direction.

        Raises:
            InputError: no label on any key slice, or a key slice beyond its label's extent.
        """
        session = self.open(volume)
        session.annotate_all(key_slices)
        for label, extent in (extents or {}).items():
            session.set_extent(label, extent)
        for update in session.propagate(live=False):
            if progress is not None:
                progress(update.done, update.total)
        return Propagation(session.labels, session.confidence)


def _own(settings: dict[str, Any]) -> dict[str, Any]:
    """One section of a configuration also serves `compat`."""
    return {name: value for name, value in settings.items() if name in SETTINGS}
