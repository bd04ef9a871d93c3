"""LocalSTCN: shapes, size, what it does without evidence, and the exact numbers of a seed."""

from __future__ import annotations

import pytest
import torch

from propagation_module.checkpoints import build_network
from propagation_module.local_stcn import Features, LocalSTCN, Prior, places


@pytest.fixture(scope="module")
def network() -> LocalSTCN:
    torch.manual_seed(7)
    built = build_network("small").eval()
    assert isinstance(built, LocalSTCN)
    return built


def _prior(height: int, width: int) -> Prior:
    previous = torch.zeros(1, 1, height, width)
    previous[..., 16:32, 16:40] = 1.0
    return Prior(previous, (previous - 0.5) * 10, torch.tensor([[3.0, 9.0, 0.0]]))


def _readout(network: LocalSTCN, image: torch.Tensor, z: float = 0.0) -> tuple[Features, torch.Tensor]:
    features = network.encode_key(image)
    mask = _prior(*image.shape[-2:]).previous
    value = network.encode_value(image, features, mask)
    place = places(image.shape[-2], image.shape[-1], torch.tensor([1.5]), torch.tensor([z]))
    found = network.read(features.key, place, features.key.flatten(2), value.flatten(2), place.flatten(2))
    return features, found


def test_the_shipped_size_is_small(network: LocalSTCN) -> None:
    assert sum(p.numel() for p in network.parameters()) <= 12_000_000


@torch.inference_mode()
def test_slices_need_not_be_square(network: LocalSTCN) -> None:
    image = torch.rand(1, 3, 48, 80)
    features, found = _readout(network, image)
    logits, presence = network.decode(image, features, found, _prior(48, 80))
    assert presence.shape == (1,)
    assert logits.shape == (1, 1, 48, 80)
    assert logits.dtype == torch.float32


def test_sizes_off_the_grid_name_the_fix(network: LocalSTCN) -> None:
    with pytest.raises(ValueError, match="multiples of 16.*pad"):
        network.encode_key(torch.rand(1, 3, 50, 64))


@torch.inference_mode()
def test_untrained_it_falls_back_on_what_is_already_known(network: LocalSTCN) -> None:
    image = torch.rand(1, 3, 48, 64)
    features, found = _readout(network, image)
    prior = _prior(48, 64)
    logits = network.decode(image, features, found, prior).logits
    assert torch.equal(logits > 0, prior.previous > 0.5)


@torch.inference_mode()
def test_memory_prefers_what_is_near(network: LocalSTCN) -> None:
    """Two memory tokens alike in all but place: the nearer one speaks louder, however far the origin is."""
    key = torch.ones(1, 32, 2)
    value = torch.tensor([[[0.0, 1.0]]])
    for origin in (0.0, 400.0):
        at = torch.tensor([[[0.0, 0.0], [origin + 60.0, origin], [0.0, 0.0]]])
        query = torch.tensor([0.0, origin, 0.0]).view(1, 3, 1, 1)
        said = network.read(torch.ones(1, 32, 1, 1), query, key, value, at)
        assert said.item() > 0.99


@torch.inference_mode()
def test_memory_that_does_not_count_is_not_read(network: LocalSTCN) -> None:
    torch.manual_seed(1)
    key, value, at = torch.rand(1, 32, 6), torch.rand(1, 5, 6), torch.rand(1, 3, 6)
    query, place = torch.rand(1, 32, 2, 2), torch.rand(1, 3, 2, 2)
    valid = torch.tensor([[True, True, False, True, False, True]])
    kept = valid[0].nonzero()[:, 0]
    masked = network.read(query, place, key, value, at, valid)
    alone = network.read(query, place, key[..., kept], value[..., kept], at[..., kept])
    torch.testing.assert_close(masked, alone)


@torch.inference_mode()
def test_features_of_a_box_are_the_box_of_the_features(network: LocalSTCN) -> None:
    features = network.encode_key(torch.rand(1, 3, 64, 64))
    part = features.crop((8, 40, 16, 64))
    assert part.key.shape[-2:] == (8, 12)
    assert torch.equal(part.f8, features.f8[..., 1:5, 2:8])
    assert torch.equal(part.f2, features.f2[..., 4:20, 8:32])


@torch.inference_mode()
def test_golden_digest() -> None:
    """The network's numbers from a seed: a change of architecture or arithmetic shows here."""
    torch.manual_seed(2026)
    network = LocalSTCN().eval()
    for parameter in network.parameters():  # the last layer starts at zero, which would hide the others
        if parameter.dim() == 4 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    generator = torch.Generator().manual_seed(5)
    image = torch.rand(1, 3, 64, 64, generator=generator)
    features, found = _readout(network, image)
    logits = network.decode(image, features, found, _prior(64, 64)).logits
    digest = [logits.mean(), logits.std(), logits[0, 0, 20, 20], logits[0, 0, 50, 9], found.mean(), features.key.std()]
    torch.testing.assert_close(torch.stack(digest), torch.tensor(GOLDEN), rtol=1e-3, atol=1e-4)


GOLDEN = [-3.76054, 2.66184, 4.52456, -4.6426, 0.03331, 0.03174]
