"""`keyslice train propagation|reference|cps|rounds|baseline3d`: from data and a configuration to weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tools.console import progress_bar, say
from tools.devices import choose_device
from tools.files import check_writable_folder, write_json
from volumes.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from reference_module.training_settings import TrainingSettings
    from volumes.datasets import DataSet

FINDINGS_NAME = "dataset.json"
"""In the run's folder: what the look into the data set found."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the person asked for. Lightning trains, on every GPU that `--device cuda` finds.

    Attributes:
        config: a configuration that ships (`small`) or a YAML file.
        data: folder of the training data.
        out: folder of the run, made if it is not there.
        device: `auto`, `cpu`, `cuda` (all GPUs), `cuda:N` or `mps`.
        resume: go on with a run that stopped in `out`.
        start_from: weights that a new run begins with.
        settings: `key=value` entries that replace those of the configuration's training section.
        quiet: no progress bar, no summary.
    """

    config: str
    data: Path
    out: Path
    device: str = "auto"
    resume: bool = True
    start_from: Path | None = None
    settings: list[str] = field(default_factory=list)
    quiet: bool = False


def train_propagation_command(job: Job) -> int:
    """Train a propagation network.

    Raises:
        InputError: data, configuration, device or folder that cannot be used.
    """
    from propagation_module.training import train

    overrides = _prepare(job)
    weights = train(
        job.config,
        data=job.data,
        out=job.out,
        device=job.device,
        resume=job.resume,
        start_from=job.start_from,
        overrides=overrides,
        progress=not job.quiet,
    )
    _done(job, weights)
    return 0


def train_reference_command(job: Job) -> int:
    """Train a reference pair on the labelled cases of a data set, after a look into all of its files.

    Raises:
        InputError: data, configuration, device or folder that cannot be used.
    """
    from reference_module.training import train
    from reference_module.training_settings import TrainingSettings, read_whole

    return _train_pair(job, read_whole, TrainingSettings, train)


def train_cps_command(job: Job) -> int:
    """Train a reference pair by cross pseudo supervision, on the unlabelled cases too.

    Raises:
        InputError: data, configuration, device or folder that cannot be used.
    """
    from cps.training import CrossSettings, read_whole, train

    return _train_pair(job, read_whole, CrossSettings, train)


def train_rounds_command(job: Job, start_from: Sequence[Path] = ()) -> int:
    """Train by rounds of cross pseudo supervision and pseudo-labels, on one device.

    Args:
        start_from: weights that members begin with, in turn.

    Raises:
        InputError: data, configuration, device or folder that cannot be used.
    """
    from cps.self_training import read_rounds_section, train_rounds
    from cps.training import CrossSettings, read_whole
    from networks.allocator import keep_freed_memory

    keep_freed_memory()  # members label whole volumes in this process
    for path in start_from:
        _check_weights(path)
    overrides = _prepare(job)
    training = {name: value for name, value in overrides.items() if name != "rounds"}
    _check_settings(job, read_whole, CrossSettings, training)
    read_rounds_section(job.config, overrides)
    device = choose_device(job.device)  # one of them: Lightning would start a process for each
    state = train_rounds(
        job.config,
        data=_checked(job),
        out=job.out,
        device=device,
        resume=job.resume,
        overrides=overrides,
        start_from=start_from,
        progress=not job.quiet,
        tell=(lambda line: None) if job.quiet else say,
    )
    best = state.best()
    if best is not None:
        _done(job, best.weights)
    return 0


def train_baseline3d_command(job: Job) -> int:
    """Train a 3D network on a data set, after a look into all of its files: by its recipe, or with labels alone.

    Raises:
        InputError: data, configuration, device or folder that cannot be used, or too little memory for a patch.
    """
    from baseline3d.recipes.run import check_recipe, train_recipe
    from baseline3d.training import train
    from baseline3d.training_settings import checked, read_whole
    from networks.allocator import keep_freed_memory

    overrides = _prepare(job)
    if checked(read_whole(job.config, overrides), job.config).recipe is None:
        return _fit(job, overrides, train)
    check_recipe(job.config, overrides)
    keep_freed_memory()  # members label whole volumes in this process
    weights = train_recipe(
        job.config,
        data=_checked(job),
        out=job.out,
        device=choose_device(job.device),  # one of them: Lightning would start a process for each
        resume=job.resume,
        start_from=job.start_from,
        overrides=overrides,
        progress=not job.quiet,
        tell=(lambda line: None) if job.quiet else say,
    )
    _done(job, weights)
    return 0


def _train_pair(
    job: Job, read_whole: Callable[[str], DictConfig], kind: type[TrainingSettings], train: Callable[..., Path]
) -> int:
    overrides = _prepare(job)
    _check_settings(job, read_whole, kind, overrides)
    return _fit(job, overrides, train)


def _fit(job: Job, overrides: Mapping[str, object], train: Callable[..., Path]) -> int:
    """Train on the data set, once it has been looked through."""
    weights = train(
        job.config,
        data=_checked(job),
        out=job.out,
        device=job.device,
        resume=job.resume,
        start_from=job.start_from,
        overrides=overrides,
        progress=not job.quiet,
    )
    _done(job, weights)
    return 0


def _prepare(job: Job) -> dict[str, object]:
    """Folders and device that can be used; returns the settings to replace."""
    overrides = _overrides(job.settings)
    if not job.data.is_dir():
        raise InputError(
            job.data, found="no such folder", expected="the folder of the training data", fix="check --data"
        )
    choose_device(job.device)
    if job.start_from is not None:
        _check_weights(job.start_from)
    if not job.out.exists():
        job.out.mkdir(parents=True)
    check_writable_folder(job.out)
    return overrides


def _check_weights(path: Path) -> None:
    if not path.is_file():
        raise InputError(path, found="no such file", expected="weights", fix="check --start-from")


def _check_settings(
    job: Job, read_whole: Callable[[str], DictConfig], kind: type[TrainingSettings], overrides: Mapping[str, object]
) -> None:
    """Before the look into the data set, which takes minutes for 2,000 cases: a typo shall not."""
    import torch

    from reference_module.models import build_pair
    from reference_module.training_settings import read_sections

    whole = read_whole(job.config)
    read_sections(whole, kind, overrides, job.config)
    with torch.device("meta"):  # no memory, no initialisation
        build_pair(whole, where=job.config)


def _checked(job: Job) -> DataSet:
    """The data set, after a look into every file of it: what is wrong there is said before anything costly starts.

    Of the processes that train together, which all run the whole command, the first alone looks.
    """
    from networks.runs import first_process
    from volumes.datasets import read_dataset
    from volumes.integrity import check_dataset

    dataset = read_dataset(job.data)
    if not first_process():
        return dataset
    with progress_bar("looking at the data", quiet=job.quiet) as progress:
        findings = check_dataset(dataset, progress)
    write_json(job.out / FINDINGS_NAME, findings.as_dict())
    if not job.quiet:
        say(f"{job.data}: {findings.summary()}; {job.out / FINDINGS_NAME}")
    return dataset


def _done(job: Job, weights: Path) -> None:
    from networks.runs import first_process

    if not job.quiet and first_process():
        print(weights)


def _overrides(settings: list[str]) -> dict[str, object]:
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for setting in settings:
        key, equals, _ = setting.partition("=")
        if not key or not equals:
            raise InputError(f"--set {setting}", found="no key=value", expected="such as steps=2000", fix="add the '='")
        try:
            OmegaConf.from_dotlist([setting])
        except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, LookupError) as error:
            raise InputError(
                f"--set {setting}",
                found="a value that is not YAML",
                expected="such as steps=2000, or betas=[0.9,0.99]",
                fix="close the brackets and quotes",
            ) from error
    content = OmegaConf.to_container(OmegaConf.from_dotlist(settings))
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}
