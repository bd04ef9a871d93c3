"""Training a propagation network: `keyslice train propagation`.

This file says what is trained on what; `networks.runs` says how a run lives in its folder. Started again on the same
folder it goes on from the newest checkpoint that is whole, with the samples it would have seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from networks.configurations import check_values, read_config, settings_of, with_overrides
from networks.run_record import digest_of, keep_record
from networks.runs import check_run_folder, make_trainer
from networks.weights import save_weights
from propagation_module.checkpoints import FOLDER, PropagationSettings, build_network, load_state
from propagation_module.losses import bootstrapped_cross_entropy, cross_entropy, lovasz_hinge, soft_dice
from propagation_module.rollout import rollout
from propagation_module.training_data import NNUNET_RAW, Pool, SampleStream, Source, load_pools, loader, made_with
from propagation_module.triplets import SampleSettings
from volumes.errors import InputError

OF_NO_CONSEQUENCE = ("workers", "checkpoint_every", "log_every")
"""Settings that may change while a run is under way: the weights do not depend on them."""


@dataclass(frozen=True)
class Losses:
    """Weight of each loss; 0 leaves it out. See `losses`; `presence` is for networks that predict it."""

    bootstrapped: float = 0.0
    cross_entropy: float = 0.0
    lovasz: float = 0.0
    dice: float = 0.0
    presence: float = 0.0

    def __post_init__(self) -> None:
        weights = asdict(self)
        check_values(self, "training.losses", *((name, one >= 0, "0 or more") for name, one in weights.items()))
        if not any(weights.values()):
            raise InputError(
                "training.losses", found="0 for all", expected=f"one of {', '.join(weights)}", fix="give one a weight"
            )


@dataclass(frozen=True)
class TrainingSettings:
    """The `training` section of a configuration.

    Args:
        schedule: of the learning rate: `halve` at 80 % and 90 % of the run (systems 1.10), or `one_cycle`.
        averaging: decay of the running average over steps that is shipped; 0 for none.
        augmentation: strength, 0 for none.
        curriculum: longest jump in slices, from a share of the run on, in order.
        data: sources below the data folder; a data set in nnU-Net raw layout needs none.
    """

    seed: int
    steps: int
    batch_size: int
    workers: int
    learning_rate: float
    weight_decay: float
    schedule: Literal["halve", "one_cycle"]
    gradient_clip: float
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    averaging: float
    augmentation: float
    checkpoint_every: int
    log_every: int
    losses: Losses
    curriculum: tuple[tuple[float, int], ...]
    samples: SampleSettings
    data: tuple[Source, ...] = ()
    nodes: int = 1

    def __post_init__(self) -> None:
        check_values(
            self,
            "training",
            ("seed", 0 <= self.seed < 2**63, "0 or more, and less than 2^63"),
            ("steps", self.steps >= 1, "1 or more"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("workers", self.workers >= 0, "0 or more"),
            ("learning_rate", self.learning_rate > 0, "more than 0"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("gradient_clip", self.gradient_clip >= 0, "0 or more"),
            ("averaging", 0 <= self.averaging < 1, "from 0 to less than 1"),
            ("augmentation", self.augmentation >= 0, "0 or more"),
            ("checkpoint_every", self.checkpoint_every >= 1, "1 or more"),
            ("log_every", self.log_every >= 1, "1 or more"),
            ("curriculum", bool(self.curriculum), "one longest jump, or more"),
            ("nodes", self.nodes >= 1, "1 or more"),
        )


@dataclass(frozen=True)
class Configuration:
    """A whole configuration file; `network` is for `build_network`, `propagation` for `read_settings`."""

    name: str
    network: Mapping[str, Any]
    training: TrainingSettings
    propagation: PropagationSettings = PropagationSettings()


class PropagationTraining(L.LightningModule):
    """A network, its losses and its optimiser (systems 1.10).

    Args:
        network: `STCN` or `LocalSTCN`.
        settings: the configuration's `training` section.
    """

    def __init__(self, network: nn.Module, settings: TrainingSettings) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        decay = settings.averaging
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
        loss = torch.stack([getattr(self.settings.losses, name) * term for name, term in terms.items()]).sum()
        self.log("loss", loss.detach(), prog_bar=True)
        self.log_dict({name: term.detach() for name, term in terms.items()})
        self.log("overlap", _mean_dice(logits.detach() > 0, targets > 0.5), prog_bar=True)
        return loss

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        # Here and in no later hook: the checkpoint of a step holds the average with that step in it.
        super().optimizer_step(*arguments, **named)
        if self.average is not None:
            self.average.update_parameters(self.network)

    def configure_optimizers(self) -> Any:
        settings = self.settings
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        if settings.schedule == "halve":  # systems 1.10: x0.5 at 80 % and 90 % of the run
            milestones = [int(settings.steps * share) for share in (0.8, 0.9)]
            scheduler: Any = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.5)
        else:
            scheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=settings.learning_rate, total_steps=settings.steps + 1, pct_start=0.05
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

    def __init__(self, pools: list[Pool], settings: TrainingSettings) -> None:
        super().__init__()
        self.pools, self.settings = pools, settings

    def train_dataloader(self) -> Any:
        assert self.trainer is not None
        settings = self.settings
        stream = SampleStream(
            self.pools,
            settings=settings.samples,
            curriculum=settings.curriculum,
            batch_size=settings.batch_size,
            steps=settings.steps,
            seed=settings.seed,
            strength=settings.augmentation,
            start=self.trainer.global_step,
            rank=self.trainer.global_rank,
        )
        return loader(stream, settings.workers)


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
        out: the run's folder. A run that stopped there goes on, unless `resume` is False and it is refused. A run of
            other data, settings or start weights is refused in any case.
        device: `auto`, `cpu`, `cuda` (all GPUs), `cuda:N` or `mps`.
        start_from: weights to begin with instead of random ones, for a new run.
        overrides: entries of the `training` section to replace.

    Returns:
        The path of the weights, safetensors.

    Raises:
        InputError: data or configuration that cannot be trained on, or a run in the way.
    """
    section = with_overrides(read_config(FOLDER, config), {"training": dict(overrides or {})})
    whole = settings_of(section, Configuration, str(config))
    settings = whole.training
    out, data = Path(out), Path(data)
    sources = [NNUNET_RAW] if (data / "imagesTr").is_dir() else settings.data
    record = {
        "name": whole.name,
        "network": whole.network,
        "training": {name: one for name, one in asdict(settings).items() if name not in OF_NO_CONSEQUENCE},
        "files": made_with(data, sources),
        "start_from": digest_of(start_from),
    }
    checkpoint = check_run_folder(out, resume, record)
    torch.manual_seed(settings.seed)
    network = build_network({"network": whole.network})
    if start_from is not None:
        load_state(network, start_from)
    pools = load_pools(data, sources, out / "regions", settings.seed)
    module = PropagationTraining(network.to(memory_format=torch.channels_last), settings)
    trainer = make_trainer(
        out,
        steps=settings.steps,
        device=device,
        precision=settings.precision,
        gradient_clip=settings.gradient_clip,
        log_every=settings.log_every,
        checkpoint_every=settings.checkpoint_every,
        progress=progress,
        nodes=settings.nodes,
    )
    if checkpoint is None:
        keep_record(out, record)
    trainer.fit(module, SampleModule(pools, settings), ckpt_path=checkpoint, weights_only=True)
    weights = out / f"{whole.name}.safetensors"
    if trainer.is_global_zero:
        steps = trainer.global_step
        save_weights(module.trained, weights, {"model": whole.name, "steps": str(steps)})
    return weights
