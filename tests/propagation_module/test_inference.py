"""A network made ready for use says what it said before, in any precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from networks.inference import computes_bfloat16
from propagation_module.checkpoints import build_network, load_network
from propagation_module.inference import dtype_of, prepare
from propagation_module.local_stcn import LocalSTCN, Prior, places
from propagation_module.stcn import STCN
from volumes.errors import InputError

CPU = torch.device("cpu")


def _probabilities(network: LocalSTCN) -> torch.Tensor:
    """A slice labelled from itself, its structure moved by four pixels."""
    dtype = dtype_of(network)
    generator = torch.Generator().manual_seed(5)
    image = nn.functional.interpolate(torch.rand(1, 3, 24, 24, generator=generator), scale_factor=4, mode="bilinear")
    mask = torch.zeros(1, 1, 96, 96)
    mask[..., 30:60, 36:66] = 1
    moved = torch.roll(mask, 4, 3)
    with torch.inference_mode():
        features = network.encode_key(image.to(dtype))
        value = network.encode_value(image.to(dtype), features, mask.to(dtype))
        place = places(96, 96, torch.tensor([1.5]), torch.tensor([0.0]))
        found = network.read(features.key, place, features.key.flatten(2), value.flatten(2), place.flatten(2))
        prior = Prior(moved.to(dtype), ((moved * 2 - 1) * 10).to(dtype), torch.tensor([[3.0, 3.0, 0.0]]))
        return torch.sigmoid(network.decode(image.to(dtype), features, found, prior).logits)


def test_folding_changes_nothing_but_rounding() -> None:
    network = load_network("small")
    assert isinstance(network, LocalSTCN)
    before = _probabilities(network)
    ready = prepare(network, CPU, "float32")
    assert not [module for module in ready.modules() if isinstance(module, nn.BatchNorm2d)]
    assert isinstance(ready, LocalSTCN)
    torch.testing.assert_close(_probabilities(ready), before, rtol=0, atol=2e-5)
    assert [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)], "the original stays"


def test_bfloat16_is_close_and_keeps_its_scales() -> None:
    network = load_network("small")
    assert isinstance(network, LocalSTCN)
    half = prepare(network, CPU, "bfloat16")
    assert isinstance(half, LocalSTCN)
    assert dtype_of(half) == torch.bfloat16 and half.log_place.dtype == torch.float32
    exact, rounded = _probabilities(network), _probabilities(half)
    assert (exact - rounded).abs().max() < 0.05
    assert ((exact > 0.5) != (rounded > 0.5)).float().mean() < 0.002


def test_auto_is_bfloat16_only_where_the_processor_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_network("small")
    monkeypatch.setattr("propagation_module.inference.computes_bfloat16", lambda device: False)
    assert dtype_of(prepare(network, CPU)) == torch.float32
    monkeypatch.setattr("propagation_module.inference.computes_bfloat16", lambda device: True)
    assert dtype_of(prepare(network, CPU)) == torch.bfloat16


def test_auto_leaves_a_network_alone_that_bfloat16_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("propagation_module.inference.computes_bfloat16", lambda device: True)
    network = build_network("small")
    assert isinstance(network, LocalSTCN)
    with torch.no_grad():  # a difference of large numbers, which eight bits lose
        network.key_encoder.lateral4.bias += 3000.0  # type: ignore[operator]
        network.key_encoder.lateral16.bias -= 3000.0  # type: ignore[operator]
    assert dtype_of(prepare(network, CPU)) == torch.float32
    assert dtype_of(prepare(network, CPU, "bfloat16")) == torch.bfloat16, "who insists gets it"


def test_an_old_processor_is_not_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not computes_bfloat16(CPU)


def test_stcn_too() -> None:
    torch.manual_seed(0)
    network = STCN(key_encoder="resnet18", value_encoder="resnet18", value_dim=64).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before, after = network.share(image), prepare(network, CPU, "float32").share(image)  # type: ignore[operator]
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_another_precision_is_refused() -> None:
    with pytest.raises(InputError, match="'half'; expected one of auto, float32, bfloat16"):
        prepare(build_network("small"), CPU, "half")
