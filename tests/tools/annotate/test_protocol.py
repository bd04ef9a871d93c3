"""Masks and sets of pixels as they travel between server and page."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tools.annotate.protocol import decode_mask, encode_mask, mask_block, pixels_of, runs_of

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))
LABELS = st.sampled_from([0, 0, 0, 1, 127, 128, 255])
MASKS = SHAPES.flatmap(lambda shape: npst.arrays(np.uint8, shape, elements=LABELS))
SETS = SHAPES.flatmap(lambda shape: npst.arrays(np.bool_, shape))


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_a_mask_comes_back(mask: np.ndarray) -> None:
    assert np.array_equal(decode_mask(encode_mask(mask), mask.shape), mask)


def test_the_code_is_varints_of_length_and_value() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask.flat[300:305] = 200
    # 300 zeros, 5 of label 200, 95 zeros: low seven bits first, the high bit says that more follow
    assert encode_mask(mask) == bytes([0xAC, 0x02, 0, 5, 0xC8, 0x01, 95, 0])
    assert mask_block(mask)[:4] == bytes([8, 0, 0, 0])


def test_a_run_is_as_long_as_a_slice() -> None:
    mask = np.full((1500, 1500), 7, np.uint8)
    assert np.array_equal(decode_mask(encode_mask(mask), mask.shape), mask)
    assert len(encode_mask(mask)) == 5


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b"\x04",  # a length without a value
        b"\x84",  # a number that does not end
        b"\x03\x00",  # too short
        b"\x05\x00",  # too long
        b"\x04\x00\x00\x01",  # an empty run
        b"\x04\x80\x02",  # the value 256
        b"\x84\x80\x80\x80\x80\x00\x00",  # six digits
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x00",
    ],
)
def test_broken_codes_are_refused(code: bytes) -> None:
    with pytest.raises(ValueError, match="run-length code"):
        decode_mask(code, (2, 2))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_no_bytes_break_the_decoder(code: bytes) -> None:
    try:
        mask = decode_mask(code, (3, 5))
    except ValueError:
        return
    assert mask.shape == (3, 5)


@settings(max_examples=200, deadline=None)
@given(SETS)
def test_a_set_of_pixels_comes_back(pixels: np.ndarray) -> None:
    assert np.array_equal(pixels_of(runs_of(pixels), pixels.shape), pixels)


def test_runs_that_touch_are_one_set() -> None:
    assert np.flatnonzero(pixels_of([3, 2, 5, 1], (2, 4))).tolist() == [3, 4, 5]
    assert not pixels_of([], (2, 4)).any()


@pytest.mark.parametrize(
    "runs", [[1], [0, 0], [5, 2, 1, 1], [1, 3, 2, 1], [7, 2], [8, 1], [-1, 2], [2**31, 1], [0, 2**31]]
)
def test_broken_runs_are_refused(runs: list[int]) -> None:
    with pytest.raises(ValueError, match="run"):
        pixels_of(runs, (2, 4))


def test_a_slice_of_512_x_512_takes_milliseconds() -> None:
    def best(work: Callable[[], object]) -> float:
        seconds = []
        for _ in range(5):
            start = time.thread_time()  # the machine may be busy with other things
            work()
            seconds.append(time.thread_time() - start)
        return min(seconds)

    organs = np.zeros((512, 512), np.uint8)
    organs[100:300, 100:300], organs[200:400, 250:450] = 3, 200
    specks = organs * (np.random.default_rng(0).random((512, 512)) > 0.05)  # some 20,000 runs
    assert best(lambda: encode_mask(organs)) < 0.005
    assert best(lambda: encode_mask(specks)) < 0.02
    assert best(lambda: pixels_of(runs_of(specks > 0), specks.shape)) < 0.02
