"""Training a propagation network: `keyslice train propagation`.

Lightning does devices, precision, several GPUs and nodes; this file says what is trained on what. A run lives in one
folder: `checkpoints/`, `csv/` and `tensorboard/` logs, and at the end `<name>.safetensors`. Started again on the same
folder it goes on from the newest checkpoint that is whole, with the samples it would have seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from propagation_module.checkpoints import build_network, load_state, read_config, save_weights
from propagation_module.losses import bootstrapped_cross_entropy, cross_entropy, lovasz_hinge, soft_dice
from propagation_module.rollout import rollout
from propagation_module.training_data import NNUNET_RAW, Pool, SampleStream, Source, load_pools, loader
from propagation_module.triplets import SampleSettings
from volumes.errors import InputError


class PropagationTraining(L.LightningModule):
    """A network, its losses and its optimiser (systems 1.10).

    Args:
        network: `STCN` or `LocalSTCN`.
        settings: the configuration's `training` section.
    """

    def __init__(self, network: nn.Module, settings: DictConfig) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        decay = float(settings.averaging)
        self.average = (
            AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None
        )
        if self.average is not None:
            self.average.requires_grad_(False)  # else several GPUs wait for gradients that never come

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        logits, targets, presence = rollout(self.network, batch)  # B x Q x H x W, the same, B x Q
        logits, targets = logits.flatten(0, 1), targets.flatten(0, 1)
        progress = self.global_step / self.settings.steps
        terms = {
            "bootstrapped": bootstrapped_cross_entropy(logits, targets, progress=progress),
            "cross_entropy": cross_entropy(logits, targets),
            "lovasz": lovasz_hinge(logits, targets),
            "dice": soft_dice(logits, targets),
        }
        if presence is not None:
            there = targets.flatten(1).any(1).float()
            terms["presence"] = F.binary_cross_entropy_with_logits(presence.flatten(), there)
        loss = torch.stack([float(self.settings.losses.get(name, 0.0)) * term for name, term in terms.items()]).sum()
        self.log("loss", loss.detach(), prog_bar=True)
        self.log_dict({name: term.detach() for name, term in terms.items()})
        self.log("overlap", _mean_dice(logits.detach() > 0, targets > 0.5), prog_bar=True)
        return loss

    def on_before_zero_grad(self, optimizer: torch.optim.Optimizer) -> None:
        # Called before each backward pass, so after the optimiser's step of the batch before.
        if self.average is not None and self.global_step > 0:
            self.average.update_parameters(self.network)

    def configure_optimizers(self) -> Any:
        settings = self.settings
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        if settings.schedule == "halve":  # systems 1.10: x0.5 at 80 % and 90 % of the run
            milestones = [int(settings.steps * share) for share in (0.8, 0.9)]
            scheduler: Any = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.5)
        elif settings.schedule == "one_cycle":
            scheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=settings.learning_rate, total_steps=settings.steps + 1, pct_start=0.05
            )
        else:
            raise InputError(
                "training.schedule", found=str(settings.schedule), expected="halve or one_cycle", fix="choose one"
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @property
    def trained(self) -> nn.Module:
        """The network to ship: averaged over the last steps where averaging is on."""
        return self.average.module if self.average is not None else self.network


def _mean_dice(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean Dice of masks (N, H, W) over those that are not empty on both sides."""
    both = (prediction & target).sum((1, 2)).float()
    sizes = prediction.sum((1, 2)) + target.sum((1, 2))
    return (2 * both[sizes > 0] / sizes[sizes > 0]).mean() if (sizes > 0).any() else both.new_tensor(1.0)


class SampleModule(L.LightningDataModule):
    """Samples for the rank and the step at which a run stands."""

    def __init__(self, pools: list[Pool], settings: DictConfig) -> None:
        super().__init__()
        self.pools, self.settings = pools, settings

    def train_dataloader(self) -> Any:
        assert self.trainer is not None
        settings = self.settings
        stream = SampleStream(
            self.pools,
            settings=SampleSettings(**_plain(settings.samples)),
            curriculum=[(float(start), int(jump)) for start, jump in settings.curriculum],
            batch_size=settings.batch_size,
            steps=settings.steps,
            seed=settings.seed,
            strength=settings.augmentation,
            start=self.trainer.global_step,
            rank=self.trainer.global_rank,
        )
        return loader(stream, settings.workers)


