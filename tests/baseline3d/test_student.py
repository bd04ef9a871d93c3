"""A student learns from a teacher: the loss by hand, what the teacher is shown, and that it stays as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from baseline3d.description import Description
from baseline3d.distillation import DistillationSettings, distillation_loss
from baseline3d.intensity import IntensitySettings
from baseline3d.models import LoadedModel
from baseline3d.preparation import InputSettings
from baseline3d.sliding import WindowSettings
from baseline3d.student import answers, check_alike, teacher_patch
from baseline3d.training import train
from tests.training_runs import logged
from volumes.errors import InputError
from volumes.labels import Label, LabelTable

Write = Callable[..., Path]
RULE = IntensitySettings("range")


def test_the_loss_by_hand_behind_a_softmax() -> None:
    """Teacher 3:1, student 1:1, at temperature 1: 3/4 log(3/2) + 1/4 log(1/2)."""
    teacher = torch.tensor([[math.log(3.0), 0.0]]).view(1, 2, 1)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert distillation_loss(torch.zeros(1, 2, 1), teacher, "softmax", 1.0).item() == pytest.approx(expected, rel=1e-5)
    assert distillation_loss(torch.zeros(1, 2, 1), 2 * teacher, "softmax", 2.0).item() == pytest.approx(
        4 * expected, rel=1e-5
    )


def test_the_loss_by_hand_behind_a_sigmoid() -> None:
    """Two channels, of which the student has one right: that of the other is 3/4 log(3/2) + 1/4 log(1/2)."""
    teacher = torch.tensor([[math.log(3.0), -2.0]]).view(1, 2, 1)
    student = torch.tensor([[0.0, -2.0]]).view(1, 2, 1)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert distillation_loss(student, teacher, "sigmoid", 1.0).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_it_is_least_where_both_say_the_same_and_leads_there(head: str) -> None:
    teacher = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(1)) * 3
    student = torch.zeros_like(teacher, requires_grad=True)
    assert distillation_loss(teacher, teacher, head, 2.0).item() == pytest.approx(0, abs=1e-6)
    optimizer = torch.optim.Adam([student], 0.1)
    losses = []
    for _ in range(150):
        loss = distillation_loss(student, teacher, head, 2.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.1 and losses[-1] < 0.02 * losses[0]
    assert torch.isfinite(distillation_loss(100 * teacher, -100 * teacher, head, 1.0))


class Recorded(nn.Module):
    """Says what it is shown: one channel, the image."""

    multiple = (2, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.shapes.append(tuple(image.shape[2:]))
        return image


def model(**settings: object) -> LoadedModel:
    inputs = InputSettings(**{"patch": (4, 8, 8), "intensity": RULE, **settings})  # type: ignore[arg-type]
    table = LabelTable([Label(1, "liver", (1, 1, 1))], "one")
    return LoadedModel(Recorded(), Description({"head": "sigmoid"}, table, inputs, WindowSettings(), None))


def test_a_teacher_of_finer_voxels_is_shown_more_of_them() -> None:
    """3 mm for the student, 1.5 for the teacher; then one shape for all, and a teacher of the file's own voxels."""
    student = InputSettings((4, 8, 12), RULE, spacing=(3.0, 3.0, 3.0))
    assert teacher_patch(model(spacing=(3.0, 1.5, 1.5)), student) == (4, 16, 24)
    assert teacher_patch(model(spacing=(30.0, 3.0, 2.9)), student) == (2, 8, 12), "as its network can take it"
    one_shape = InputSettings((8, 8, 8), RULE, shape=(8, 8, 8))
    assert teacher_patch(model(shape=(12, 16, 16), patch=(12, 16, 16)), one_shape) == (12, 16, 16)
    assert teacher_patch(model(), InputSettings((4, 8, 12), RULE)) == (4, 8, 12)
    network = Recorded()
    image = torch.linspace(0, 1, 12).expand(1, 1, 4, 8, 12)
    found = answers(network, image, (4, 16, 24))
    assert network.shapes == [(4, 16, 24)] and found.shape == image.shape
    torch.testing.assert_close(found[..., 1:-1], image[..., 1:-1], atol=1e-5, rtol=0)
    assert answers(network, image, (4, 8, 12)) is image


@pytest.mark.parametrize(
    ("teacher", "told"),
    [
        (("softmax", InputSettings((4, 8, 8), RULE)), "another head than the student's: softmax; expected sigmoid"),
        (("sigmoid", InputSettings((4, 8, 8), IntensitySettings("clip"))), "another intensity rule"),
        (("sigmoid", InputSettings((4, 8, 8), RULE, shape=(4, 8, 8))), "another kind of grid.*one shape"),
    ],
)
def test_a_teacher_that_is_asked_something_else(teacher: tuple, told: str) -> None:
    with pytest.raises(InputError, match=told):
        check_alike(teacher[0], "sigmoid", teacher[1], InputSettings((4, 8, 8), RULE))


def test_a_student_in_training(training_set: Path, taught_3d: Path, tiny_recipe: Write, tmp_path: Path) -> None:
    """Pulled to a taught teacher with all weight and no labels' gain, a student of its size comes nearer to it."""
    before = {name: tensor.clone() for name, tensor in load_file(taught_3d).items()}
    config = tiny_recipe({"kind": "gao"}, steps=25, checkpoint_every=25, distillation={"weight": 50.0})
    rate = {"optimizer": {"learning_rate": 1e-2}, "network": {"filters": [4, 8, 8]}}
    run = tmp_path / "run"
    weights = train(config, data=training_set, out=run, device="cpu", teacher=taught_3d, overrides=rate, progress=False)
    losses = list(logged(run, "distillation").values())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert all(torch.equal(tensor, load_file(taught_3d)[name]) for name, tensor in before.items())
    (checkpoint,) = (run / "checkpoints").glob("*.ckpt")
    kept = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in kept} == {"network"}, "the teacher is not saved with each checkpoint"
    assert sum(one.numel() for one in load_file(weights).values()) < 0.5 * sum(one.numel() for one in before.values())
    with pytest.raises(InputError, match="a run of something else: teacher was"):
        train(config, data=training_set, out=run, device="cpu", teacher=weights, overrides=rate, progress=False)


def test_settings_that_will_not_do() -> None:
    with pytest.raises(InputError, match="training.distillation.temperature"):
        DistillationSettings(temperature=0.0)
