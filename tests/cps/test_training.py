"""Training by cross pseudo supervision: both networks at once, in every form, and exactly as if never killed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cps.training import CrossSettings, CrossTraining, train
from networks.configurations import read_config
from reference_module.models import load_pair
from reference_module.training import new_pair
from reference_module.training_cases import open_cases
from reference_module.training_settings import read_sections
from tests.training_runs import assert_same_bits_when_killed, logged
from volumes.datasets import read_dataset, split
from volumes.errors import InputError

Write = Callable[..., Path]


def _module(data: Path, cache: Path, reference: Path, config: Path, **consistency: Any) -> CrossTraining:
    whole = read_config("reference", reference)
    settings, inputs = read_sections(read_config("cps", config), CrossSettings, {"consistency": consistency}, "tiny")
    cases = open_cases(data, cache=cache, pixel=None, with_unlabelled=True)
    module = CrossTraining(new_pair(whole, cases.table, inputs, 0, None), settings, cases, "three")
    module.log = module.log_dict = lambda *a, **k: None  # type: ignore[method-assign]
    return module


def _batch() -> dict[str, dict[str, Tensor]]:
    torch.manual_seed(1)
    labels = torch.zeros(2, 32, 32, dtype=torch.int64)
    labels[:, 4:20, 4:20] = 1
    labelled = {
        "image": torch.rand(2, 3, 32, 32),
        "position": torch.rand(2),
        "label": labels,
        "known": torch.tensor([[True, True, True, True], [True, True, False, False]]),
    }
    return {"labelled": labelled, "unlabelled": {"image": torch.rand(3, 3, 32, 32), "position": torch.rand(3)}}


@pytest.mark.parametrize("name", ["small", "paper"])
def test_shipped_configurations_can_be_trained(name: str) -> None:
    settings, _ = read_sections(read_config("cps", name), CrossSettings, {}, name)
    assert settings.unlabelled_batch_size > 0 and settings.consistency.weight > 0
    if name == "paper":
        assert (settings.batch_size, settings.unlabelled_batch_size, settings.consistency.weight) == (2, 2, 0.1)


FORMS = [
    {"weight": 1.0, "ramp": 0.0},
    {"weight": 1.0, "ramp": 0.0, "labelled": True},
    {"weight": 1.0, "ramp": 0.0, "teacher": "average"},
    {"weight": 1.0, "ramp": 0.0, "mixed": 1.0},
    {"weight": 1.0, "ramp": 0.0, "mixed": 1.0, "teacher": "average", "certain": 0.3},
    {"weight": 0.0},
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("half", [False, True])
def test_every_parameter_learns_in_every_form(
    training_set: Path, tiny_config: Write, tiny_cps: Write, tmp_path: Path, form: dict[str, Any], half: bool
) -> None:
    """Also in half precision, where a pass without gradient must leave no weights behind for the one with."""
    module = _module(training_set, tmp_path, tiny_config(), tiny_cps(), **form).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = module.training_step(_batch(), 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert not [name for name, one in module.pair.named_parameters() if one.grad is None]
    assert all(part.training for part in module.pair.modules())


def test_each_learns_from_the_other(
    training_set: Path, tiny_config: Write, tiny_cps: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = _module(training_set, tmp_path, tiny_config(), tiny_cps(), weight=1.0, ramp=0.0).train()
    seen: list[tuple[Tensor, Tensor]] = []

    def watched(logits: Tensor, targets: Tensor) -> Tensor:
        seen.append((logits.detach(), targets))
        return logits.sum() * 0

    monkeypatch.setattr("cps.training.cross_loss", watched)
    module.training_step(_batch(), 0)
    (first, for_first), (second, for_second) = seen
    assert torch.equal(for_first, second.argmax(1)) and torch.equal(for_second, first.argmax(1))
    assert not torch.equal(for_first, for_second)
    assert len(first) == 3, "on the unlabelled slices alone"


def test_the_teacher_is_the_average_when_so_set(
    training_set: Path, tiny_config: Write, tiny_cps: Write, tmp_path: Path
) -> None:
    module = _module(training_set, tmp_path, tiny_config(), tiny_cps(), teacher="average").train()
    with torch.no_grad():
        for parameter in module.trained.parameters():
            parameter.zero_()
        module.trained.first.head.bias[2] = 1.0
    images, place = _batch()["unlabelled"]["image"], torch.zeros(3)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    first, second = module._targets(images, place)
    assert (first == 2).all() and (second == 0).all(), "what the averaged networks say"
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items()), "nothing is learnt"
    with pytest.raises(InputError, match="set training.averaging"):
        config = tiny_cps(averaging=0.0)
        _module(training_set, tmp_path, tiny_config(), config, teacher="average")


def test_it_trains_and_the_weight_rises_every_step(training_set: Path, tiny_cps: Write, tmp_path: Path) -> None:
    config = tiny_cps(steps=5, validate_every=4, consistency={"weight": 0.2, "mixed": 0.5, "teacher": "average"})
    dataset = split(read_dataset(training_set), 2, 0)
    pseudo = {"V": training_set / "labelsTr" / "A.nii.gz"}
    weights = train(config, data=dataset, out=tmp_path / "run", device="cpu", pseudo=pseudo, progress=False)
    assert load_pair(weights).table.names() == ("left_ball", "right_ball", "tube")
    rising = list(logged(tmp_path / "run", "consistency").values())
    assert len(rising) == 5 and rising == sorted(set(rising)), "by steps, not by epochs"
    assert rising[-1] < 0.2 and set(logged(tmp_path / "run", "validation_mean")) == {3}


def test_all_unlabelled_cases_may_have_got_pseudo_labels(training_set: Path, tiny_cps: Write, tmp_path: Path) -> None:
    pseudo = {name: training_set / "labelsTr" / "A.nii.gz" for name in ("U", "V", "W")}
    out = tmp_path / "run"
    train(tiny_cps(steps=2), data=training_set, out=out, device="cpu", pseudo=pseudo, progress=False)
    assert len(logged(out, "cross")) == 2


def test_what_cannot_be_trained_on_is_refused(training_set: Path, tiny_cps: Write, tmp_path: Path) -> None:
    def attempt(data: Any = training_set, **overrides: Any) -> None:
        train(tiny_cps(), data=data, out=tmp_path / "out", device="cpu", overrides=overrides, progress=False)

    with pytest.raises(InputError, match="no unlabelled case.*keyslice train reference"):
        attempt(replace(read_dataset(training_set), unlabelled=()))
    with pytest.raises(InputError, match="unlabeled_batch_size.*did you mean 'unlabelled_batch_size'"):
        attempt(unlabeled_batch_size=3)
    with pytest.raises(InputError, match=r"consistency\.teacher.*'student' or 'average'"):
        attempt(consistency={"teacher": "nobody"})
    config = tiny_cps()
    config.write_text(config.read_text(encoding="utf-8").replace("reference:", "referencee:"))
    with pytest.raises(InputError, match="found the key referencee; .*did you mean 'reference'"):
        train(config, data=training_set, out=tmp_path / "out", device="cpu", progress=False)


def test_killed_and_resumed_ends_with_the_same_bits(training_set: Path, tiny_cps: Write, tmp_path: Path) -> None:
    consistency = {"weight": 0.5, "ramp": 0.5, "mixed": 0.5, "teacher": "average"}
    config = tiny_cps(steps=12, precision="bf16-mixed", consistency=consistency)
    assert_same_bits_when_killed("cps.training", config, training_set, tmp_path)
