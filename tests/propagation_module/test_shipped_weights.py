"""The weights that ship do what the README says: better than copying the nearest key slice."""

from __future__ import annotations

import numpy as np
import pytest

from propagation_module.checkpoints import load_network, shipped_weights
from propagation_module.propagator import Propagator
from tools.benchmark.classical import nearest_copy
from volumes.key_slices import KeySlices
from volumes.metrics import dice
from volumes.phantom import make_phantom

ORGANS = (1, 2, 3, 13)  # liver, both kidneys, spleen


def test_they_are_small_enough_for_the_repository() -> None:
    path = shipped_weights("small")
    assert path is not None and path.stat().st_size <= 25_000_000
    assert path.with_name("README.md").is_file(), "weights come with a model card"


@pytest.mark.parametrize("marks", [True, False])
def test_they_beat_the_nearest_key_slice_on_a_phantom(marks: bool) -> None:
    phantom = make_phantom(5, shape=(30, 112, 112), spacing=(6.0, 3.2, 3.2), missing=())
    truth = phantom.labels.array
    keys, extents = KeySlices(truth.shape), {}
    for z in range(4, 30, 8):
        there = np.where(np.isin(truth[z], ORGANS), truth[z], 0).astype(np.uint8)
        if there.any():
            keys.add(z, there)
    for organ in keys.labels:
        on = np.flatnonzero((truth == organ).any((1, 2)))
        extents[organ] = (int(on[0]), int(on[-1]))
    result = Propagator(load_network("small")).propagate(phantom.volume, keys, extents=extents if marks else None)
    ours, copied = [], []
    for organ in keys.labels:
        mask, (low, high) = truth == organ, extents[organ]
        given = np.zeros_like(mask)
        given[keys.slices_with(organ)] = mask[keys.slices_with(organ)]
        copy = np.zeros_like(mask)
        inside = [z - low for z in keys.slices_with(organ)]
        copy[low : high + 1] = nearest_copy(given[low : high + 1], inside)
        ours.append(dice(mask, result.labels == organ))
        copied.append(dice(mask, copy))
    assert len(ours) >= 3
    # Without marks it must find the ends itself, which the copy is told.
    assert np.mean(ours) > np.mean(copied) + (0.03 if marks else 0.0), (ours, copied)
