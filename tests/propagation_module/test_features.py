"""The cache of key features: what it returns, how often it encodes, how much it keeps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from propagation_module.features import LEAST_KEPT, FeatureCache

CPU = torch.device("cpu")


class _Grid:
    volume = SimpleNamespace(shape=(400, 16, 16))

    def image(self, z: int) -> np.ndarray:
        return np.full((3, 16, 16), z, np.float32)


class _Features(NamedTuple):
    double: Tensor
    more: Tensor


def _encode(image: Tensor) -> _Features:
    return _Features(image[:, :1] * 2, image[:, :, ::2, ::2] + 1)


def _cache(budget: int) -> FeatureCache:
    grid: Any = _Grid()
    return FeatureCache(_encode, grid, CPU, torch.float32, budget=budget)


def _right(cache: FeatureCache, z: int) -> bool:
    image, (double, more) = cache(z)
    return bool((image == z).all() and (double == 2 * z).all() and (more == z + 1).all())


def test_a_slice_is_encoded_once() -> None:
    cache = _cache(2**30)
    assert all(_right(cache, z) for z in [*range(50), *range(49, -1, -1)])
    assert cache.encoded == 50


def test_beyond_its_budget_slices_are_encoded_again_and_nothing_more_is_kept() -> None:
    cache = _cache(1)
    with torch.inference_mode():
        assert all(_right(cache, z) for z in [*range(200), *range(199, -1, -1), 3, 190, 3])
    assert len(cache._kept) == LEAST_KEPT and 200 < cache.encoded <= 402 - LEAST_KEPT


def test_what_was_returned_holds_while_others_are_asked_for() -> None:
    cache = _cache(1)
    with torch.inference_mode():
        for z in range(LEAST_KEPT + 5):
            cache(z)
        held = [cache(z) for z in range(100, 100 + LEAST_KEPT)]
        assert all(bool((image == 100 + i).all()) for i, (image, _) in enumerate(held))
