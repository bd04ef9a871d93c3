"""A pair that learns from labelled slices: its losses, its optimiser, its validation. No files, no devices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from networks.training.averaging import averaged
from networks.training.learner import Learner
from networks.training.losses import classes_in, one_hot, supervised_loss
from reference_module.pair import Pair
from reference_module.training_cases import TrainingCases
from reference_module.training_settings import TrainingSettings
from reference_module.validation import volume_dice


class ReferenceTraining(Learner):
    """A pair, its losses and its optimiser.

    One optimiser holds both networks: nothing couples them, AdamW goes parameter by parameter, and the scaler of half
    precision is updated once a step, not once for each network (systems.md 1, "what went wrong").

    Args:
        pair: the networks.
        settings: the configuration's `training` section.
        cases: for validation.
        windows: of the pair's input.
    """

    settings: TrainingSettings

    def __init__(self, pair: Pair, settings: TrainingSettings, cases: TrainingCases, windows: str) -> None:
        super().__init__(settings, cases.table)
        self.pair = pair
        self.average = averaged(pair, settings.averaging)
        self.cases, self.windows = cases, windows

    @property
    def trained(self) -> Pair:
        """The pair to ship: averaged over the last steps where averaging is on."""
        pair = self.average.module if self.average is not None else self.pair
        assert isinstance(pair, Pair)
        return pair

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        loss = self.supervised(self.pair(batch["image"], batch["position"]), batch)
        self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def supervised(self, logits: tuple[Tensor, Tensor], batch: dict[str, Tensor]) -> Tensor:
        """Sum of both networks' losses on labelled slices, logged by network.

        Args:
            logits: of the two networks, (B, C, H, W) each.
            batch: `label` (B, H, W) and `known` (B, C).
        """
        losses = []
        for name, one in zip(("first", "second"), logits, strict=True):
            loss, terms = supervised_loss(one, batch["label"], batch["known"], self.settings.losses)
            self.log_dict({f"{name}_{term}": value for term, value in terms.items()})
            losses.append(loss)
        found = (logits[0].detach().float().softmax(1) + logits[1].detach().float().softmax(1)).argmax(1)
        self.log("overlap", _mean_overlap(found, batch["label"], batch["known"]), prog_bar=True)
        return torch.stack(losses).sum()

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        # Here and in no later hook: the checkpoint of a step holds the average with that step in it.
        super().optimizer_step(*arguments, **named)
        if self.average is not None:
            self.average.update_parameters(self.pair)

    def configure_gradient_clipping(self, optimizer: Any, *limits: Any, **named: Any) -> None:
        # Each network by its own norm: one that stumbles must not shorten the other's step.
        if self.settings.gradient_clip:
            for network in (self.pair.first, self.pair.second):
                torch.nn.utils.clip_grad_norm_(network.parameters(), self.settings.gradient_clip)

    def configure_optimizers(self) -> Any:
        settings = self.settings
        optimizer = torch.optim.AdamW(
            self.pair.parameters(), lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
        )
        if settings.schedule == "halve":
            milestones = [int(settings.steps * share) for share in (0.8, 0.9)]
            scheduler: Any = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.5)
        else:
            scheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                max_lr=settings.learning_rate,
                total_steps=settings.steps + 1,
                pct_start=0.1,
                cycle_momentum=False,  # it would replace the betas of the configuration
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def scores(self, number: int) -> dict[int, float]:
        return volume_dice(self.trained, self.cases.validation[number], self.table, self.windows)


def _mean_overlap(found: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean Dice of the labels (B, H, W) over the classes that occur in a batch where they are known; 1 without any."""
    masks, there = one_hot(found, known.shape[1]), one_hot(truth, known.shape[1])
    both = ((masks & there).sum((2, 3)) * known).sum(0)
    sizes = ((masks.sum((2, 3)) + there.sum((2, 3))) * known).sum(0)
    counted = classes_in(truth, known)
    return (2 * both[counted] / sizes[counted]).mean() if counted.any() else both.new_tensor(1.0, dtype=torch.float32)
