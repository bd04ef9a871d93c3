"""The published way of propagating, against a plain loop over the network's own methods."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from propagation_module.compat import (
    crop_padding,
    pad_to_stride,
    propagate_compat,
    propagate_volume_compat,
)
from propagation_module.memory import aggregate
from propagation_module.stcn import STCN
from volumes.errors import InputError
from volumes.key_slices import KeySlices
from volumes.volume import Geometry, Volume


@pytest.fixture(scope="module")
def network() -> STCN:
    torch.manual_seed(0)
    network = STCN(key_encoder="resnet18", key_dim=16, value_dim=32)
    with torch.no_grad():
        for block in network.key_encoder.modules():
            if isinstance(block, torch.nn.BatchNorm2d):  # timm's zeros would silence the residual branches
                block.weight.uniform_(0.5, 1.0)
        network.decoder.predict.weight.mul_(3)
    return network.eval()


def frames_and_masks(count: int, height: int, width: int, labels: int = 2) -> tuple[Tensor, Tensor]:
    frames = torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(labels, height, width)
    for label in range(labels):
        masks[label, 3 + 9 * label : 11 + 9 * label, 4:20] = 1
    return frames, masks


def plain_propagation(
    network: STCN,
    frames: Tensor,
    masks: Tensor,
    order: list[int],
    top_k: int,
    memory_every: int,
    include_last: bool,
) -> dict[int, Tensor]:
    """The published procedure spelt out with dense matrices: {z: (K + 1, H', W')}."""
    found = {order[0]: aggregate(masks, dim=0)}
    kept: list[tuple[Tensor, Tensor]] = []
    last: list[tuple[Tensor, Tensor]] = []
    for step, z in enumerate(order):
        features = network.encode_key(frames[z : z + 1])
        if step:
            memory = kept + last
            keys = torch.cat([key for key, _ in memory], 1)  # CK x N
            values = torch.cat([value for _, value in memory], 2)  # K x CV x N
            query = features.key[0].flatten(1)
            scores = -torch.cdist(keys.T.double(), query.T.double()).square() / math.sqrt(len(keys))
            threshold = scores.topk(min(top_k, len(scores)), dim=0).values[-1]
            weights = scores.masked_fill(scores < threshold, -torch.inf).softmax(0).float()  # N x Q
            readout = (values @ weights).unflatten(2, features.key.shape[-2:])
            logits = network.decode(readout[None], features.thin, features.f8, features.f4)
            found[z] = aggregate(torch.sigmoid(logits[0]), dim=0)
        stays = z % memory_every == 0 or step == 0
        if z != order[-1] and (stays or include_last):
            labels = found[z][1:]
            value = [
                network.encode_value(
                    frames[z : z + 1],
                    features.f16,
                    own[None, None],
                    torch.cat([labels[:k], labels[k + 1 :]]).sum(0)[None, None],
                )[0, :, 0]
                for k, own in enumerate(labels)
            ]
            pair = (features.key[0].flatten(1), torch.stack(value).flatten(2))
            last = []
            (kept if stays else last).append(pair)
    return found


@pytest.mark.parametrize("include_last", [False, True])
@pytest.mark.parametrize("memory_every", [1, 3])
@pytest.mark.parametrize("top_k", [5, 40])
@torch.inference_mode()
def test_agrees_with_the_plain_procedure_both_ways(
    network: STCN, top_k: int, memory_every: int, include_last: bool
) -> None:
    frames, masks = frames_and_masks(7, 32, 48)
    for start, end, order in ((1, 7, [1, 2, 3, 4, 5, 6]), (5, 0, [5, 4, 3, 2, 1])):
        found = propagate_compat(
            network,
            frames,
            masks,
            start,
            end,
            top_k=top_k,
            memory_every=memory_every,
            include_last=include_last,
        )
        expected = plain_propagation(network, frames, masks, order, top_k, memory_every, include_last)
        for z in range(7):
            if z in expected:
                torch.testing.assert_close(found[:, z], expected[z], rtol=1e-4, atol=1e-5)
            else:
                assert found[1:, z].max() == 0 and found[0, z].min() > 0  # not reached: background


@torch.inference_mode()
def test_settings_matter(network: STCN) -> None:
    frames, masks = frames_and_masks(7, 32, 48)

    def final(**settings: Any) -> Tensor:
        return propagate_compat(network, frames, masks, 0, 7, **settings)[:, 4]

    base = final(top_k=5, memory_every=5)
    assert not torch.allclose(base, final(top_k=5, memory_every=5, include_last=True), atol=1e-5)
    assert not torch.allclose(base, final(top_k=5, memory_every=1), atol=1e-5)
    assert not torch.allclose(base, final(top_k=40, memory_every=5), atol=1e-5)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((32, 48), (0, 0, 0, 0)), ((31, 48), (0, 0, 0, 1)), ((30, 33), (7, 8, 1, 1)), ((17, 47), (0, 1, 7, 8))],
)
def test_padding_is_alike_on_both_sides_and_odd_pixels_go_last(
    size: tuple[int, int], expected: tuple[int, ...]
) -> None:
    image = torch.rand(1, 3, *size)
    padded, padding = pad_to_stride(image)
    assert padding == expected  # left, right, top, bottom
    assert padded.shape[-2] % 16 == 0 and padded.shape[-1] % 16 == 0
    torch.testing.assert_close(padded, F.pad(image, expected))
    assert torch.equal(crop_padding(padded, padding), image)


@torch.inference_mode()
def test_any_size_is_the_padded_one_cropped(network: STCN) -> None:
    frames, masks = frames_and_masks(3, 30, 33)
    found = propagate_compat(network, frames, masks, 0, 3)
    assert found.shape == (3, 3, 30, 33)
    padded, padding = pad_to_stride(frames)
    expected = propagate_compat(network, padded, pad_to_stride(masks)[0], 0, 3)
    torch.testing.assert_close(found, crop_padding(expected, padding))


@pytest.mark.parametrize(("start", "end"), [(3, 4), (0, 5), (-1, 2), (1, -2), (1, 1)])
def test_ranges_outside_the_frames_are_refused(network: STCN, start: int, end: int) -> None:
    frames, masks = frames_and_masks(3, 32, 32)
    with pytest.raises(InputError, match="range"):
        propagate_compat(network, frames, masks, start, end)


@pytest.mark.parametrize("shape", [(32, 32), (0, 32, 32), (1, 16, 32)])
def test_masks_of_another_shape_are_refused(network: STCN, shape: tuple[int, ...]) -> None:
    frames, _ = frames_and_masks(3, 32, 32)
    with pytest.raises(InputError, match="masks"):
        propagate_compat(network, frames, torch.zeros(shape), 0, 3)


@pytest.mark.parametrize("settings", [{"top_k": 0}, {"memory_every": 0}])
def test_impossible_settings_are_refused(network: STCN, settings: dict[str, Any]) -> None:
    frames, masks = frames_and_masks(3, 32, 32)
    with pytest.raises(InputError, match=next(iter(settings))):
        propagate_compat(network, frames, masks, 0, 3, **settings)


def a_volume(depth: int = 6, height: int = 27, width: int = 36) -> Volume:
    array = np.random.default_rng(0).integers(-300, 300, (depth, height, width)).astype(np.int16)
    return Volume(array, Geometry.axial((depth, height, width), (3.0, 1.0, 1.0)), "noise")


def keys_on(volume: Volume, *slices: int, labels: tuple[int, ...] = (3, 200)) -> KeySlices:
    keys = KeySlices(volume.array.shape)
    for z in slices:
        mask = np.zeros(volume.array.shape[1:], np.uint8)
        for n, label in enumerate(labels):
            mask[2 + 10 * n : 10 + 10 * n, z : z + 15] = label
        keys.add(z, mask)
    return keys


def test_volume_sums_the_passes_between_key_slices(network: STCN) -> None:
    volume = a_volume()
    keys = keys_on(volume, 1, 4)
    seen: list[tuple[int, int]] = []
    found = propagate_volume_compat(network, volume, keys, progress=lambda n, total: seen.append((n, total)))
    assert found.shape == volume.array.shape and found.dtype == np.uint8
    assert set(np.unique(found)) <= {0, 3, 200}
    for z in keys.slices():
        assert np.array_equal(found[z], keys.mask(z))
    assert seen == [(n, 6) for n in range(1, 7)]

    from volumes.windows import windowed

    frames = torch.from_numpy(windowed(volume.array))

    def a_pass(start: int, end: int) -> Tensor:
        masks = torch.from_numpy(np.stack([keys.mask(start) == label for label in (3, 200)])).float()
        return propagate_compat(network, frames, masks, start, end, include_last=True)

    values = np.array([0, 3, 200])
    between = a_pass(1, 4) + a_pass(4, 1)
    for z, probabilities in ((0, a_pass(1, -1)), (2, between), (3, between), (5, a_pass(4, 6))):
        assert np.array_equal(found[z], values[probabilities[:, z].argmax(0).numpy()])


def test_volume_from_one_key_slice_at_either_end(network: STCN) -> None:
    volume = a_volume(depth=3)
    for z in (0, 2):
        found = propagate_volume_compat(network, volume, keys_on(volume, z, labels=(7,)))
        assert np.array_equal(found[z] == 7, keys_on(volume, z, labels=(7,)).mask(z) == 7)


def test_volume_resized_for_the_network_comes_back_on_its_own_grid(network: STCN) -> None:
    volume = a_volume(depth=3)
    keys = keys_on(volume, 1)
    found = propagate_volume_compat(network, volume, keys, size=(32, 32))
    assert found.shape == volume.array.shape
    assert np.array_equal(found[1], keys.mask(1))


def test_volume_without_key_slices_is_refused(network: STCN) -> None:
    volume = a_volume(depth=3)
    with pytest.raises(InputError, match="no key slice"):
        propagate_volume_compat(network, volume, KeySlices(volume.array.shape))
