"""Weights on the way through a training: those of the very steps that were asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from baseline3d.models import load_model
from baseline3d.snapshots import Snapshots, snapshot_of
from baseline3d.training import train
from volumes.errors import InputError

Write = Callable[..., Path]


def test_they_are_the_weights_of_their_steps(training_set: Path, tiny_recipe: Write, tmp_path: Path) -> None:
    config, run = tiny_recipe({"kind": "gao"}, steps=6, checkpoint_every=2), tmp_path / "run"
    options = {"data": training_set, "device": "cpu", "progress": False, "cache": tmp_path / "cases"}
    weights = train(config, out=run, snapshots=(1 / 3, 2 / 3), **options)
    first, second = (snapshot_of(weights, share) for share in (1 / 3, 2 / 3))
    assert [first.name, second.name] == ["tiny-33.safetensors", "tiny-67.safetensors"]
    checkpoint = torch.load(run / "checkpoints" / "step=00000004.ckpt", weights_only=True)["state_dict"]
    for name, tensor in load_file(second).items():
        assert torch.equal(tensor, checkpoint[f"network.{name}"])
    assert any(not torch.equal(tensor, load_file(second)[name]) for name, tensor in load_file(first).items())
    assert load_model(first).described == load_model(weights).described

    # A run that died after the checkpoint of its fourth step goes on, and what it has stays as it is.
    made = second.stat().st_mtime_ns
    (run / "checkpoints" / "step=00000006.ckpt").unlink()
    train(config, out=run, snapshots=(1 / 3, 2 / 3), **options)
    assert second.stat().st_mtime_ns == made


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_shares_that_are_none(share: float) -> None:
    with pytest.raises(InputError, match="snapshots"):
        Snapshots([share], 10, lambda share, step: None)


def test_a_run_of_few_steps_has_them_too() -> None:
    assert Snapshots([0.1, 1 / 3], 2, lambda share, step: None).at == {0.1: 1, 1 / 3: 1}
