"""Patches that wait: what comes back, what is used again, what goes to disk."""

from __future__ import annotations

import numpy as np
import pytest

from propagation_module import shelf as module
from propagation_module.grid import Patch
from propagation_module.shelf import Shelf, rounded


def _patch(seed: int, size: int = 24) -> Patch:
    rng = np.random.default_rng(seed)
    top, left = (int(v) for v in rng.integers(0, 400, 2))
    return Patch(rng.random((size, size + 8)).astype(np.float32), (top, top + size, left, left + size + 8))


def test_what_comes_back_is_what_rounded_says() -> None:
    shelf, patch = Shelf(9), _patch(0)
    shelf.put(200, 4, patch)
    back = shelf.get(200, 4)
    assert back is not None and back.box == patch.box
    assert np.array_equal(back.probability, rounded(patch).probability)
    assert np.abs(back.probability - patch.probability).max() <= 0.5 / 255 + 1e-6


def test_nothing_there_is_not_the_same_as_not_known() -> None:
    shelf = Shelf(9)
    assert not shelf.known(3, 2)
    shelf.put(3, 2, None)
    assert shelf.known(3, 2) and shelf.get(3, 2) is None
    shelf.drop(3, 2)
    assert not shelf.known(3, 2)


def test_patches_do_not_overwrite_each_other_through_thousands_of_changes() -> None:
    shelf, rng, expected = Shelf(20), np.random.default_rng(1), {}
    for step in range(2000):
        key = int(rng.integers(1, 6)), int(rng.integers(20))
        if rng.random() < 0.2:
            shelf.drop(*key)
            expected.pop(key, None)
        else:
            expected[key] = rounded(_patch(step, int(rng.integers(8, 40))))
            shelf.put(*key, expected[key])
    for key, patch in expected.items():
        back = shelf.get(*key)
        assert back is not None and back.box == patch.box and np.array_equal(back.probability, patch.probability)
    for label in range(1, 6):
        assert [z for z in range(20) if shelf.known(label, z)] == sorted(z for one, z in expected if one == label)


def test_a_place_that_is_free_is_used_again() -> None:
    shelf = Shelf(3)
    for seed in range(50):
        shelf.put(1, 0, _patch(seed))
    once = Shelf(3)
    once.put(1, 0, _patch(0))
    assert shelf._end <= 2 * once._end


def test_beyond_its_budget_it_is_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY_BYTES", 1000)
    shelf = Shelf(30)
    for z in range(30):
        shelf.put(7, z, _patch(z))
    assert shelf._file._rolled  # type: ignore[attr-defined]
    for z in range(30):
        back = shelf.get(7, z)
        assert back is not None and np.array_equal(back.probability, rounded(_patch(z)).probability)
