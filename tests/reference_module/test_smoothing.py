"""Slices averaged along z: by millimetres, whatever the spacing, with a few slices in memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from reference_module.smoothing import REACH, SMOOTHING_MM, smoothed


@pytest.mark.parametrize(("depth", "spacing"), [(1, 3.0), (2, 3.0), (12, 3.0), (30, 0.5), (7, 5.0), (4, 40.0)])
def test_slices_are_averaged_with_their_neighbours(depth: int, spacing: float) -> None:
    given = torch.rand(depth, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    found = list(smoothed(given, depth, spacing))
    assert len(found) == depth
    reach = min(REACH, int(3 * SMOOTHING_MM / spacing))
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (steps * spacing / SMOOTHING_MM) ** 2)
    for z, mean in enumerate(found):
        near = given[np.clip(z + steps, 0, depth - 1)].numpy()
        np.testing.assert_allclose(mean, np.average(near, axis=0, weights=weights), rtol=1e-5)
    if spacing > 3 * SMOOTHING_MM:
        assert torch.equal(torch.stack(found), given), "too far apart to have a say"


def test_a_few_slices_are_kept() -> None:
    taken: list[weakref.ref[Tensor]] = []

    def slices() -> Iterator[Tensor]:
        for _ in range(60):
            one = torch.rand(2, 3, 3)
            taken.append(weakref.ref(one))
            yield one
            del one

    most = 0
    for z, _ in enumerate(smoothed(slices(), 60, 0.5)):
        assert len(taken) <= z + REACH + 1, "as they are needed"
        most = max(most, sum(one() is not None for one in taken))
    assert most <= 2 * REACH + 2
