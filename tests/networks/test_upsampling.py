"""Classes on the file's pixels are those of the plain way: interpolate every class, take the greatest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from networks.upsampling import FilePixels
from volumes.resampling import resize

CPU = torch.device("cpu")
SIDES = st.tuples(st.integers(1, 24), st.integers(1, 24))


@settings(max_examples=80, deadline=None)
@given(SIDES, SIDES, st.integers(2, 40), st.floats(0.1, 8), st.integers(0, 2**31))
def test_as_the_plain_way(inner, native, classes: int, scale: float, seed: int) -> None:
    logits = torch.randn(classes, *inner, generator=torch.Generator().manual_seed(seed)) * scale
    probabilities = logits.softmax(0)
    whole = torch.from_numpy(np.stack([resize(plane, native) for plane in probabilities.numpy()]))
    found, sure = FilePixels(inner, native, CPU).classes_and_certainty(probabilities)
    assert found.dtype == np.uint8 and found.shape == native
    chosen = whole.gather(0, torch.from_numpy(found.astype(np.int64))[None])[0]
    torch.testing.assert_close(chosen, whole.amax(0), rtol=0, atol=1e-5)  # the greatest, but for rounding
    torch.testing.assert_close(torch.from_numpy(sure), whole.amax(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 50])
def test_the_lower_class_wins_a_tie(classes: int) -> None:
    even = torch.full((classes, 6, 5), 1 / classes)
    assert not FilePixels((6, 5), (6, 5), CPU).classes(even).any()


def test_growing_is_bilinear() -> None:
    probabilities = torch.rand(3, 7, 9).softmax(0)
    expected = F.interpolate(probabilities[None], size=(20, 30), mode="bilinear")[0].argmax(0).numpy()
    assert np.array_equal(FilePixels((7, 9), (20, 30), CPU).classes(probabilities), expected)
