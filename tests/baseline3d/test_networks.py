"""The 3D networks: the papers' sizes, their outputs from a seed, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baseline3d.dynunet import DynUNet
from baseline3d.heads import probabilities
from baseline3d.models import build_network, describe_models
from baseline3d.residual_unet import ResidualUNet
from volumes.errors import InputError


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_zhang_has_the_papers_parameters() -> None:
    assert _count(ResidualUNet(13)) == 10_705_552
    assert describe_models()["baseline3d/zhang"] == {"parameters": 10_705_552, "weights": None}


def test_sizes_of_the_other_configurations() -> None:
    sizes = {name: found["parameters"] for name, found in describe_models().items()}
    assert sizes["baseline3d/gao"] == 31_419_406  # the paper's 31.42 M
    assert sizes["baseline3d/alves"] == 30_759_320 and sizes["baseline3d/tong"] == 30_988_920
    assert int(sizes["baseline3d/small"] or 0) < 2_000_000


def _digest(network: nn.Module, *shape: int) -> list[float]:
    """Mean, deviation and three values of the logits, of weights and an image from a seed."""
    generator = torch.Generator().manual_seed(7)
    with torch.inference_mode():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
        logits = network.eval()(torch.randn(1, 1, *shape, generator=generator)).flatten()
    return [float(one) for one in (logits.mean(), logits.std(), logits[0], logits[len(logits) // 2], logits[-1])]


GOLDEN: dict[str, list[float]] = {
    "residual": [-0.319536, 0.419637, -0.041951, 0.075268, -0.732964],
    "dynunet": [-0.247068, 0.305557, -0.194690, -0.081904, -0.853255],
    "dynunet, residual": [-0.036335, 0.111061, 0.114014, -0.185453, -0.007961],
}


def test_golden_digests() -> None:
    found = {
        "residual": _digest(ResidualUNet(3, (4, 8, 8)), 8, 8, 12),
        "dynunet": _digest(DynUNet(3, (4, 8, 8), ((1, 2, 2), (2, 2, 2))), 4, 8, 12),
        "dynunet, residual": _digest(DynUNet(3, (4, 8, 8), ((1, 2, 2), (2, 2, 2)), residual=True), 4, 8, 12),
    }
    for name, expected in GOLDEN.items():
        assert found[name] == pytest.approx(expected, rel=1e-4, abs=2e-5), name


def test_deep_supervision_is_for_training_alone() -> None:
    network = DynUNet(3, (4, 8, 8, 8), ((1, 2, 2), (2, 2, 2), (2, 2, 2)), deep_supervision=2)
    image = torch.randn(1, 1, 8, 16, 24)
    assert [tuple(one.shape[2:]) for one in network(image)] == [(8, 16, 24), (8, 8, 12), (4, 4, 6)]
    full = network.eval()(image)
    assert full.shape == (1, 3, 8, 16, 24)
    names = list(network.state_dict())
    assert len({tensor.data_ptr() for tensor in network.state_dict().values()}) == len(names), "each tensor once"


def test_dropout_is_for_training_alone() -> None:
    torch.manual_seed(0)
    sizes = (3, (4, 8, 8), ((1, 2, 2), (2, 2, 2)))
    plain, thinned = DynUNet(*sizes), DynUNet(*sizes, dropout=0.5)
    thinned.load_state_dict(plain.state_dict(), strict=True)
    image = torch.randn(1, 1, 4, 8, 12)
    assert not torch.equal(thinned(image), thinned(image))
    assert torch.equal(thinned.eval()(image), plain.eval()(image))
    with pytest.raises(InputError, match="network.dropout: found 1"):
        DynUNet(*sizes, dropout=1.0)


@pytest.mark.parametrize("kind", ["dynunet", "residual"])
def test_every_parameter_learns(kind: str) -> None:
    """Several GPUs wait for every gradient."""
    own = {"filters": [4, 8, 8], "strides": [[1, 2, 2], [2, 2, 2]], "deep_supervision": 1}
    section = {"kind": kind, "head": "sigmoid", **(own if kind == "dynunet" else {"widths": [4, 8, 8]})}
    network = build_network(section, 2)
    found = network(torch.randn(1, 1, 8, 16, 16))
    outputs = found if isinstance(found, tuple) else (found,)
    torch.stack([one.square().mean() for one in outputs]).sum().backward()
    assert not [name for name, one in network.named_parameters() if one.grad is None]


def test_both_heads_decide_alike() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.3]]).view(1, 3, 1, 1, 1)
    assert probabilities(logits, "softmax").argmax(1).item() == 0
    sigmoid = probabilities(logits, "sigmoid")
    assert sigmoid.shape[1] == 4 and sigmoid.argmax(1).item() == 1
    assert probabilities(-logits.abs(), "sigmoid").argmax(1).item() == 0, "no structure is likelier than not"


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"head": "softmax"}, "no kind"),
        ({"kind": "unet", "head": "softmax"}, "kind 'unet'.*dynunet, residual"),
        ({"kind": "residual", "head": "softmaxx"}, "head 'softmaxx'"),
        ({"kind": "residual", "head": "sigmoid", "width": [4, 8]}, "did you mean 'widths'"),
        ({"kind": "residual", "head": "sigmoid", "dropout": 1.0}, "network.dropout"),
        ({"kind": "dynunet", "head": "softmax", "filters": [4, 8, 8]}, "3 filters, 5 strides"),
        ({"kind": "dynunet", "head": "softmax", "deep_supervision": 9}, "deep_supervision: found 9; expected 0 to 4"),
        ({"kind": "dynunet", "head": "softmax", "kernels": [[2, 3, 3]] * 6}, "even kernel"),
    ],
)
def test_sections_that_describe_no_network(section: dict, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        build_network(section, 3)
    assert "\n" not in str(error.value)
