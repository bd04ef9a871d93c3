"""Training a 3D network with labels: `keyslice train baseline3d`.

A run lives in one folder: `checkpoints/`, `csv/` and `tensorboard/` logs, `cases/` (the volumes as they are trained
on), `run.json` (what the run is made with), and at the end `<name>.safetensors`. Started again on the same folder it
goes on from the newest checkpoint that is whole, and ends with the weights that it would have had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from baseline3d.boxes import Box
from baseline3d.cases import TrainingCases, open_cases
from baseline3d.description import Description
from baseline3d.distillation import DistillationSettings
from baseline3d.intensity import Figures
from baseline3d.learner import VolumeTraining
from baseline3d.memory import memory_for
from baseline3d.models import LoadedModel, build_network, load_model, plain, save_model
from baseline3d.patches import PatchStream
from baseline3d.snapshots import Snapshots, snapshot_of
from baseline3d.store import PreparedCase
from baseline3d.student import StudentTraining
from baseline3d.training_settings import Configuration, checked, read_whole
from networks.run_record import digest_of
from networks.runs import check_run_folder, counted
from networks.training.fitting import check_checkpoint, fit
from networks.training.made_with import made_with
from networks.training.pseudo_label import PseudoLabel
from networks.training.streams import LabelledBatches
from volumes.datasets import DataSet, read_dataset
from volumes.errors import InputError
from volumes.labels import LabelTable


class LabelledPatches(LabelledBatches):
    """Batches as `PatchStream` gives them, a share of each from pseudo-labelled cases, where there are any.

    Pseudo-labelled patches are augmented by the settings `strong` (Zhang, step 3).
    """

    def __init__(self, cases: TrainingCases, whole: Configuration, start: int, rank: int, ranks: int) -> None:
        settings = whole.training

        def stream(group: Sequence[PreparedCase], count: int, seed: int, pseudo: bool) -> PatchStream:
            return PatchStream(
                group,
                cases.table,
                inputs=whole.input,
                figures=cases.figures,
                settings=settings.patches,
                augmentation=(settings.strong if pseudo else None) or settings.augmentation,
                batch_size=count,
                seed=seed,
                rank=rank,
            )

        super().__init__(
            cases.labelled,
            cases.pseudo,
            stream,
            batch_size=settings.batch_size,
            pseudo_share=settings.pseudo_share,
            seed=settings.seed,
            start=start,
            rank=rank,
            ranks=ranks,
        )


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
    boxes: Mapping[str, Box] | None = None,
    coarse: str | Path | None = None,
    teacher: str | Path | None = None,
    snapshots: Sequence[float] = (),
) -> Path:
    """Train the network of `config` (a shipped name or a YAML file) and write its weights.

    Args:
        data: folder of a data set in nnU-Net raw or FLARE22 layout, or the data set itself.
        out: the run's folder. A run that stopped there goes on, unless `resume` is False and it is refused. A run of
            other data, settings or start weights is refused in any case.
        device: `auto`, `cpu`, `cuda` (all GPUs), `cuda:N` or `mps`.
        overrides: entries of the `training` section to replace, under `input` and `inference` those of these sections.
        start_from: weights of the same network to begin with instead of random ones, for a new run; the HU figures
            that they were made for stay.
        pseudo: label maps that unlabelled cases are given, by case name.
        cache: folder of the prepared volumes, which runs may share; None: `cases` below `out`.
        boxes: by case name, the part of it that is looked at where it is not the one that `input.crop` finds.
        coarse: weights of a network that finds this part in use; they become a part of the weights.
        teacher: weights of a network that is learnt from besides the labels (`training.distillation`).
        snapshots: shares of the run at which weights are kept, see `snapshot_of`.

    Returns:
        The path of the weights, safetensors.

    Raises:
        InputError: data or configuration that cannot be trained on, a run in the way, or too little memory.
    """
    section = read_whole(config, overrides)
    whole = checked(section, str(config))
    settings, out = whole.training, Path(out)
    dataset = data if isinstance(data, DataSet) else read_dataset(data)
    record = made_with(section, settings, whole.input, dataset, start_from=start_from, pseudo=pseudo)
    record |= {name: digest_of(path) for name, path in (("coarse", coarse), ("teacher", teacher)) if path is not None}
    if boxes:
        record["boxes"] = {name: [(side.start, side.stop) for side in box] for name, box in sorted(boxes.items())}
    # What is wrong with a start or a checkpoint is said before volumes are prepared, which may take hours.
    checkpoint = check_run_folder(out, resume, record)
    network, figures = new_network(whole, section, dataset.table, start_from)
    check_checkpoint(network, checkpoint, "network")
    with counted("preparing volumes", progress) as told:
        cases = open_cases(
            dataset,
            cache=Path(cache or out / "cases"),
            inputs=whole.input,
            figures=figures,
            pseudo=pseudo,
            validate_on=settings.validation_cases if settings.validate_every else -1,
            workers=settings.workers,
            progress=told,
            boxes=boxes,
        )
    module = _module(network, whole, cases, teacher)
    finder = None if coarse is None else load_model(coarse)
    return _run(
        module,
        whole,
        record,
        finder,
        snapshots,
        out=out,
        device=device,
        checkpoint=checkpoint,
        progress=progress,
    )


def new_network(
    whole: Configuration, section: DictConfig, table: LabelTable, start_from: str | Path | None
) -> tuple[nn.Module, Figures | None]:
    """The configuration's network, random by its seed or with the weights of `start_from`, and the figures of these.

    Raises:
        InputError: weights of other structures, another network or another intensity rule.
    """
    torch.manual_seed(whole.training.seed)
    network = build_network(whole.network, len(table))
    if start_from is None:
        return network, None
    loaded = start_weights(start_from, whole, section, table)
    network.load_state_dict(loaded.network.state_dict())
    return network, loaded.figures


def start_weights(start_from: str | Path, whole: Configuration, section: DictConfig, table: LabelTable) -> LoadedModel:
    """Weights that the configuration's network can begin with; raises InputError as `new_network`."""
    loaded = load_model(start_from)
    for what, theirs, ours in (
        ("structures", loaded.table.names(), table.names()),
        ("network", loaded.described.network, plain(section.network)),
        ("intensity rule", loaded.settings.intensity, whole.input.intensity),
    ):
        if theirs != ours:
            raise InputError(
                start_from,
                found=f"weights of another {what}: {theirs}",
                expected=f"{ours}",
                fix="start from weights of the same, or from nothing",
            )
    return loaded


