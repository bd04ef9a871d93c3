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
from cps.self_training_settings import SelfTrainingSettings
from cps.streams import Batch, TwoStreams
from networks.configurations import check_name, check_values, read_config, settings_of, with_overrides
from networks.runs import check_run_folder
from networks.training.fitting import check_checkpoint
from networks.training.made_with import made_with
from networks.training.pseudo_label import PseudoLabel
from networks.training.streams import part_of
from reference_module.learner import ReferenceTraining
from reference_module.pair import Pair
from reference_module.slice_streams import SliceStream
from reference_module.training import labelled_stream, new_pair, prepared, run
from reference_module.training_cases import TrainingCases
from reference_module.training_settings import TrainingSettings, read_sections
from reference_module.training_settings import read_whole as read_reference
from volumes.datasets import DataSet, read_dataset
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
        check_values(self, "training", ("unlabelled_batch_size", self.unlabelled_batch_size >= 1, "1 or more"))


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The sections that a cps configuration has; `reference` names the configuration of its network and input.

    Args:
        input: entries that replace those of the reference's.
        rounds: for `keyslice train rounds`.
    """

    name: str
    reference: str
    training: Mapping[str, Any]
    input: Mapping[str, Any] | None = None
    rounds: SelfTrainingSettings | None = None

    def __post_init__(self) -> None:
        check_name(self.name)


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
            targets = self._taught(logits[0][size:]), self._taught(logits[1][size:])
        elif box is not None:
            targets = mixed(targets[0], box), mixed(targets[1], box)
        # The first learns from the second's labels, the second from the first's.
        cross = cross_loss(logits[0][size:], targets[1]) + cross_loss(logits[1][size:], targets[0])
        if settings.labelled:
            own = [self._taught(one[:size]) for one in logits]
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
        return self._taught(first), self._taught(second)

    def _taught(self, logits: Tensor) -> Tensor:
        """The labels that a network teaches."""
        return hard_labels(logits, self.settings.consistency.certain)


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
    pseudo: Mapping[str, str | Path | PseudoLabel] | None = None,
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
    whole = read_whole(config)
    settings, inputs = read_sections(whole, CrossSettings, overrides, str(config))
    out, dataset = Path(out), data if isinstance(data, DataSet) else read_dataset(data)
    record = made_with(whole, settings, inputs, dataset, start_from=start_from, pseudo=pseudo, with_unlabelled=True)
    checkpoint = check_run_folder(out, resume, record)
    pair = new_pair(whole, dataset.table, inputs, settings.seed, start_from)
    check_checkpoint(pair, checkpoint, "pair")
    cases = prepared(
        dataset,
        settings,
        inputs,
        cache=Path(cache or out / "cases"),
        pseudo=pseudo,
        with_unlabelled=True,
        progress=progress,
    )
    module = CrossTraining(pair, settings, cases, inputs.windows)

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

    return run(module, stream, inputs, record, out=out, device=device, checkpoint=checkpoint, progress=progress)


def read_whole(config: str | Path) -> DictConfig:
    """A cps configuration with the network of the reference configuration that it names, and its input.

    Raises:
        InputError: no such configuration, a section that is missing or unknown, in it or in its reference.
    """
    own = read_config("cps", config)
    sections = settings_of(own, Configuration, str(config))
    taken = read_reference(sections.reference)
    return with_overrides(own, {"network": taken.network, "input": with_overrides(taken.input, sections.input)})
