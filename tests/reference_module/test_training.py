"""Supervised training: what it refuses, that it learns, and that a killed run ends with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from safetensors.torch import load_file

from networks.configurations import read_config
from networks.training.fitting import StreamData
from reference_module.labelled_stream import LabelledStream
from reference_module.learner import ReferenceTraining
from reference_module.models import InputSettings, load_pair
from reference_module.slice_streams import SliceSettings
from reference_module.training import labelled_stream, new_pair, train
from reference_module.training_cases import TrainingCases, open_cases
from reference_module.training_settings import TrainingSettings, read_sections
from tests.training_runs import assert_same_bits_when_killed, logged
from volumes.datasets import read_dataset, split
from volumes.errors import InputError

Write = Callable[..., Path]


def _cases(data: Path, cache: Path, **more: object) -> TrainingCases:
    return open_cases(data, cache=cache, pixel=None, **more)  # type: ignore[arg-type]


def _module(config: Path, cases: TrainingCases) -> ReferenceTraining:
    whole = read_config("reference", config)
    settings, inputs = read_sections(whole, TrainingSettings, {}, "tiny")
    pair = new_pair(whole, cases.table, inputs, settings.seed, None)
    return ReferenceTraining(pair, settings, cases, inputs.windows)


@pytest.mark.parametrize("name", ["small", "paper"])
def test_shipped_configurations_can_be_trained(name: str) -> None:
    settings, inputs = read_sections(read_config("reference", name), TrainingSettings, {"steps": 7}, name)
    assert settings.steps == 7 and settings.slices.windows == inputs.windows == "three"
    assert settings.losses.dice > 0 and settings.losses.cross_entropy > 0


def test_windows_can_be_replaced() -> None:
    settings, inputs = read_sections(
        read_config("reference", "small"), TrainingSettings, {"input": {"windows": "one"}}, "small"
    )
    assert settings.slices.windows == inputs.windows == "one" and inputs.pixel == 2.0


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"stepps": 5}, "stepps.*did you mean 'steps'"),
        ({"steps": "many"}, r"training\.steps.*'many'.*a whole number"),
        ({"slices": {"sise": 64}}, r"training\.slices.*sise"),
        ({"losses": {"dice": "much"}}, r"losses\.dice.*a number"),
        ({"schedule": "cosine"}, r"schedule.*'halve' or 'one_cycle'"),
        ({"slices": {"windows": "one"}}, "set input.windows"),
        ({"input": {"pixel": "wide"}}, r"input\.pixel"),
        ({"steps": 0}, r"training\.steps: found 0; expected 1 or more"),
        ({"averaging": 1.0}, r"training\.averaging"),
    ],
)
def test_settings_that_do_not_exist_are_refused(
    training_set: Path, tiny_config: Write, tmp_path: Path, overrides: dict, told: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=told) as error:
        train(tiny_config(), data=training_set, out=out, device="cpu", overrides=overrides, progress=False)
    assert "\n" not in str(error.value) and not out.exists()


def test_data_without_labels_or_without_a_structure_are_refused(training_set: Path, tmp_path: Path) -> None:
    dataset = read_dataset(training_set)
    with pytest.raises(InputError, match="no labelled case.*add label maps"):
        _cases(replace(dataset, training=()), tmp_path)  # type: ignore[arg-type]
    only = tuple(case for case in dataset.training if case.name == "C")
    with pytest.raises(InputError, match="no labelled case with tube") as error:
        _cases(replace(dataset, training=only), tmp_path)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_pseudo_labels_join_the_labelled_slices(training_set: Path, tmp_path: Path) -> None:
    dataset = split(read_dataset(training_set), 2, 0)
    pseudo = {"V": training_set / "labelsTr" / "A.nii.gz"}
    cases = _cases(dataset, tmp_path, pseudo=pseudo, with_unlabelled=True)  # type: ignore[arg-type]
    assert [case.name for case in cases.pseudo] == ["V"]
    assert "V" not in {case.name for case in cases.unlabelled} and len(cases.unlabelled) == 3
    settings = SliceSettings(size=32)
    stream = LabelledStream(cases, settings=settings, batch_size=5, pseudo_share=0.4, seed=1)
    assert [(one.batch_size, {case.name for case in one.cases}) for one in stream.streams] == [
        (3, {case.name for case in cases.labelled}),
        (2, {"V"}),
    ]
    batch = stream.batch(0)
    assert batch["image"].shape == (5, 3, 32, 32) and batch["label"].shape == (5, 32, 32)
    for name, told in (("nobody", "no unlabelled case"), ("A", "no unlabelled case"), ("V", "no such file")):
        with pytest.raises(InputError, match=told):
            _cases(read_dataset(training_set), tmp_path, pseudo={name: tmp_path / "none.nii.gz"})  # type: ignore[arg-type]


def test_a_few_steps_learn(training_set: Path, tiny_config: Write, tmp_path: Path) -> None:
    config = tiny_config(steps=40, learning_rate=1e-2, validate_every=40, checkpoint_every=40)
    weights = train(config, data=training_set, out=tmp_path / "run", device="cpu", progress=False)
    losses = list(logged(tmp_path / "run", "loss").values())
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    loaded = load_pair(weights)
    assert loaded.table.names() == ("left_ball", "right_ball", "tube") and loaded.settings.windows == "three"
    (dice,) = logged(tmp_path / "run", "validation_mean").values()
    assert dice == logged(tmp_path / "run", "best_dice")[39] and 0.05 < dice <= 1


def test_killed_and_resumed_ends_with_the_same_bits(training_set: Path, tiny_config: Write, tmp_path: Path) -> None:
    assert_same_bits_when_killed("reference_module.training", tiny_config(steps=12, workers=1), training_set, tmp_path)


def test_a_run_can_start_from_weights(training_set: Path, tiny_config: Write, tmp_path: Path) -> None:
    first = train(tiny_config(steps=2), data=training_set, out=tmp_path / "run", device="cpu", progress=False)
    table = read_dataset(training_set).table
    pair = new_pair(read_config("reference", tiny_config()), table, InputSettings(), 99, first)
    for name, tensor in load_file(first).items():
        assert torch.equal(pair.state_dict()[name], tensor), name


def test_every_parameter_learns_even_from_air(training_set: Path, tiny_config: Write, tmp_path: Path) -> None:
    """Several GPUs wait for every gradient; DDP is not told to look for unused ones."""
    module = _module(tiny_config(averaging=0.0), _cases(training_set, tmp_path))
    module.log = module.log_dict = lambda *a, **k: None  # type: ignore[method-assign]
    batch = {
        "image": torch.zeros(2, 3, 32, 32),
        "position": torch.zeros(2),
        "label": torch.zeros(2, 32, 32, dtype=torch.int64),
        "known": torch.tensor([[True, True, True, False], [True, False, False, False]]),
    }
    loss = module.training_step(batch, 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert not [name for name, one in module.pair.named_parameters() if one.grad is None]


def test_networks_do_not_touch_each_other(training_set: Path, tiny_config: Write, tmp_path: Path) -> None:
    """One network's gradient, however large, leaves the other's step as it is: clipped by its own norm."""
    module = _module(tiny_config(), _cases(training_set, tmp_path))
    for network, size in ((module.pair.first, 1e4), (module.pair.second, 1e-4)):
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, size)
    module.configure_gradient_clipping(None)
    norms = [
        torch.nn.utils.get_total_norm([p.grad for p in network.parameters()])  # type: ignore[misc]
        for network in (module.pair.first, module.pair.second)
    ]
    assert norms[0] == pytest.approx(1.0, rel=1e-3)
    assert all((p.grad == 1e-4).all() for p in module.pair.second.parameters())  # type: ignore[union-attr]


class _Scaler(torch.amp.GradScaler):
    """Counts."""

    def __init__(self) -> None:
        super().__init__("cpu", init_scale=256.0)
        self.updates = 0

    def update(self, new_scale: object = None) -> None:
        self.updates += 1
        super().update(new_scale)  # type: ignore[arg-type]


def test_the_scaler_is_updated_once_a_step(training_set: Path, tiny_config: Write, tmp_path: Path) -> None:
    scaler = _Scaler()
    cases = _cases(training_set, tmp_path)
    module = _module(tiny_config(steps=3), cases)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=3,
        plugins=[MixedPrecision("16-mixed", "cpu", scaler)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    settings = module.settings
    trainer.fit(module, StreamData(lambda *place: labelled_stream(cases, settings, *place), 0, 0))
    assert scaler.updates == 3 and trainer.global_step == 3
