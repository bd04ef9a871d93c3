"""Training on a GPU in half precision, with the scaler that a CPU has no use for: it learns, and it goes on."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cps.training import train
from reference_module.models import load_pair

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: GPU tests did not run"),
]


def _losses(run: Path, version: int) -> dict[int, float]:
    with (run / "csv" / f"version_{version}" / "metrics.csv").open(newline="") as lines:
        return {int(row["step"]): float(row["loss"]) for row in csv.DictReader(lines) if row.get("loss")}


def test_cross_supervision_in_half_precision_goes_on(
    training_set: Path, tiny_cps: Callable[..., Path], tmp_path: Path
) -> None:
    consistency = {"weight": 0.5, "ramp": 0.5, "mixed": 0.5, "teacher": "average"}
    config = tiny_cps(steps=6, precision="16-mixed", validate_every=6, consistency=consistency)

    def start() -> Path:
        return train(config, data=training_set, out=tmp_path / "run", device="cuda:0", progress=False)

    weights = start()
    whole, checkpoints = load_file(weights), tmp_path / "run" / "checkpoints"
    state = torch.load(checkpoints / "step=00000004.ckpt", map_location="cpu", weights_only=True)
    assert state["MixedPrecision"]["scale"] > 0, "the scaler is in the checkpoint"
    # As if it had been killed after the fourth step.
    (checkpoints / "step=00000006.ckpt").unlink()
    weights.unlink()
    again = load_file(start())
    first, second = _losses(tmp_path / "run", 0), _losses(tmp_path / "run", 1)
    assert sorted(first) == list(range(6)) and sorted(second) == [4, 5]
    assert all(math.isfinite(loss) for loss in first.values())
    for step, loss in second.items():
        assert loss == pytest.approx(first[step], rel=0.05), f"step {step}"
    # A GPU adds up in no fixed order.
    for name, tensor in whole.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(
                again[name], tensor, rtol=0.05, atol=0.02, msg=lambda told, at=name: f"{at}: {told}"
            )
    assert load_pair(weights).table.names() == ("left_ball", "right_ball", "tube")
