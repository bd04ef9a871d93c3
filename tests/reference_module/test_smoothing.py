"""Slices averaged along z: by millimetres, whatever the spacing, with a few slices in memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from reference_module.smoothing import REACH, SMOOTHING_MM, smoothed, stretched


def probabilities(*shape: int) -> Tensor:
    """Of the classes of the last dimension but two, some sure, some not."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).mul(3).softmax(-3)


@pytest.mark.parametrize(("depth", "spacing"), [(1, 3.0), (2, 3.0), (12, 3.0), (30, 0.5), (7, 5.0), (4, 40.0)])
def test_slices_are_averaged_with_their_neighbours(depth: int, spacing: float) -> None:
    found = list(smoothed(probabilities(depth, 3, 4, 4), depth, spacing))
    given = torch.stack([stretched(one) for one in probabilities(depth, 3, 4, 4)])
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
            one = probabilities(2, 3, 3)
            taken.append(weakref.ref(one))
            yield one
            del one

    most = 0
    for z, _ in enumerate(smoothed(slices(), 60, 0.5)):
        assert len(taken) <= z + REACH + 1, "as they are needed"
        most = max(most, sum(one() is not None for one in taken))
    assert most <= 2 * REACH + 2


def test_stretched_keeps_outlines_sums_and_what_is_sure() -> None:
    given = probabilities(5, 40, 40) * 0.7 + 0.06
    before, found = given.clone(), stretched(given)
    assert torch.equal(given, before)
    torch.testing.assert_close(found.sum(0), torch.ones(40, 40))
    assert found.min() >= 0 and torch.equal(found.argmax(0), given.argmax(0))
    assert torch.equal(found > 0.5, given > 0.5), "where a line at .5 would run"
    torch.testing.assert_close(found.flatten(1).amax(1), torch.ones(5))
    unclear = given.amax(0) <= 0.5
    assert unclear.any()
    torch.testing.assert_close(found[:, unclear], given[:, unclear])
    torch.testing.assert_close(stretched(found), found)


@pytest.mark.parametrize("sure", [1.0, 0.5])
def test_one_class_everywhere_stays_what_it_is(sure: float) -> None:
    given = torch.stack([torch.full((3, 3), sure), torch.full((3, 3), 1 - sure)])
    torch.testing.assert_close(stretched(given), given)


def test_what_one_member_alone_knows_is_not_lost_to_its_drift() -> None:
    """Five pixels of 40, one pixel further on each slice: sure for one member, of which the other says nothing."""
    depth, z, x = 20, torch.arange(20)[:, None], torch.arange(40)
    truth = (x >= z + 5) & (x < z + 10)
    mean = torch.where(truth, 1.0, 0.0).add(0.05).div(2)
    given = torch.stack([1 - mean, mean], 1)[:, :, None]
    found = torch.stack(list(smoothed(given, depth, 3.0))).argmax(1)[:, 0] == 1
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9
