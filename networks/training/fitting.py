"""A run of training with labels, from its stream of batches to its last step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from networks.run_record import keep_record
from networks.runs import make_trainer
from networks.training.settings import RunSettings
from networks.weights import what_does_not_fit
from volumes.errors import InputError

Stream = Callable[[int, int, int], IterableDataset]
"""From the batch to begin with, the rank and the number of ranks to batches without end."""


class StreamData(L.LightningDataModule):
    """Batches for the rank and the step at which a run stands, and the cases that a rank validates."""

    def __init__(self, stream: Stream, workers: int, validation: int) -> None:
        super().__init__()
        self.stream, self.workers, self.validation = stream, workers, validation

    def train_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        stream = self.stream(self.trainer.global_step, self.trainer.global_rank, self.trainer.world_size)
        # Each worker makes every n-th batch, and the loader takes them in turn: their order is that of one process.
        ahead = 4 if self.workers else None
        return DataLoader(stream, batch_size=None, num_workers=self.workers, prefetch_factor=ahead)

    def val_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        mine = list(range(rank, self.validation, ranks))
        mine += [-1] * (-(-self.validation // ranks) - len(mine))  # ranks of equal length wait for each other
        return DataLoader(mine, batch_size=None, num_workers=0)  # type: ignore[arg-type]


def fit(
    module: L.LightningModule,
    stream: Stream,
    settings: RunSettings,
    record: Mapping[str, Any],
    *,
    out: Path,
    device: str,
    validation: int,
    gradient_clip: float | None,
    checkpoint: Path | None,
    progress: bool,
    callbacks: Sequence[Callback] = (),
) -> L.Trainer:
    """Train to the last step; returns the trainer, which knows whether this process is the one that writes.

    Args:
        record: what the run is made with, see `made_with`; kept from before the first step on.
        validation: number of validation cases.
        gradient_clip: norm to which gradients are clipped; None where the module clips them itself, or not at all.
        checkpoint: to go on from; None begins.
        callbacks: Lightning's, called before a checkpoint is written.
    """
    if checkpoint is None:
        keep_record(out, record)
    validates = settings.validate_every if validation else 0
    trainer = make_trainer(
        out,
        steps=settings.steps,
        device=device,
        precision=_precision(settings.precision, device),
        gradient_clip=gradient_clip,
        log_every=settings.log_every,
        checkpoint_every=settings.checkpoint_every,
        progress=progress,
        nodes=settings.nodes,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        val_check_interval=validates or settings.steps,
        limit_val_batches=None if validates else 0,
        callbacks=list(callbacks),
    )
    data = StreamData(stream, settings.workers, validation)
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    return trainer


def _precision(wanted: str, device: str) -> str:
    """Half floats need a GPU and its scaler; a CPU's kind of them is bfloat16."""
    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    return "bf16-mixed" if wanted == "16-mixed" and on_cpu else wanted


def check_checkpoint(network: nn.Module, checkpoint: Path | None, name: str) -> None:
    """Raise InputError if the tensors of a run's checkpoint are not those of its network.

    Args:
        name: of the network in the module that is trained.
    """
    if checkpoint is None:
        return
    state = torch.load(checkpoint, map_location="meta", weights_only=True)["state_dict"]
    prefix = f"{name}."
    given = {key.removeprefix(prefix): one for key, one in state.items() if key.startswith(prefix)}
    if complaints := list(what_does_not_fit(given, network.state_dict())):
        raise InputError(
            checkpoint,
            found=f"a run of another {name}: {'; '.join(complaints)}",
            expected="one of this configuration and these structures",
            fix="choose another --out, or the configuration that the run began with",
        )
