"""TransUNet: its exact size, its numbers from a seed, slices of any size."""

from __future__ import annotations

import pytest
import torch

from reference_module.transunet import TransUNet
from tests.golden import digest, give_seeded_weights, seeded
from volumes.errors import InputError

TINY = {
    "layers": (1, 1, 1),
    "stem": 16,
    "hidden": 48,
    "depth": 1,
    "heads": 2,
    "mlp": 64,
    "decoder": (32, 24, 16, 8),
    "head": 32,
    "grid": 4,
}
SIZES = [(1, 1), (1, 40), (33, 1), (16, 16), (31, 47), (54, 130), (64, 48)]


@pytest.fixture(params=["group", "batch"])
def tiny(request: pytest.FixtureRequest) -> TransUNet:
    torch.manual_seed(0)
    return TransUNet(5, norm=request.param, **TINY)


@pytest.mark.parametrize(("position_channel", "parameters"), [(True, 105_913_836), (False, 105_913_710)])
def test_exact_size(position_channel: bool, parameters: int) -> None:
    with torch.device("meta"):
        network = TransUNet(14, position_channel=position_channel)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


GOLDEN: dict[str, list[float]] = {
    "stride 2": [0.238539, 0.356867, 0.453135, 0.246814, 1.31073, 0.0, 0.127108],
    "stride 16": [1.20662, 1.17267, 6.90223, 1.33383, 0.454891, 4.04011, 0.8637],
    "tokens": [-0.00135318, 0.619791, 0.00617218, -0.024195, 0.0980809, -0.0891685, -0.0950067],
    "logits": [-0.0673295, 0.126591, 0.156227, -0.0477158, -0.139649, -0.0799088, -0.0696234],
    "odd": [-0.0681826, 0.106689, -0.0550225, 0.0192985, -0.0189417, -0.0677018, -0.050604],
}


@torch.inference_mode()
def test_numbers_from_a_seed() -> None:
    with torch.device("meta"):
        network = TransUNet(14)
    network = network.to_empty(device="cpu").eval()
    give_seeded_weights(network)
    features = network._encode(seeded(2, 3, 64, 96))
    found = {
        "stride 2": features[0],
        "stride 16": features[3],
        "tokens": network._transform(features[3]),
        "logits": network(seeded(2, 3, 64, 96), torch.tensor([0.1, 0.8])),
        "odd": network(seeded(1, 3, 35, 50), torch.tensor([0.5])),
    }
    for output, tensor in found.items():
        assert digest(tensor) == pytest.approx(GOLDEN[output], rel=1e-4, abs=2e-5), output


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("training", [False, True])
def test_slices_of_any_size_one_at_a_time(tiny: TransUNet, size: tuple[int, int], training: bool) -> None:
    logits = tiny.train(training)(seeded(1, 3, *size), torch.tensor([0.5]))
    assert logits.shape == (1, 5, *size)
    assert logits.isfinite().all()


@torch.inference_mode()
@pytest.mark.parametrize("place", [(8, 100), (44, 20), (30, 64)])
def test_a_change_in_the_slice_changes_the_logits_there(tiny: TransUNet, place: tuple[int, int]) -> None:
    """Rows stay rows on slices that are not square."""
    give_seeded_weights(tiny.eval())
    images = seeded(1, 3, 54, 130)
    changed = images.clone()
    y, x = place
    changed[..., y - 3 : y + 4, x - 3 : x + 4] = 1 - changed[..., y - 3 : y + 4, x - 3 : x + 4]
    position = torch.tensor([0.5])
    difference = (tiny(changed, position) - tiny(images, position)).abs().sum(1)[0]
    weight = difference / difference.sum()
    assert float((weight.sum(1) * torch.arange(54)).sum()) == pytest.approx(y, abs=8)
    assert float((weight.sum(0) * torch.arange(130)).sum()) == pytest.approx(x, abs=8)


@torch.inference_mode()
def test_what_is_padded_does_not_reach_slices_that_fit(tiny: TransUNet) -> None:
    tiny.eval()
    position = torch.tensor([0.5])
    images = seeded(1, 3, 40, 50)
    by_hand = torch.cat([images, images[..., -1:].expand(-1, -1, -1, 14)], 3)
    by_hand = torch.cat([by_hand, by_hand[..., -1:, :].expand(-1, -1, 8, -1)], 2)
    # The last convolution sees the edge of the slice, not what was padded, hence the last row and column.
    torch.testing.assert_close(tiny(images, position)[..., :-1, :-1], tiny(by_hand, position)[..., :39, :49])


@torch.inference_mode()
def test_the_position_changes_the_logits_if_it_is_asked_for() -> None:
    images = seeded(1, 3, 32, 32)
    with_it = TransUNet(3, **TINY).eval()
    low, high = (with_it(images, torch.tensor([place])) for place in (0.1, 0.9))
    assert not torch.allclose(low, high, atol=1e-4)
    without = TransUNet(3, position_channel=False, **TINY).eval()
    assert torch.equal(without(images, torch.tensor([0.1])), without(images))
    with pytest.raises(TypeError, match="positions"):
        with_it(images)


@torch.inference_mode()
def test_each_slice_of_a_batch_has_its_own_position(tiny: TransUNet) -> None:
    tiny.eval()
    images, position = seeded(3, 3, 32, 48), torch.tensor([0.0, 0.4, 1.0])
    together = tiny(images, position)
    for one in range(3):
        torch.testing.assert_close(together[one : one + 1], tiny(images[one : one + 1], position[one : one + 1]))


@torch.inference_mode()
def test_position_embeddings_are_stretched_not_cut(tiny: TransUNet) -> None:
    """Their corners stay corners: left differs from right on every grid."""
    tiny.position_embedding.copy_(torch.linspace(0, 1, 4).expand_as(tiny.position_embedding))
    for width in (2, 4, 9):
        row = tiny._embedding_for(3, width)[0, 0, 1]
        assert len(row) == width and float(row[0]) < 0.2 and float(row[-1]) > 0.8


def test_gradients_reach_every_parameter(tiny: TransUNet) -> None:
    tiny(seeded(2, 3, 40, 56), torch.tensor([0.2, 0.9])).square().mean().backward()
    lost = [name for name, one in tiny.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
    # The first block's key bias changes every score of a query alike: the softmax forgets it.
    assert [name for name in lost if "qkv.bias" not in name] == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": 5}, "heads that divide"),
        ({"norm": "instance"}, "group, batch"),
        ({"layers": (3, 4)}, "three numbers"),
        ({"decoder": (64, 32, 16)}, "four numbers"),
        ({"stem": 6}, "multiple of 4"),
        ({"hidden": 0}, "transunet.hidden: found 0; expected 1 or more"),
        ({"layers": (1, 0, 1)}, "transunet.layers: found 1, 0, 1"),
        ({"mlp": 0}, "transunet.mlp"),
        ({"grid": -1}, "transunet.grid"),
    ],
)
def test_settings_that_make_no_network_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TransUNet(5, **{**TINY, **settings})
