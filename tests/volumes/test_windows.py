"""Windowing of a batch of slices."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from volumes.windows import MAX_SLICES, WINDOWS, windowed


def test_windows_are_those_of_the_paper_in_their_order() -> None:
    assert WINDOWS == {"abdomen": (-150, 250), "chest": (-1350, 225), "spine": (-500, 1300)}
    assert list(WINDOWS) == ["abdomen", "chest", "spine"]


def test_every_value_is_truncated_to_a_grey_level() -> None:
    every = np.arange(-32768, 32768).astype(np.int16).reshape(1, 256, 256)
    channels = windowed(every)
    assert channels.shape == (1, 3, 256, 256) and channels.dtype == np.float32
    for channel, (low, high) in enumerate(WINDOWS.values()):
        values = channels[0, channel].ravel()
        for hu in (-32768, low - 1, low, low + 1, -1, 0, 1, 40, high - 1, high, high + 1, 32767):
            exact = Fraction(255 * (min(max(hu, low), high) - low), high - low)
            assert values[hu + 32768] == np.float32(int(exact)) / np.float32(255)
        assert values.min() == 0 and values.max() == 1
        assert len(np.unique(values)) == 256


def test_a_batch_keeps_its_order() -> None:
    batch = np.random.default_rng(0).integers(-1000, 1500, (4, 3, 5)).astype(np.int16)
    np.testing.assert_array_equal(windowed(batch)[2], windowed(batch[2:3])[0])


def test_only_batches_of_slices_are_taken() -> None:
    with pytest.raises(ValueError, match="at most"):
        windowed(np.zeros((MAX_SLICES + 1, 2, 2), np.int16))
    with pytest.raises(ValueError, match="int16"):
        windowed(np.zeros((1, 2, 2), np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="int16"):
        windowed(np.zeros((2, 2), np.int16))
