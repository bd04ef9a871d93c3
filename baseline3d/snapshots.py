"""Weights kept on the way through a training: how far they agree with the last ones tells easy cases from hard ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from volumes.errors import InputError


class Snapshots(Callback):
    """Calls `save` with a share of the run when the run is there.

    Lightning calls this before the run's checkpoint is written. So a run that was killed and goes on from a checkpoint
    either has the snapshot, or makes it.

    Args:
        shares: of the run's steps.
        steps: of the run.
        save: takes a share and its step; called by the first process alone.
    """

    def __init__(self, shares: Sequence[float], steps: int, save: Callable[[float, int], object]) -> None:
        for share in shares:
            if not 0 < share < 1:
                raise InputError(
                    "snapshots", found=f"{share:g}", expected="shares of the run, above 0 and below 1", fix="correct it"
                )
        self.steps, self.save = steps, save
        self.at = {share: max(1, round(share * steps)) for share in shares}

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any, **named: Any) -> None:
        if trainer.is_global_zero:
            for share, step in self.at.items():
                if step == trainer.global_step:
                    self.save(share, step)


def snapshot_of(weights: Path, share: float) -> Path:
    """Where the weights of a share of a run are kept, beside its last ones."""
    return weights.with_name(f"{weights.stem}-{round(100 * share):02d}.safetensors")
