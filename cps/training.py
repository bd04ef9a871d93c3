"""Cross pseudo supervision of a reference pair: `keyslice train cps`.

Like `reference_module.training`, with a second stream of slices that have no labels, on which each network learns from
the other. Both learn in the same step, and what is written is a pair like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import IterableDataset

from cps.cross_supervision import Consistency, box_for, cross_loss, hard_labels, mixed
from cps.streams import Batch, TwoStreams
from networks.configurations import read_config, with_overrides
from networks.runs import check_run_folder
from reference_module.labelled_stream import part_of
from reference_module.learner import ReferenceTraining
from reference_module.pair import Pair
from reference_module.slice_streams import SliceStream
from reference_module.training import labelled_stream, new_pair, run
from reference_module.training_cases import TrainingCases, open_cases
from reference_module.training_settings import TrainingSettings, read_sections
from volumes.datasets import DataSet
from volumes.errors import InputError

_UNLABELLED = 2_000_003  # added to the seed: the two streams do not draw in step


@dataclass(frozen=True, kw_only=True)
class CrossSettings(TrainingSettings):
    """The `training` section of a cps configuration: that of a reference configuration, and

    Args:
        batch_size: labelled slices a step.
        unlabelled_batch_size: unlabelled slices a step.
        consistency: of the unsupervised loss.
    """

    unlabelled_batch_size: int
    consistency: Consistency = field(default_factory=Consistency)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unlabelled_batch_size < 1:
            found = str(self.unlabelled_batch_size)
            raise InputError(
                "training.unlabelled_batch_size", found=found, expected="1 or more", fix="correct the setting"
            )


class CrossTraining(ReferenceTraining):
    """A pair that learns from labels, and each network from the other.

    Args:
        pair, settings, cases, windows: as for `ReferenceTraining`.
    """

    settings: CrossSettings

    def __init__(self, pair: Pair, settings: CrossSettings, cases: TrainingCases, windows: str) -> None:
        super().__init__(pair, settings, cases, windows)
        if settings.consistency.teacher == "average" and self.average is None:
            raise InputError(
                "training.consistency.teacher",
                found="average, and averaging: 0",
                expected="an average to learn from",
                fix="set training.averaging, such as 0.995, or teacher: student",
            )

    def training_step(self, batch: Batch, index: int) -> Tensor:  # type: ignore[override]
        settings, labelled, plain = self.settings.consistency, batch["labelled"], batch["unlabelled"]["image"]
        place = batch["unlabelled"]["position"]
        size = len(labelled["image"])
        box = box_for(*plain.shape[-2:]) if torch.rand(()) < settings.mixed else None
        targets = self._targets(plain, place) if box is not None or settings.teacher == "average" else None
        unlabelled = plain if box is None else mixed(plain, box)
        # One pass of each network over both: batch norm sees labelled and unlabelled slices alike.
        logits = self.pair(torch.cat([labelled["image"], unlabelled]), torch.cat([labelled["position"], place]))
        supervised = self.supervised((logits[0][:size], logits[1][:size]), labelled)
        if targets is None:
            targets = hard_labels(logits[0][size:]), hard_labels(logits[1][size:])
        elif box is not None:
            targets = mixed(targets[0], box), mixed(targets[1], box)
        # The first learns from the second's labels, the second from the first's.
        cross = cross_loss(logits[0][size:], targets[1]) + cross_loss(logits[1][size:], targets[0])
        if settings.labelled:
            own = [hard_labels(one[:size]) for one in logits]
            cross = cross + cross_loss(logits[0][:size], own[1]) + cross_loss(logits[1][:size], own[0])
        weight = settings.weight_at(self.global_step, self.settings.steps)
        loss = supervised + weight * cross
        self.log("loss", loss.detach(), prog_bar=True)
        self.log_dict({"cross": cross.detach(), "consistency": weight, "supervised": supervised.detach()})
        self.log("agreement", _agreement(targets))
        return loss

    @torch.no_grad()
    def _targets(self, images: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Labels (B, H, W) of both teachers, in eval mode: no dropout in them, and no trace of them in batch norm."""
        teacher = self.trained if self.settings.consistency.teacher == "average" else self.pair
        teacher.eval()
        first, second = teacher(images, position)
        if teacher is self.pair:
            teacher.train()
        # Autocast keeps the half copies of weights that it made; these would carry no gradient to the next pass.
        torch.clear_autocast_cache()
        return hard_labels(first), hard_labels(second)


def _agreement(targets: tuple[Tensor, Tensor]) -> Tensor:
    """Share of the pixels that either network gives to a structure that both give to the same one."""
    first, second = targets
    found = (first > 0) | (second > 0)
    return (found & (first == second)).sum() / found.sum().clamp(min=1)


def train(
    config: str | Path,
    *,
    data: str | Path | DataSet,
    out: str | Path,
    device: str = "auto",
    resume: bool = True,
    overrides: Mapping[str, Any] | None = None,
    start_from: str | Path | None = None,
    pseudo: Mapping[str, str | Path] | None = None,
    cache: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Train the pair of the configuration's `reference` by cross pseudo supervision and write its weights.

    Args:
        config: `small`, `paper`, or a YAML file like them.
        data, out, device, resume, overrides, start_from, cache: as for `reference_module.training.train`.
        pseudo: label maps with which unlabelled cases join the labelled stream, by case name. They leave the unlabelled
            one; when none is left there, it goes through the pseudo-labelled cases' images.

    Returns:
        The path of the weights, safetensors.

    Raises:
        InputError: data or configuration that cannot be trained on, or a run in the way.
    """
    whole = _with_reference(read_config("cps", config), config)
    settings, inputs = read_sections(whole, CrossSettings, overrides, str(config))
    out = Path(out)
    checkpoint = check_run_folder(out, resume)
    cases = open_cases(
        data,
        cache=Path(cache or out / "cases"),
        pixel=inputs.pixel,
        pseudo=pseudo,
        with_unlabelled=True,
        validate_on=settings.validation_cases if settings.validate_every else -1,
    )
    module = CrossTraining(new_pair(whole, cases, settings.seed, start_from), settings, cases, inputs.windows)

    def stream(start: int, rank: int, ranks: int) -> IterableDataset:
        unlabelled = SliceStream(
            part_of(cases.unlabelled or cases.pseudo, rank, ranks),
            cases.table,
            settings=replace(settings.slices, rare=0.0),
            labelled=False,
            batch_size=settings.unlabelled_batch_size,
            seed=settings.seed + _UNLABELLED,
            rank=rank,
        )
        return TwoStreams(labelled_stream(cases, settings, 0, rank, ranks), unlabelled, start)

    name = str(whole.name)
    return run(module, stream, inputs, name=name, out=out, device=device, checkpoint=checkpoint, progress=progress)


def _with_reference(own: DictConfig, config: str | Path) -> DictConfig:
    """The configuration with the network and input of the reference configuration that it names."""
    reference = own.get("reference")
    if not isinstance(reference, str):
        raise InputError(
            f"{config}: reference",
            found="nothing" if reference is None else str(reference),
            expected="the name or path of a reference configuration",
            fix="add it, such as reference: small",
        )
    taken = read_config("reference", reference)
    return with_overrides(own, {"network": taken.get("network"), "input": taken.get("input")})
