"""Training runs: what all of them share. Lightning does devices, precision, several GPUs and nodes.

A run lives in one folder: `checkpoints/`, `csv/` and `tensorboard/` logs, `run.json` that says what it is made with
(`networks.run_record`), and at the end its weights. Started again on the same folder it goes on from the newest
checkpoint that is whole.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from networks.run_record import check_record
from volumes.errors import InputError

_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


def first_process() -> bool:
    """Whether this process is the only one of a run, or the first: with several GPUs each runs the whole command."""
    return not any(os.environ.get(name, "0") not in ("", "0") for name in _RANKS)


def check_run_folder(out: Path, resume: bool, made_with: Mapping[str, Any]) -> Path | None:
    """The newest checkpoint of the run in `out`, or None for a new run.

    Args:
        made_with: what the run is made with, see `run_record`.

    Raises:
        InputError: there is a run, and `resume` is False, or it was made with something else, or none of its
            checkpoints can be read.
    """
    checkpoint = newest_checkpoint(out / "checkpoints")
    if checkpoint is not None and not resume:
        raise InputError(out, found="a run", expected="an empty folder", fix="choose another --out, or go on with it")
    if checkpoint is not None:
        check_record(out, made_with)
    return checkpoint


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run that can be read, or None for a run without any; says which it passes over.

    Raises:
        InputError: there are checkpoints, and none of them can be read.
    """
    paths = sorted(folder.glob("*.ckpt"), reverse=True)
    for number, path in enumerate(paths):
        if _is_whole(path):
            if number and first_process():
                passed = ", ".join(one.name for one in paths[:number])
                print(f"{folder}: {passed} cannot be read; going on from {path.name}", file=sys.stderr)
            return path
    if paths:
        raise InputError(
            folder,
            found=f"{len(paths)} checkpoints, none of which can be read",
            expected="a whole one to go on from",
            fix="choose another --out, or delete the folder to begin anew",
        )
    return None


def _is_whole(checkpoint: Path) -> bool:
    try:
        content = torch.load(checkpoint, map_location="meta", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError, UnpicklingError):
        return False  # damaged, or code
    return isinstance(content, dict) and "state_dict" in content


@contextmanager
def counted(name: str, show: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar that is told (done, total), beside that of the steps; None where it is not to be shown."""
    if not show or not first_process():
        yield None
        return
    with Tqdm(desc=name, file=sys.stderr) as bar:

        def told(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield told


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
        enable_version_counter=False,  # a damaged one that the run has passed over is written again
    )
    callbacks: list[Callback] = [keep, *more.pop("callbacks", ())]
    if progress:
        callbacks.append(_StepsBar(refresh_rate=log_every))
    _no_advice_of_lightning()
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
        plugins=[_WholeCheckpoints(), *more.pop("plugins", ())],
        enable_progress_bar=progress,
        enable_model_summary=False,
        use_distributed_sampler=False,  # our streams split themselves by rank
        **more,
    )


def _no_advice_of_lightning() -> None:
    """Nothing that somebody who labels patients could do, and the first would send their runs to a cloud."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_tip)
    warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated", module="lightning")


def _is_no_tip(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("💡 Tip")


class _WholeCheckpoints(TorchCheckpointIO):
    """Lightning's own are copied into place where /tmp is another disk, and so may be cut off."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        with part.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)


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
