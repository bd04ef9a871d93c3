"""A pair made ready for use says what it said before, in any precision, however it is built."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reference_module.inference import ReadyPair
from reference_module.inputs import network_input, slice_position
from reference_module.models import build_pair
from reference_module.referencer import Referencer
from volumes.labels import Label, LabelTable
from volumes.volume import Geometry, Volume

CPU = torch.device("cpu")
SMALL = {
    "network": {
        "first": {
            "kind": "transunet", "layers": [1, 1, 1], "stem": 8, "hidden": 16, "depth": 1, "heads": 2, "mlp": 32,
            "decoder": [16, 8, 8, 8], "head": 16, "grid": 8,
        },
        "second": {"kind": "deeplabv3plus", "encoder": "efficientnet-b0", "channels": 16},
    }
}  # fmt: skip


class Twins(nn.Module):
    """Two members of a few convolutions.

    Args:
        deceive: run the normalisations in another order than that of the modules.
        offset: added to the first convolution's output and taken away again.
    """

    def __init__(self, deceive: bool = False, offset: float = 0.0) -> None:
        super().__init__()
        self.one, self.norm, self.two, self.norm2 = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4),
        )
        self.deceive, self.offset = deceive, offset
        for norm, scale in ((self.norm, 2.0), (self.norm2, 0.5)):
            nn.init.constant_(norm.weight, scale)
            norm.running_mean.fill_(scale)  # type: ignore[union-attr]
        if offset:
            nn.init.constant_(self.one.bias, offset)
            self.norm.running_mean.fill_(offset)  # type: ignore[union-attr]

    def forward(self, images: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        norms = (self.norm2, self.norm) if self.deceive else (self.norm, self.norm2)
        found = norms[1](self.two(norms[0](self.one(images)).relu())) + position[:, None, None, None]
        return found, found.flip(1)


def _answers(pair: nn.Module, ready: ReadyPair) -> list[tuple[Tensor, Tensor]]:
    images, position = torch.rand(2, 3, 20, 31, generator=torch.Generator().manual_seed(1)), torch.tensor([0.1, 0.7])
    with torch.inference_mode():
        expected = [logits.softmax(1) for logits in pair.eval()(images, position)]
    return list(zip(ready.probabilities(images, position), expected, strict=True))


@pytest.mark.parametrize("deceive", [False, True])
def test_folding_changes_nothing_but_rounding(deceive: bool) -> None:
    torch.manual_seed(0)
    pair = Twins(deceive).train()
    ready = ReadyPair(pair, CPU, "float32")
    norms = [module for module in ready._pair.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == (2 if deceive else 0), "what folding would break stays as it is"
    assert pair.training and pair.norm.weight.requires_grad, "the original stays"
    for found, expected in _answers(pair, ready):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_auto_is_bfloat16_only_where_the_processor_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    pair = Twins()
    monkeypatch.setattr("reference_module.inference.computes_bfloat16", lambda device: False)
    assert not ReadyPair(pair, CPU).bfloat16
    monkeypatch.setattr("reference_module.inference.computes_bfloat16", lambda device: True)
    ready = ReadyPair(pair, CPU)
    assert ready.bfloat16
    for found, expected in _answers(pair, ready):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
        assert not torch.equal(found, expected), "it did compute in bfloat16"


def test_auto_leaves_a_pair_alone_that_bfloat16_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr("reference_module.inference.computes_bfloat16", lambda device: True)
    monkeypatch.setattr("reference_module.inference._folded", lambda pair: pair)
    pair = Twins(offset=3000.0)  # a difference of large numbers, which eight bits lose
    assert not ReadyPair(pair, CPU).bfloat16
    assert ReadyPair(pair, CPU, "bfloat16").bfloat16, "who insists gets it"


@pytest.mark.parametrize("shape", [(1, 40, 56), (3, 33, 50)])
def test_the_two_real_networks(shape: tuple[int, int, int]) -> None:
    """What the referencer gives is the plain sum of both softmaxes, with slices and positions as in training."""
    torch.manual_seed(0)
    pair = build_pair(SMALL, 4).eval()
    table = LabelTable([Label(value, f"s{value}", (0, 0, value)) for value in (1, 2, 7)])
    hu = np.random.default_rng(0).integers(-300, 400, shape).astype(np.int16)
    volume = Volume(hu, Geometry.axial(shape, (20.0, 1.0, 1.0)))
    settings = SimpleNamespace(pixel=None, windows="one")
    found = Referencer(pair, table, settings, precision="float32").segment_all(volume)  # type: ignore[arg-type]
    images = torch.from_numpy(network_input(hu, "one"))
    position = torch.tensor([slice_position(z, shape[0]) for z in range(shape[0])])
    with torch.inference_mode():
        sums = sum(logits.softmax(1) for logits in pair(images, position))
    assert isinstance(sums, Tensor)
    best = sums.topk(2, 1).values
    clear = (best[:, 0] - best[:, 1] > 1e-4).numpy()
    assert clear.mean() > 0.9
    expected = np.array([0, 1, 2, 7])[sums.argmax(1).numpy()]
    assert np.array_equal(found[clear], expected[clear])
