"""Going on with a run: only with the same one, and what is wrong is said before volumes are prepared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cps import training as cross
from networks.run_record import RECORD
from networks.runs import newest_checkpoint
from reference_module import training as supervised
from reference_module.slices import open_store
from reference_module.training import train
from reference_module.training_cases import open_cases
from volumes.datasets import DataSet, read_dataset, split
from volumes.errors import InputError
from volumes.labels import Label, LabelTable

Write = Callable[..., Path]


@pytest.fixture
def finished(training_set: Path, tiny_config: Write, tmp_path: Path) -> Path:
    """A run of two steps that is over."""
    train(tiny_config(steps=2), data=training_set, out=tmp_path / "run", device="cpu", progress=False)
    return tmp_path / "run"


@pytest.fixture
def nothing_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, preparing volumes is an error."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("volumes are prepared")

    for module in (supervised, cross):
        monkeypatch.setattr(module, "prepared", refuse)


def _again(config: Path, data: Any, out: Path, **more: Any) -> Path:
    return train(config, data=data, out=out, device="cpu", progress=False, **more)


def _renamed(dataset: DataSet) -> DataSet:
    labels = [Label(number, f"other_{number}", (number, 2, 3)) for number in dataset.table]
    return replace(dataset, table=LabelTable(labels, "other"))


def _without(dataset: DataSet) -> DataSet:
    return replace(dataset, training=dataset.training[:2])


def _other_files(dataset: DataSet) -> DataSet:
    """The names stay, and the files are others."""
    first, second, *rest = dataset.training
    swapped = replace(first, label=second.label), replace(second, label=first.label)
    return replace(dataset, training=(*swapped, *rest))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (_renamed, "structures.1 was left_ball, is other_1"),
        (_without, "cases.C was {.*is nothing"),
        (_other_files, "cases.A.labels was A.nii.gz .*is B.nii.gz"),
    ],
)
def test_a_run_of_other_data_is_refused(
    finished: Path, nothing_prepared: None, training_set: Path, tiny_config: Write, data: Callable, told: str
) -> None:
    with pytest.raises(InputError, match=f"{told}.*choose another --out, or delete the folder") as error:
        _again(tiny_config(steps=2), data(read_dataset(training_set)), finished)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 4}, "training.seed was 3, is 4;"),
        ({"steps": 9}, "training.steps was 2, is 9;"),
        ({"slices": {"rare": 0.25}}, "training.slices.rare was 0.5, is 0.25;"),
        ({"input": {"windows": "one"}}, "input.windows was three, is one;"),
    ],
)
def test_a_run_of_other_settings_is_refused(
    finished: Path, nothing_prepared: None, training_set: Path, tiny_config: Write, changes: dict, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        _again(tiny_config(steps=2), training_set, finished, overrides=changes)


def test_a_run_of_another_pair_or_start_is_refused(
    finished: Path, nothing_prepared: None, training_set: Path, tiny_config: Write
) -> None:
    config = tiny_config(steps=2)
    with pytest.raises(InputError, match="start_from was nothing, is [0-9a-f]{64};"):
        _again(config, training_set, finished, start_from=finished / "tiny.safetensors")
    with pytest.raises(InputError, match="found a run; expected an empty folder"):
        _again(config, training_set, finished, resume=False)
    config.write_text(config.read_text(encoding="utf-8").replace("heads: 2", "heads: 4"))  # tensors of the same shapes
    with pytest.raises(InputError, match="network.first.heads was 2, is 4;"):
        _again(config, training_set, finished)


def test_what_the_weights_do_not_depend_on_may_change(finished: Path, training_set: Path, tiny_config: Write) -> None:
    before = load_file(finished / "tiny.safetensors")
    changes = {"checkpoint_every": 1, "log_every": 2, "workers": 1, "validate_every": 2, "validation_cases": 1}
    after = load_file(_again(tiny_config(steps=2), training_set, finished, overrides=changes))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_checkpoint_of_other_tensors_is_refused(
    finished: Path, nothing_prepared: None, training_set: Path, tiny_config: Write
) -> None:
    checkpoint = newest_checkpoint(finished / "checkpoints")
    assert checkpoint is not None
    content = torch.load(checkpoint, weights_only=True)
    del content["state_dict"][next(name for name in content["state_dict"] if name.startswith("pair."))]
    torch.save(content, checkpoint)
    with pytest.raises(InputError, match="a run of another pair: 1 missing"):
        _again(tiny_config(steps=2), training_set, finished)


def test_labels_of_another_round_are_other_data(training_set: Path, tiny_cps: Write, tmp_path: Path) -> None:
    dataset = split(read_dataset(training_set), 2, 0)

    def start(name: str, **pseudo: Path) -> None:
        cross.train(tiny_cps(steps=2), data=dataset, out=tmp_path / name, device="cpu", pseudo=pseudo, progress=False)

    one, other = (training_set / "labelsTr" / f"{name}.nii.gz" for name in "AB")
    start("run", V=one)
    start("run", V=one)
    with pytest.raises(InputError, match="cases.V.labels was A.nii.gz"):
        start("run", V=other)
    with pytest.raises(InputError, match="cases.V.as was pseudo-labelled, is unlabelled"):
        start("run")
    record = json.loads((tmp_path / "run" / RECORD).read_text(encoding="utf-8"))
    assert set(record["cases"]) == {case.name for case in (*dataset.training, *dataset.unlabelled)}


def test_a_start_that_does_not_fit_is_refused_first(
    finished: Path, nothing_prepared: None, training_set: Path, tiny_config: Write, tmp_path: Path
) -> None:
    weights, config = finished / "tiny.safetensors", tiny_config(steps=2)

    def start(told: str, start_from: Path, data: Any = training_set, **overrides: Any) -> None:
        with pytest.raises(InputError, match=told) as error:
            _again(config, data, tmp_path / "new", start_from=start_from, overrides=overrides)
        assert "\n" not in str(error.value)

    start("weights for left_ball, .*those for other_1", weights, _renamed(read_dataset(training_set)))
    start("windows: three; expected .*windows: one", weights, input={"windows": "one"})
    start("file's own pixels and.*expected those for pixels of 3 mm", weights, input={"pixel": 3.0})
    short = tmp_path / "short.safetensors"
    short.write_bytes(weights.read_bytes()[:-1000])
    start("short.safetensors", short)
    start("no readable file", tmp_path / "none.safetensors")
    config.write_text(config.read_text(encoding="utf-8").replace("hidden: 32", "hidden: 64"))
    start("weights that do not fit", weights)


def test_the_average_holds_every_step(finished: Path) -> None:
    """The last one too, in the checkpoint and in the weights."""
    state = torch.load(finished / "checkpoints" / "step=00000002.ckpt", weights_only=True)["state_dict"]
    assert state["average.n_averaged"] == 2
    for name, tensor in load_file(finished / "tiny.safetensors").items():
        assert torch.equal(state[f"average.module.{name}"], tensor), name
    assert not torch.equal(state["average.module.first.head.bias"], state["pair.first.head.bias"])


def test_volumes_are_prepared_by_workers_and_counted(
    training_set: Path, tiny_cps: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    used = []

    def watched(cases: Any, table: Any, cache: Any, pixel: Any, progress: Any = None, workers: int = 0) -> Any:
        used.append(workers)
        return open_store(cases, table, cache, pixel, progress)

    monkeypatch.setattr("reference_module.training_cases.open_store", watched)
    steps: list[tuple[int, int]] = []
    more: dict[str, Any] = {"pixel": None, "with_unlabelled": True, "progress": lambda *step: steps.append(step)}
    open_cases(training_set, cache=tmp_path / "cases", workers=3, **more)
    assert steps == [(done, 8) for done in range(1, 9)] and set(used) == {3}
    shutil.rmtree(tmp_path / "cases")
    used.clear()
    config = tiny_cps(steps=1, workers=2)
    cross.train(config, data=training_set, out=tmp_path / "run", device="cpu", progress=True)
    assert set(used) == {2} and "preparing volumes: 100%" in capsys.readouterr().err
