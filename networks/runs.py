"""Training runs: what all of them share. Lightning does devices, precision, several GPUs and nodes.

A run lives in one folder: `checkpoints/`, `csv/` and `tensorboard/` logs, and at the end its weights. Started again on
the same folder it goes on from the newest checkpoint that is whole.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from volumes.errors import InputError


def check_run_folder(out: Path, resume: bool) -> Path | None:
    """The newest checkpoint of the run in `out`, or None for a new run.

    Raises:
        InputError: there is a run, and `resume` is False.
    """
    checkpoint = newest_checkpoint(out / "checkpoints")
    if checkpoint is not None and not resume:
        raise InputError(out, found="a run", expected="an empty folder", fix="choose another --out, or go on with it")
    return checkpoint


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run that can be read, or None."""
    for path in sorted(folder.glob("*.ckpt"), reverse=True):
        try:
            torch.load(path, map_location="meta", weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError, UnpicklingError):
            continue  # cut off while it was written
        return path
    return None


def make_trainer(
    out: Path,
    *,
    steps: int,
    device: str,
    precision: str,
    gradient_clip: float | None,
    log_every: int,
    checkpoint_every: int,
    progress: bool,
    nodes: int = 1,
    **more: Any,
) -> L.Trainer:
    """A trainer that counts steps, not epochs: our streams of samples have no end.

    Args:
        out: the run's folder.
        steps: optimiser steps, as Lightning counts them, until the run ends.
        device: `auto`, `cpu`, `cuda` (all GPUs), `cuda:N` or `mps`.
        precision: Lightning's name, such as `bf16-mixed`.
        gradient_clip: norm to which gradients are clipped; None where the module clips them itself.
        log_every: batches between two lines of the logs.
        checkpoint_every: batches between two checkpoints; the two newest are kept.
        progress: show a bar.
        more: passed on to `lightning.Trainer`; `callbacks` join ours.

    Raises:
        InputError: a CUDA device is asked for and there is none.
    """
    accelerator, devices = _devices(device)
    # Two are kept: should the machine stop while one is written, the one before is whole.
    keep = ModelCheckpoint(
        dirpath=out / "checkpoints",
        filename="{step:08d}",
        every_n_train_steps=checkpoint_every,
        save_top_k=2,
        monitor="step",
        mode="max",
    )
    callbacks: list[Callback] = [keep, *more.pop("callbacks", ())]
    if progress:
        callbacks.append(_StepsBar(refresh_rate=log_every))
    return L.Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        precision=precision,  # type: ignore[arg-type]
        max_steps=steps,
        max_epochs=-1,
        gradient_clip_val=gradient_clip,
        log_every_n_steps=log_every,
        logger=[CSVLogger(out, name="csv"), TensorBoardLogger(out, name="tensorboard")],
        callbacks=callbacks,
        enable_progress_bar=progress,
        enable_model_summary=False,
        use_distributed_sampler=False,  # our streams split themselves by rank
        **more,
    )


class _StepsBar(TQDMProgressBar):
    """The stream has no end, the run has."""

    def init_train_tqdm(self) -> Any:
        bar = super().init_train_tqdm()
        bar.total = self.trainer.max_steps
        return bar


def _devices(device: str) -> tuple[str, Any]:
    kind, _, number = device.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device {device}", found="no CUDA device", expected="one", fix="use --device cpu")
    return {"cuda": "gpu"}.get(kind, kind), [int(number)] if number else "auto"
