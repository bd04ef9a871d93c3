"""DeepLabV3+: its exact size, its numbers from a seed, slices of any size."""

from __future__ import annotations

import pytest
import torch

from reference_module.deeplab import DeepLabV3Plus
from tests.golden import digest, give_seeded_weights, seeded
from volumes.errors import InputError

NARROW = {"channels": 32, "rates": (1, 2, 3), "depth": 4, "encoder": "tu-resnet18"}
WIDTHS = {"channels": (16, 24, 32, 48)}
SIZES = [(1, 1), (1, 40), (33, 1), (16, 16), (31, 47), (54, 130), (64, 48)]


def narrow(fine: bool) -> DeepLabV3Plus:
    torch.manual_seed(0)
    return DeepLabV3Plus(5, fine=fine, encoder_settings=WIDTHS, **NARROW)


def test_exact_size() -> None:
    network = DeepLabV3Plus(14)
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_683_526


GOLDEN: dict[str, list[float]] = {
    "efficientnet-b3": [0.0418045, 0.149298, -0.133618, 0.0645998, 0.0653234, -0.133634, 0.0646216],
    "fine": [-0.0267823, 0.126188, -0.00192134, -0.173301, 0.132398, 0.0015136, -0.193707],
}


@torch.inference_mode()
@pytest.mark.parametrize("name", ["efficientnet-b3", "fine"])
def test_numbers_from_a_seed(name: str) -> None:
    network = (DeepLabV3Plus(14) if name == "efficientnet-b3" else narrow(fine=True)).eval()
    give_seeded_weights(network)
    assert digest(network(seeded(2, 3, 64, 96))) == pytest.approx(GOLDEN[name], rel=1e-4, abs=2e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fine", [False, True])
def test_slices_of_any_size_one_at_a_time(fine: bool, size: tuple[int, int], training: bool) -> None:
    logits = narrow(fine).train(training)(seeded(1, 3, *size))
    assert logits.shape == (1, 5, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", [(1, 1), (33, 50)])
def test_the_published_encoder_learns_from_a_batch_of_one(size: tuple[int, int]) -> None:
    network = DeepLabV3Plus(4).train()
    logits = network(seeded(1, 3, *size))
    logits.square().mean().backward()
    assert logits.shape == (1, 4, *size) and logits.isfinite().all()
    lost = [name for name, one in network.named_parameters() if one.requires_grad and one.grad is None]
    assert lost == [], "several GPUs wait for every gradient"
    assert len([one for one in network.parameters() if not one.requires_grad]) == 3


def test_what_the_whole_slice_says_survives_a_batch_of_two() -> None:
    """Batch norm would make +1 and -1 of the pooled branch's two values, however alike the two slices are."""
    network = narrow(fine=False).train()
    branch = network.network.decoder.aspp[0].convs[-1]
    features = seeded(2, branch[1].in_channels, 4, 4)
    features[1] = features[0] + 1e-4
    near = branch(features)
    torch.testing.assert_close(near[0], near[1], atol=1e-2, rtol=0)
    alone = branch(features[:1])
    torch.testing.assert_close(near[:1], alone)


@torch.inference_mode()
@pytest.mark.parametrize("place", [(8, 100), (44, 20), (30, 64)])
@pytest.mark.parametrize("fine", [False, True])
def test_a_change_in_the_slice_changes_the_logits_there(fine: bool, place: tuple[int, int]) -> None:
    """Rows stay rows on slices that are not square."""
    network = narrow(fine).eval()
    give_seeded_weights(network)
    images = seeded(1, 3, 54, 130)
    changed = images.clone()
    y, x = place
    changed[..., y - 3 : y + 4, x - 3 : x + 4] = 1 - changed[..., y - 3 : y + 4, x - 3 : x + 4]
    difference = (network(changed) - network(images)).square().sum(1)[0]
    weight = difference / difference.sum()
    assert float((weight.sum(1) * torch.arange(54)).sum()) == pytest.approx(y, abs=10)
    assert float((weight.sum(0) * torch.arange(130)).sum()) == pytest.approx(x, abs=10)


@torch.inference_mode()
def test_fine_halves_every_stride() -> None:
    images = seeded(1, 3, 64, 64)
    coarse, fine = ([tuple(one.shape[-2:]) for one in narrow(kind).network.encoder(images)] for kind in (False, True))
    assert coarse == [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
    assert fine == [(64, 64), (32, 32), (32, 32), (16, 16), (8, 8)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "resnet-of-mine"}, "resnet-of-mine that cannot be built"),
        ({"fine": True}, "ResNet of timm"),
        ({"encoder": "tu-resnet18", "encoder_settings": {"colour": 3}}, "tu-resnet18 that cannot be built"),
        ({"output_stride": 4}, "cannot be built"),
    ],
)
def test_settings_that_make_no_network_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DeepLabV3Plus(5, **settings)