class _StepsBar(TQDMProgressBar):
    """The stream has no end, the run has."""

    def init_train_tqdm(self) -> Any:
        bar = super().init_train_tqdm()
        bar.total = self.trainer.max_steps
        return bar


def train(
    config: str | Path,
    *,
    data: str | Path,
    out: str | Path,
    device: str = "auto",
    resume: bool = True,
    overrides: Mapping[str, Any] | None = None,
    start_from: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Train the network of `config` (a shipped name or a YAML file) and write its weights.

    Args:
        data: folder that the configuration's data paths start from, or a data set in nnU-Net raw layout.
        out: the run's folder. A run that stopped there goes on, unless `resume` is False and it is refused.
        device: `auto`, `cpu`, `cuda` (all GPUs), `cuda:N` or `mps`.
        start_from: weights to begin with instead of random ones, for a new run.
        overrides: entries of the `training` section to replace.

    Returns:
        The path of the weights, safetensors.

    Raises:
        InputError: data or configuration that cannot be trained on, or a run in the way.
    """
    whole = read_config(config)
    settings = OmegaConf.merge(whole.training, OmegaConf.create(dict(overrides or {})))
    assert isinstance(settings, DictConfig)
    out, data = Path(out), Path(data)
    checkpoint = newest_checkpoint(out / "checkpoints")
    if checkpoint is not None and not resume:
        raise InputError(out, found="a run", expected="an empty folder", fix="choose another --out, or go on with it")
    torch.manual_seed(settings.seed)
    sources = _sources(data, settings)
    pools = load_pools(data, sources, out / "regions", settings.seed)
    network = build_network(whole)
    if start_from is not None:
        load_state(network, start_from)
    module = PropagationTraining(network.to(memory_format=torch.channels_last), settings)
    accelerator, devices = _devices(device)
    trainer = L.Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=settings.get("nodes", 1),
        precision=settings.precision,
        max_steps=settings.steps,
        max_epochs=-1,
        gradient_clip_val=settings.gradient_clip,
        log_every_n_steps=settings.log_every,
        logger=[CSVLogger(out, name="csv"), TensorBoardLogger(out, name="tensorboard")],
        callbacks=_callbacks(out, settings, progress),
        enable_progress_bar=progress,
        enable_model_summary=False,
        use_distributed_sampler=False,  # the stream splits itself by rank
    )
    trainer.fit(module, SampleModule(pools, settings), ckpt_path=checkpoint, weights_only=True)
    weights = out / f"{whole.name}.safetensors"
    if trainer.is_global_zero:
        steps = trainer.global_step
        save_weights(module.trained, weights, {"model": str(whole.name), "steps": str(steps)})
    return weights


def _callbacks(out: Path, settings: DictConfig, progress: bool) -> list[Callback]:
    # Two are kept: should the machine stop while one is written, the one before is whole.
    keep = ModelCheckpoint(
        dirpath=out / "checkpoints",
        filename="{step:08d}",
        every_n_train_steps=settings.checkpoint_every,
        save_top_k=2,
        monitor="step",
        mode="max",
    )
    return [keep, _StepsBar(refresh_rate=settings.log_every)] if progress else [keep]


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run that can be read, or None."""
    for path in sorted(folder.glob("*.ckpt"), reverse=True):
        try:
            torch.load(path, map_location="meta", weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError):
            continue  # cut off while it was written
        return path
    return None


def _sources(data: Path, settings: DictConfig) -> list[Source]:
    if (data / "imagesTr").is_dir():
        return [NNUNET_RAW]
    return [Source(**_plain(source)) for source in settings.data]


def _plain(section: Any) -> dict[str, Any]:
    plain = OmegaConf.to_container(section, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): tuple(value) if isinstance(value, list) else value for key, value in plain.items()}


def _devices(device: str) -> tuple[str, Any]:
    kind, _, number = device.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device {device}", found="no CUDA device", expected="one", fix="use --device cpu")
    return {"cuda": "gpu"}.get(kind, kind), [int(number)] if number else "auto"
