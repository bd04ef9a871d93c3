"""The two exact networks: their sizes, their numbers from a seed, their manners."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from propagation_module.checkpoints import build_network
from propagation_module.compat import propagate_compat
from propagation_module.stcn import STCN, Shared
from tests.golden import digest, give_seeded_weights, seeded
from volumes.errors import InputError


@pytest.fixture(scope="module", params=["paper", "stcn"])
def exact(request: pytest.FixtureRequest) -> tuple[str, STCN]:
    network = build_network(request.param)
    assert isinstance(network, STCN)
    with torch.no_grad():
        give_seeded_weights(network)
    return request.param, network.eval()


@pytest.fixture(scope="module")
def small() -> STCN:
    network = STCN(key_encoder="resnet18", key_dim=16, value_dim=32)
    with torch.no_grad():
        give_seeded_weights(network)
    return network.eval()


def two_object_scene(network: STCN) -> dict[str, Tensor]:
    """Every output of the network on one scene: two memory slices, a query slice, two labels."""
    frames, masks = seeded(3, 3, 64, 96, seed=1), seeded(2, 2, 64, 96, seed=2) * 0.5
    key, thin, f16, f8, f4 = network.encode_key(frames)
    values = [
        torch.cat(
            [
                network.encode_value(
                    frames[t : t + 1],
                    f16[t : t + 1],
                    masks[t : t + 1, o : o + 1],
                    masks[t : t + 1, 1 - o : 2 - o],
                )
                for t in range(2)
            ],
            2,
        )
        for o in range(2)
    ]
    logits, probabilities = network.segment(
        key[2:],
        thin[2:],
        f8[2:],
        f4[2:],
        key[:2].transpose(0, 1).unsqueeze(0),
        torch.stack(values, 1),
        torch.tensor([[1.0, 1.0]]),
    )
    painted = torch.zeros(2, 50, 71)
    painted[0, 10:30, 10:40] = 1
    painted[1, 30:45, 20:60] = 1
    propagated = propagate_compat(network, seeded(4, 3, 50, 71, seed=3), painted, 0, 4, memory_every=1)
    return {
        "key": key,
        "thin": thin,
        "f16": f16,
        "f8": f8,
        "f4": f4,
        "value": values[0],
        "logits": logits,
        "probabilities": probabilities,
        "propagated": propagated[1:, 1:],
    }


GOLDEN: dict[str, dict[str, list[float]]] = {
    "paper": {
        "key": [-0.00621043, 0.378832, -0.662081, 0.581963, -0.661123, 0.575006, -0.661721],
        "thin": [-0.00824276, 0.356664, -0.160832, -0.113781, -0.162111, -0.112244, -0.159955],
        "f16": [0.235532, 0.243811, 0.475949, 0.0, 0.471777, 0.0, 0.469672],
        "f8": [0.188634, 0.208968, 0.0, 0.0, 0.0, 0.0, 0.0],
        "f4": [0.18023, 0.207936, 0.0, 0.376215, 0.0, 0.45986, 0.0],
        "value": [0.00353269, 0.516829, 0.547517, -0.150265, -0.195784, 0.039335, 0.735905],
        "logits": [-0.38298, 0.526079, -1.40792, 0.0978697, 0.227294, 0.0981479, 0.227838],
        "probabilities": [0.412202, 0.0396561, 0.41376, 0.361888, 0.441581, 0.412593, 0.361381],
        "propagated": [0.415676, 0.0378072, 0.423796, 0.418093, 0.42202, 0.423186, 0.417182],
    },
    "stcn": {
        "key": [0.00106507, 0.363143, -0.549281, 0.457549, -0.5451, 0.452629, -0.547657],
        "thin": [-0.00248602, 0.326968, -0.098365, -0.0559799, -0.0921627, -0.0629549, -0.0977972],
        "f16": [0.209914, 0.221886, 0.480628, 0.0, 0.47577, 0.0, 0.478114],
        "f8": [0.173477, 0.191278, 0.0, 0.0, 0.0, 0.0, 0.0],
        "f4": [0.165003, 0.192077, 0.0, 0.388289, 0.0, 0.488615, 0.0],
        "value": [0.00908771, 0.588292, 0.0997894, 0.277893, 0.00060159, 0.0261738, 0.92951],
        "logits": [-0.301281, 0.890769, -1.8285, 0.177177, 0.522967, 0.177749, 0.523943],
        "probabilities": [0.460978, 0.0170382, 0.463786, 0.455124, 0.450674, 0.462628, 0.454463],
        "propagated": [0.46782, 0.0128119, 0.455655, 0.447383, 0.463727, 0.454598, 0.446356],
    },
}


@pytest.mark.parametrize(("name", "parameters"), [("paper", 54_416_065), ("stcn", 54_434_180)])
def test_exact_size(name: str, parameters: int) -> None:
    with torch.device("meta"):
        network = build_network(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@torch.inference_mode()
def test_numbers_from_a_seed(exact: tuple[str, STCN]) -> None:
    name, network = exact
    for output, tensor in two_object_scene(network).items():
        assert digest(tensor) == pytest.approx(GOLDEN[name][output], rel=1e-4, abs=2e-5), output


@torch.inference_mode()
def test_shapes_on_slices_that_are_not_square(small: STCN) -> None:
    features = small.encode_key(seeded(2, 3, 48, 96))
    assert features.key.shape == (2, 16, 3, 6)
    assert features.thin.shape == (2, 32, 3, 6)
    assert [f.shape[-2:] for f in features[2:]] == [(3, 6), (6, 12), (12, 24)]
    value = small.encode_value(seeded(2, 3, 48, 96), features.f16, seeded(2, 1, 48, 96), seeded(2, 1, 48, 96))
    assert value.shape == (2, 32, 1, 3, 6)


@torch.inference_mode()
def test_turned_slices_give_other_numbers_than_transposed_ones(small: STCN) -> None:
    frames = seeded(1, 3, 32, 64)
    straight = small.encode_key(frames).key
    turned = small.encode_key(frames.transpose(2, 3)).key
    assert turned.shape == (1, 16, 4, 2)
    assert not torch.allclose(straight, turned.transpose(2, 3), atol=1e-3)


@pytest.mark.parametrize("size", [(50, 64), (64, 50)])
def test_sizes_that_do_not_fit_are_told_what_to_pad_to(small: STCN, size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="divisible by 16; pad it to 64 x 64"):
        small.encode_key(torch.zeros(1, 3, *size))


@torch.inference_mode()
def test_segment_selects_labels_and_sums_to_one(small: STCN) -> None:
    features = small.encode_key(seeded(2, 3, 32, 32))
    values = seeded(2, 2, 32, 1, 2, 2, seed=1)
    selector = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    logits, probabilities = small.segment(
        features.key, features.thin, features.f8, features.f4, features.key.unsqueeze(2), values, selector
    )
    assert logits.shape == (2, 3, 32, 32) and probabilities.shape == (2, 2, 32, 32)
    torch.testing.assert_close(logits.softmax(1)[:, 1:], probabilities)
    assert probabilities[1, 1].max() < 1e-6 < probabilities[0, 1].min()


def test_segment_has_gradients_for_every_parameter() -> None:
    network = STCN(key_encoder="resnet18", key_dim=16, value_dim=32)
    frame, mask = seeded(2, 3, 32, 32), seeded(2, 1, 32, 32)
    features = network.encode_key(frame)
    value = network.encode_value(frame, features.f16, mask, 1 - mask)
    _, probabilities = network.segment(
        features.key, features.thin, features.f8, features.f4, features.key.unsqueeze(2), value
    )
    probabilities.sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@torch.inference_mode()
def test_values_of_several_labels_see_each_other(small: STCN) -> None:
    frame, masks = seeded(1, 3, 32, 48), seeded(20, 1, 32, 48, seed=1) / 20
    f16 = small.encode_key(frame).f16
    together = small.encode_values(frame, f16, masks)
    for own in (0, 7, 19):
        others = torch.cat([masks[:own], masks[own + 1 :]]).sum(0, keepdim=True)
        alone = small.encode_value(frame, f16, masks[own : own + 1], others)
        torch.testing.assert_close(together[own : own + 1], alone[:, :, 0], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_single_object_network_takes_no_other_labels() -> None:
    network = STCN(key_encoder="resnet18", key_dim=16, value_dim=32, other_objects=False).eval()
    frame, mask = seeded(1, 3, 32, 32), seeded(1, 1, 32, 32)
    f16 = network.encode_key(frame).f16
    assert network.encode_value(frame, f16, mask).shape == (1, 32, 1, 2, 2)
    with pytest.raises(InputError, match="other_objects: true"):
        network.encode_value(frame, f16, mask, mask)


@pytest.mark.parametrize("cbam", [False, True])
def test_what_labels_share_computed_once_gives_the_same(cbam: bool) -> None:
    """The slice's part of the fuser and the decoder, added to each label's own (two labels of one slice)."""
    torch.manual_seed(1)
    network = STCN(key_encoder="resnet18", value_encoder="resnet18", value_dim=64, cbam=cbam).eval()
    frame, masks = torch.rand(1, 3, 64, 96), (torch.rand(2, 1, 64, 96) > 0.5).float()
    others = masks.flip(0)
    with torch.inference_mode():
        key, thin, f16, f8, f4 = network.encode_key(frame)
        shared = network.share(frame)
        both = Shared(*(part.expand(2, -1, -1, -1) for part in shared))
        frames = frame.expand(2, -1, -1, -1)
        values = network.encode_value_of(frames, both, masks, others)
        expected = network.encode_value(frames, f16.expand(2, -1, -1, -1), masks, others)[:, :, 0]
        torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-5)
        found = torch.randn(2, *values.shape[1:])
        logits = network.decode_of(found, both)
        torch.testing.assert_close(logits[:, 0], network.decode(found[None], thin, f8, f4)[0], rtol=1e-4, atol=1e-5)


def test_a_box_of_what_labels_share() -> None:
    shared = Shared(*(torch.rand(1, 2, 96 // s, 128 // s) for s in (16, 16, 16, 16, 16, 8, 4)))
    cut = shared.crop((16, 64, 32, 96))
    assert [tuple(part.shape[-2:]) for part in cut] == [(3, 4)] * 5 + [(6, 8), (12, 16)]
    assert torch.equal(cut.skip4, shared.skip4[..., 4:16, 8:24])