def _module(
    network: nn.Module, whole: Configuration, cases: TrainingCases, teacher: str | Path | None
) -> VolumeTraining:
    settings = whole.training
    arguments = (network, whole.network["head"], settings, cases, whole.input, whole.inference)
    if teacher is None:
        return VolumeTraining(*arguments)
    distillation = settings.distillation or DistillationSettings()
    return StudentTraining(*arguments, teacher=load_model(teacher), distillation=distillation)


def _run(
    module: VolumeTraining,
    whole: Configuration,
    record: Mapping[str, Any],
    coarse: LoadedModel | None,
    snapshots: Sequence[float],
    *,
    out: Path,
    device: str,
    checkpoint: Path | None,
    progress: bool,
) -> Path:
    """Fit to the end and write `<name>.safetensors`; returns its path."""
    settings, cases = module.settings, module.cases
    weights = out / f"{whole.name}.safetensors"
    described = Description(plain(whole.network), cases.table, whole.input, whole.inference, cases.figures)

    def save(path: Path, steps: int) -> None:
        save_model(module.trained, described, path, {"model": whole.name, "steps": str(steps)}, coarse)

    kept = Snapshots(snapshots, settings.steps, lambda share, step: save(snapshot_of(weights, share), step))
    sides = " x ".join(map(str, whole.input.patch))
    with memory_for(f"{settings.batch_size} patches of {sides} voxels", "training: batch_size, or input: patch"):
        trainer = fit(
            module,
            lambda start, rank, ranks: LabelledPatches(cases, whole, start, rank, ranks),
            settings,
            record,
            out=out,
            device=device,
            validation=len(cases.validation),
            gradient_clip=settings.gradient_clip or None,
            checkpoint=checkpoint,
            progress=progress,
            callbacks=[kept],
        )
    if trainer.is_global_zero:
        save(weights, trainer.global_step)
    return weights
