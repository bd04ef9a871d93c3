"""A 3D network that learns from patches: its loss, its optimiser, its validation. No files, no devices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from baseline3d.cases import TrainingCases
from baseline3d.heads import Head
from baseline3d.losses import patch_loss
from baseline3d.preparation import InputSettings
from baseline3d.sliding import WindowSettings
from baseline3d.training_settings import OptimizerSettings, TrainingSettings
from baseline3d.validation import prepared_dice
from networks.training.averaging import averaged
from networks.training.learner import Learner


class VolumeTraining(Learner):
    """A network, its loss and its optimiser.

    Args:
        network: from B x 1 x D x H x W to logits.
        head: what its channels are.
        settings: the configuration's `training` section.
        cases, inputs, windows: for validation.
    """

    settings: TrainingSettings

    def __init__(
        self,
        network: nn.Module,
        head: Head,
        settings: TrainingSettings,
        cases: TrainingCases,
        inputs: InputSettings,
        windows: WindowSettings,
    ) -> None:
        super().__init__(settings, cases.table)
        self.network, self.head = network, head
        self.average = averaged(network, settings.averaging)
        self.cases, self.inputs, self.windows = cases, inputs, windows

    @property
    def trained(self) -> nn.Module:
        """The network to ship: averaged over the last steps where averaging is on."""
        network = self.average.module if self.average is not None else self.network
        assert isinstance(network, nn.Module)
        return network

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        logits = self.network(batch["image"].contiguous(memory_format=torch.channels_last_3d))
        loss, terms = patch_loss(logits, batch["label"], batch["known"], self.head, self.settings.losses)
        self.log("loss", loss.detach(), prog_bar=True)
        self.log_dict(terms)
        return loss

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        # Here and in no later hook: the checkpoint of a step holds the average with that step in it.
        super().optimizer_step(*arguments, **named)
        if self.average is not None:
            self.average.update_parameters(self.network)

    def configure_optimizers(self) -> Any:
        optimizer = _optimizer(self.network, self.settings.optimizer)
        scheduler = _scheduler(optimizer, self.settings.optimizer, self.settings.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def scores(self, number: int) -> dict[int, float]:
        case = self.cases.validation[number]
        return prepared_dice(self.trained, self.head, case, self.cases, self.inputs, self.windows)


def _optimizer(network: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.kind == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=rate,
            momentum=settings.momentum,
            nesterov=settings.momentum > 0,
            weight_decay=decay,
        )
    kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    return kind(network.parameters(), lr=rate, betas=settings.betas, weight_decay=decay)


def _scheduler(optimizer: torch.optim.Optimizer, settings: OptimizerSettings, steps: int) -> Any:
    if settings.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=settings.learning_rate,
            total_steps=steps + 1,
            pct_start=0.1,
            cycle_momentum=False,  # it would replace the configuration's
        )

    # A function, not an object: of one the checkpoint would keep what it holds, and could not be read without its code.
    def factor(step: int) -> float:
        done = min(step / steps, 1.0)
        if settings.schedule == "poly":
            return (1 - done) ** settings.power
        reached = [share for share in settings.factors if done >= share]
        return settings.factors[max(reached)] if reached else 1.0

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
