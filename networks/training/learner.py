"""What every network that learns from labels does beside its losses: the same steps after a kill, and validation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import lightning as L
import torch
from torch import Tensor

from networks.training.settings import RunSettings
from networks.training.validation import means, summed
from volumes.labels import LabelTable


class Learner(L.LightningModule, ABC):
    """A network in training, validated on whole cases.

    Args:
        settings: the configuration's `training` section.
        table: structures that are scored.
    """

    def __init__(self, settings: RunSettings, table: LabelTable) -> None:
        super().__init__()
        self.settings, self.table = settings, table
        self.sums = summed([], table)
        self.best: dict[str, float] = {}

    @abstractmethod
    def scores(self, number: int) -> dict[int, float]:
        """Dice of validation case `number`, by label."""

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        # Dropout of a step depends on the step alone, so that a run that was killed goes on as it would have gone.
        torch.manual_seed(hash((self.settings.seed, self.global_step, self.global_rank)) % 2**63)

    def on_validation_epoch_start(self) -> None:
        self.sums = summed([], self.table)

    def validation_step(self, batch: int, index: int) -> None:
        if batch >= 0:
            self.sums += summed([self.scores(batch)], self.table)

    def on_validation_epoch_end(self) -> None:
        gathered = self.all_gather(self.sums.to(self.device, torch.float32))  # ranks x K x 2, of one K x 2
        assert isinstance(gathered, Tensor)
        found = means(gathered.reshape(-1, *self.sums.shape).sum(0).cpu(), self.table)
        if not found:
            return
        if found["mean"] > self.best.get("dice", -1.0):
            self.best = {"dice": found["mean"], "step": self.global_step}
        logged = {f"validation_{name}": value for name, value in found.items()}
        best = {"best_dice": self.best["dice"], "best_step": float(self.best["step"])}
        self.log_dict({**logged, **best}, sync_dist=True)  # the same on all ranks already

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["best"] = dict(self.best)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.best = dict(checkpoint.get("best", {}))
