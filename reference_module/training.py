"""Training a reference pair with labels: `keyslice train reference`.

Each network of the pair learns by itself, both in one run, from the same slices. A run lives in one folder:
`checkpoints/`, `csv/` and `tensorboard/` logs, `cases/` (the volumes as they are trained on), `run.json` (what the run
is made with), and at the end `<name>.safetensors`. Started again on the same folder it goes on from the newest
checkpoint that is whole, and ends with the weights that it would have had.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch.utils.data import IterableDataset

from networks.classes import mirrored_classes
from networks.runs import check_run_folder, counted
from networks.training.fitting import Stream, check_checkpoint, fit
from networks.training.made_with import made_with
from networks.training.pseudo_label import PseudoLabel
from networks.weights import load_exactly
from reference_module.labelled_stream import LabelledStream
from reference_module.learner import ReferenceTraining
from reference_module.models import InputSettings, build_pair, load_pair, save_pair
from reference_module.npz import load_npz
from reference_module.pair import Pair
from reference_module.training_cases import TrainingCases, open_cases
from reference_module.training_settings import TrainingSettings, read_sections, read_whole
from reference_module.transunet import TransUNet
from volumes.datasets import DataSet, read_dataset
from volumes.errors import InputError
from volumes.labels import LabelTable


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
    """Train the pair of `config` (a shipped name or a YAML file) and write its weights.

    Args:
        data: folder of a data set in nnU-Net raw or FLARE22 layout, or the data set itself.
        out: the run's folder. A run that stopped there goes on, unless `resume` is False and it is refused. A run of
            other data, settings or start weights is refused in any case.
        device: `auto`, `cpu`, `cuda` (all GPUs), `cuda:N` or `mps`.
        overrides: entries of the `training` section to replace, and under `input` those of the `input` section.
        start_from: weights of the same pair to begin with instead of random ones, for a new run, or the public
            R50-ViT-B/16 weights (`.npz`) for the encoder of a TransUNet of their sizes.
        pseudo: label maps that unlabelled cases are given, by case name.
        cache: folder of the prepared volumes, which runs may share; None: `cases` below `out`.

    Returns:
        The path of the weights, safetensors.

    Raises:
        InputError: data or configuration that cannot be trained on, or a run in the way.
    """
    whole = read_whole(config)
    settings, inputs = read_sections(whole, TrainingSettings, overrides, str(config))
    out, dataset = Path(out), data if isinstance(data, DataSet) else read_dataset(data)
    record = made_with(whole, settings, inputs, dataset, start_from=start_from, pseudo=pseudo)
    # What is wrong with a start or a checkpoint is said before volumes are prepared, which may take hours.
    checkpoint = check_run_folder(out, resume, record)
    pair = new_pair(whole, dataset.table, inputs, settings.seed, start_from)
    check_checkpoint(pair, checkpoint, "pair")
    cases = prepared(dataset, settings, inputs, cache=Path(cache or out / "cases"), pseudo=pseudo, progress=progress)
    module = ReferenceTraining(pair, settings, cases, inputs.windows)

    def stream(start: int, rank: int, ranks: int) -> IterableDataset:
        return labelled_stream(cases, settings, start, rank, ranks)

    return run(module, stream, inputs, record, out=out, device=device, checkpoint=checkpoint, progress=progress)


def prepared(
    dataset: DataSet,
    settings: TrainingSettings,
    inputs: InputSettings,
    *,
    cache: Path,
    pseudo: Mapping[str, str | Path | PseudoLabel] | None,
    with_unlabelled: bool = False,
    progress: bool,
) -> TrainingCases:
    """The cases of a run, with a bar that counts those that are prepared; see `open_cases`."""
    if settings.slices.flips == "swap":
        mirrored_classes(dataset.table)  # a structure without its other side is told before volumes are prepared
    with counted("preparing volumes", progress) as told:
        return open_cases(
            dataset,
            cache=cache,
            pixel=inputs.pixel,
            pseudo=pseudo,
            with_unlabelled=with_unlabelled,
            validate_on=settings.validation_cases if settings.validate_every else -1,
            workers=settings.workers,
            progress=told,
        )


def labelled_stream(
    cases: TrainingCases, settings: TrainingSettings, start: int, rank: int, ranks: int
) -> LabelledStream:
    """The labelled slices of a run from batch `start` on."""
    return LabelledStream(
        cases,
        settings=settings.slices,
        batch_size=settings.batch_size,
        pseudo_share=settings.pseudo_share,
        seed=settings.seed,
        start=start,
        rank=rank,
        ranks=ranks,
    )


def new_pair(
    whole: DictConfig, table: LabelTable, inputs: InputSettings, seed: int, start_from: str | Path | None
) -> Pair:
    """The configuration's pair for the structures of `table`, random by `seed` or with the weights of `start_from`.

    A public `.npz` file (see `npz`) gives the TransUNet its encoder; the rest stays random then.
    """
    torch.manual_seed(seed)
    pair = build_pair(whole, len(table) + 1, str(whole.get("name")))
    if start_from is not None and Path(start_from).suffix == ".npz":
        load_npz(_transunet_of(pair, start_from), start_from)
    elif start_from is not None:
        loaded = load_pair(start_from)
        if tuple(loaded.table.items()) != tuple(table.items()) and loaded.table.names() != table.names():
            raise InputError(
                start_from,
                found=f"weights for {', '.join(loaded.table.names())}",
                expected=f"those for {', '.join(table.names())}",
                fix="start from weights of the same structures, or from nothing",
            )
        if loaded.settings != inputs:
            raise InputError(
                start_from,
                found=f"weights for {_described(loaded.settings)}",
                expected=f"those for {_described(inputs)}",
                fix="set input.pixel and input.windows as they were, or start from nothing",
            )
        load_exactly(pair, start_from)
    return pair


def _described(inputs: InputSettings) -> str:
    pixel = "the file's own pixels" if inputs.pixel is None else f"pixels of {inputs.pixel:g} mm"
    return f"{pixel} and windows: {inputs.windows}"


def _transunet_of(pair: Pair, path: str | Path) -> TransUNet:
    for network in (pair.first, pair.second):
        if isinstance(network, TransUNet):
            return network
    raise InputError(
        path,
        found="weights of a TransUNet's encoder",
        expected="those of this pair, which has none",
        fix="choose a configuration with a TransUNet, or start from other weights",
    )


def run(
    module: ReferenceTraining,
    stream: Stream,
    inputs: InputSettings,
    record: Mapping[str, Any],
    *,
    out: Path,
    device: str,
    checkpoint: Path | None,
    progress: bool,
) -> Path:
    """Fit to the end and write `<name>.safetensors`; returns its path.

    Args:
        record: what the run is made with, see `made_with`; kept from before the first step on.
    """
    settings, name = module.settings, str(record["name"])
    trainer = fit(
        module,
        stream,
        settings,
        record,
        out=out,
        device=device,
        validation=len(module.cases.validation),
        gradient_clip=None,  # the module's own, network by network
        checkpoint=checkpoint,
        progress=progress,
    )
    weights = out / f"{name}.safetensors"
    if trainer.is_global_zero:
        told = {"model": name, "steps": str(trainer.global_step)}
        save_pair(module.trained, weights, module.cases.table, inputs, told)
    return weights
