"""Reading memory in tiles says what reading all of it at once says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from propagation_module.checkpoints import load_network
from propagation_module.grid import Box, InternalGrid
from propagation_module.local_read import TILE, around, tiles_of, tokens_in
from propagation_module.local_stcn import STRIDE, LocalSTCN
from propagation_module.trackers import Entry, LocalTracker, Look
from volumes.volume import Geometry, Volume

SHAPE = (8, 448, 448)
WIDE, OFF_GRID, SMALL = (16, 400, 32, 432), (20, 252, 44, 348), (160, 240, 176, 256)
CHANNELS, SPOKEN = 32, 6  # of a key, of a value
CLOSE = 5e-4  # of values around 1: keys as far apart as random ones leave some of the weight to what is far


class _Memory(LocalTracker):
    """A tracker whose slices are random tokens."""

    def entry(self, z: int, box: Box, seed: int, dtype: torch.dtype) -> Entry:
        generator = torch.Generator().manual_seed(seed)
        look = _look(z, box, [])
        place = self._places(look).flatten(2)
        key = torch.randn(1, CHANNELS, place.shape[2], generator=generator).to(dtype)
        value = torch.randn(1, SPOKEN, place.shape[2], generator=generator).to(dtype)
        return Entry(key, value, place, box)

    def both(self, look: Look, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """What memory says of a random query: in tiles, and all at once."""
        generator = torch.Generator().manual_seed(9)
        place = self._places(look)
        key = torch.randn(1, CHANNELS, *place.shape[2:], generator=generator).to(dtype)
        memory = [torch.cat([getattr(e, name) for e in look.memory], 2) for name in ("key", "value", "place")]
        return self._read(look, key), self.network.read(key, place, *memory)


def _look(z: int, box: Box, memory: list[Entry]) -> Look:
    nothing = np.zeros((0, 0), np.float32)
    return Look(z, box, memory, nothing, nothing, (0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def tracker() -> _Memory:
    network = load_network("small")
    assert isinstance(network, LocalSTCN)
    volume = Volume(np.zeros(SHAPE, np.int16), Geometry.axial(SHAPE, (3.0, 1.5, 1.5)), "test")
    grid = InternalGrid(volume, (0, SHAPE[1], 0, SHAPE[2]), pixel=1.5, multiple=16)
    return _Memory(network, grid, torch.device("cpu"))


@pytest.mark.parametrize("box", [WIDE, OFF_GRID, SMALL])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, CLOSE), (torch.bfloat16, 2e-2)])
@torch.inference_mode()
def test_tiles_say_what_all_at_once_says(tracker: _Memory, box: Box, dtype: torch.dtype, tolerance: float) -> None:
    memory = [tracker.entry(z, where, z, dtype) for z, where in ((0, box), (4, WIDE), (2, OFF_GRID))]
    tiled, dense = tracker.both(_look(3, box, memory), dtype)
    assert tiled.dtype == dtype and tiled.shape == dense.shape
    assert (tiled.float() - dense.float()).abs().max() <= tolerance


@torch.inference_mode()
def test_where_memory_does_not_reach_the_nearest_of_it_counts(tracker: _Memory) -> None:
    memory = [
        tracker.entry(0, (16, 96, 32, 112), 1, torch.float32),
        tracker.entry(4, (32, 112, 16, 96), 2, torch.float32),
    ]
    tiled, dense = tracker.both(_look(2, WIDE, memory))
    torch.testing.assert_close(tiled, dense, rtol=0, atol=CLOSE)


@torch.inference_mode()
def test_a_token_counts_up_to_the_reach_and_not_beyond(tracker: _Memory) -> None:
    """One token has all to say; a tile hears of it where it is near enough to be heard at all."""
    entry = tracker.entry(0, WIDE, 1, torch.float32)
    tile = tiles_of(WIDE)[0][0]
    reach = tracker.network.reach() / tracker.grid.pixel
    near = around(tile, [WIDE], reach)
    assert near[1] - tile[1] == math.ceil(reach / STRIDE) * STRIDE
    columns = (WIDE[3] - WIDE[2]) // STRIDE
    last = (near[1] - WIDE[0]) // STRIDE  # the first row of tokens that is too far
    for row, counts in ((last - 1, True), (last, False)):
        value = torch.zeros_like(entry.value)
        value[:, :, row * columns] = 1.0
        assert bool(tokens_in(value, WIDE, near).any()) == counts
        tiled, dense = tracker.both(_look(0, WIDE, [Entry(entry.key, value, entry.place, WIDE)]))
        torch.testing.assert_close(tiled, dense, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("box", [WIDE, OFF_GRID, SMALL, (0, 16, 0, 448)])
def test_tiles_cover_a_box_once_in_whole_tokens(box: Box) -> None:
    seen = np.zeros((448, 448), int)
    for top, bottom, left, right in (tile for row in tiles_of(box) for tile in row):
        assert not any(side % STRIDE for side in (top, bottom, left, right))
        assert max(bottom - top, right - left) <= 1.5 * TILE
        seen[top:bottom, left:right] += 1
    top, bottom, left, right = box
    assert (seen[top:bottom, left:right] == 1).all() and seen.sum() == (bottom - top) * (right - left)
