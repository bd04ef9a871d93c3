"""Weights come back as they were saved, or not at all. Foreign files: tests/propagation_module/test_checkpoints.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from networks.metadata import read_metadata
from networks.weights import load_exactly, read_tensors, save_weights
from volumes.errors import InputError


def network(width: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width))


def test_round_trip_with_metadata(tmp_path: Path) -> None:
    source, target = network(seed=1), network(seed=2)
    save_weights(source, tmp_path / "a.safetensors", {"classes": "14"})
    load_exactly(target, tmp_path / "a.safetensors")
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, target.state_dict()[name]), name
    assert read_metadata(tmp_path / "a.safetensors") == {"classes": "14"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"], "nothing half-written is left"


def test_half_the_size(tmp_path: Path) -> None:
    source, target = network(seed=1), network(seed=2)
    save_weights(source, tmp_path / "a.safetensors", {}, dtype=torch.bfloat16)
    kept = read_tensors(tmp_path / "a.safetensors")
    assert kept["0.weight"].dtype == torch.bfloat16
    assert kept["1.num_batches_tracked"].dtype == torch.int64
    load_exactly(target, tmp_path / "a.safetensors")
    weight = target.state_dict()["0.weight"]
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight, source.state_dict()["0.weight"], rtol=2**-8, atol=0)


def test_weights_of_another_network_change_nothing(tmp_path: Path) -> None:
    source, target = network(4), network(3, seed=2)
    torch.save({**source.state_dict(), "2.extra": torch.zeros(1)}, tmp_path / "other.pth")
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_exactly(target, tmp_path / "other.pth")
    message = str(caught.value)
    assert "other.pth" in message and "1 unexpected (2.extra)" in message and "\n" not in message
    assert "0.weight is (4, 1, 3, 3) instead of (3, 1, 3, 3)" in message
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_missing_tensors_are_named(tmp_path: Path) -> None:
    tensors = network().state_dict()
    del tensors["1.running_mean"]
    torch.save(tensors, tmp_path / "less.pth")
    with pytest.raises(InputError, match=r"1 missing \(1.running_mean\)"):
        load_exactly(network(), tmp_path / "less.pth")


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    save_weights(network(), path, {})
    path.write_bytes(path.read_bytes()[:-8])
    for read in (read_tensors, read_metadata):
        with pytest.raises(InputError, match="cut.safetensors"):
            read(path)
