"""The methods' trainings, each in a folder of its own, all with the same cases; one that is done is not done again.

OUT/trained/METHOD/supervised, cross   of a pair
OUT/trained/METHOD/run                 of a 3D network or recipe
OUT/trained/METHOD/*.safetensors       what came of it
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from networks.locks import locked
from tools.benchmark.compare.settings import MethodSettings
from tools.benchmark.stages import check_made_with, seconds_of, timed
from volumes.datasets import DataSet
from volumes.errors import InputError

TRAINED = "trained"
_NOT_LEARNT = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Training:
    """What the trainings share.

    Attributes:
        dataset: labelled, unlabelled and validation cases; none of the report is among them.
        files: digest of these cases' files.
        out: folder of everything.
        device: a torch device.
        progress: show a bar for each training.
        tell: takes a line for each piece that is done.
    """

    dataset: DataSet
    files: str
    out: Path
    device: str
    progress: bool
    tell: Callable[[str], None]

    def folder(self, name: str) -> Path:
        """Of a method."""
        return self.out / TRAINED / name


@dataclass(frozen=True)
class Made:
    """What a training has made.

    Attributes:
        weights: None where there is nothing to train.
        seconds: of training; None: not known.
        gain: of a recipe over its own supervised start, mean Dice on the validation cases.
    """

    weights: Path | None
    seconds: float | None = 0.0
    gain: float | None = None


def train(name: str, method: MethodSettings, plan: Training) -> Made:
    """Train a method, go on with it, or see that it is there.

    Raises:
        InputError: it was begun with other settings or data, or cannot be trained.
    """
    if method.kind == "propagation":
        return Made(method.weights)
    if method.weights is not None:
        return Made(method.weights, seconds=None)
    folder = plan.folder(name)
    target = folder / f"{name}.safetensors"
    with locked(folder, plan.tell):
        check_made_with(folder, {"method": _decisive(method), "files": plan.files})
        if not target.exists():
            plan.tell(f"{name}: training {'goes on' if seconds_of(folder) else 'begins'}")
            with timed(folder):
                made = (_pair if method.kind == "pair" else _volume_network)(method, folder, plan)
                _put(made, target)
            for checkpoints in folder.rglob("checkpoints"):  # some times as large as the weights that came of them
                shutil.rmtree(checkpoints, ignore_errors=True)
        return Made(target, seconds_of(folder), _gain(folder))


def _decisive(method: MethodSettings) -> dict[str, Any]:
    """What a training depends on: not what the method is called, nor how cases are labelled then."""
    return {name: value for name, value in vars(replace(method, title="", options=())).items() if value not in ("", ())}


def _pair(method: MethodSettings, folder: Path, plan: Training) -> Path:
    """With labels, then by cross pseudo supervision; what the first has made is there when the second is killed."""
    from cps import training as cross
    from reference_module import training as supervised

    shared: dict[str, Any] = {"data": plan.dataset, "device": plan.device, "progress": plan.progress}
    shared["cache"] = plan.out / "cases"
    first = supervised.train(method.config, out=folder / "supervised", overrides=method.training, **shared)
    if method.cross is None:
        return first
    overrides = {**method.training, **method.cross}
    config = method.cross_config or method.config
    return cross.train(config, out=folder / "cross", overrides=overrides, start_from=first, **shared)


def _volume_network(method: MethodSettings, folder: Path, plan: Training) -> Path:
    from baseline3d import training as plain
    from baseline3d.recipes.run import train_recipe
    from baseline3d.training_settings import checked, read_whole

    shared: dict[str, Any] = {"out": folder / "run", "device": plan.device, "progress": plan.progress}
    if checked(read_whole(method.config, method.training), method.config).recipe:
        return train_recipe(method.config, data=plan.dataset, overrides=method.training, tell=plan.tell, **shared)
    dataset = replace(plan.dataset, unlabelled=())
    return plain.train(method.config, data=dataset, overrides=method.training, **shared)


def _put(made: Path, target: Path) -> None:
    from cps.journal import replace_file

    replace_file(target, partial(shutil.copyfile, made))


def _gain(folder: Path) -> float | None:
    report = folder / "run" / "report.json"
    return json.loads(report.read_text(encoding="utf-8")).get("gain") if report.exists() else None


def parameters_of(weights: Path) -> int:
    """How many parameters a weights file holds; running means and variances are none.

    Raises:
        InputError: not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="numpy") as file:
            names = file.keys()
            learnt = [name for name in names if not name.endswith(_NOT_LEARNT)]
            return sum(math.prod(file.get_slice(name).get_shape()) for name in learnt)
    except (SafetensorError, OSError) as error:
        raise InputError(weights, found=str(error), expected="a safetensors file", fix="check the file") from error
