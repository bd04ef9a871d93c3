"""Inference: exact where the network is, on the volume's own grid, in memory that does not grow with the slices."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baseline3d.segmenter import VolumeSegmenter
from baseline3d.sliding import Windows, WindowSettings, window_starts
from volumes.errors import InputError
from volumes.volume import Geometry, Volume

sys.path.insert(0, str(Path(__file__).parent))
from seeing import STEP_HU, TABLE, seeing  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
VALUES = np.array([0, *TABLE], np.uint8)


def painted(
    shape: tuple[int, int, int], spacing: tuple[float, float, float] = (3.0, 1.0, 1.0), seed: int = 0
) -> Volume:
    """Random blocks of four classes."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 4, [-(-side // 3) for side in shape])
    classes = np.kron(blocks, np.ones((3, 3, 3), int))[: shape[0], : shape[1], : shape[2]]
    return Volume((classes * STEP_HU).astype(np.int16), Geometry.axial(shape, spacing), "painted")


def truth(volume: Volume) -> np.ndarray:
    return VALUES[volume.array // STEP_HU]


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("shape", [(13, 21, 17), (2, 5, 30), (4, 8, 8), (1, 1, 1)])
def test_exact_on_the_volumes_own_grid(head: str, shape: tuple[int, int, int]) -> None:
    volume = painted(shape)
    segmenter = VolumeSegmenter(seeing(head), precision="float32")
    assert np.array_equal(segmenter.segment_all(volume), truth(volume))
    assert set(segmenter._network.windows) == {(1, 1, 4, 8, 8)}  # type: ignore[arg-type]


@given(step=st.floats(0.1, 1.0), gaussian=st.booleans(), depth=st.integers(1, 15), width=st.integers(1, 25))
@settings(max_examples=25, deadline=None)
def test_windows_agree_however_far_apart(step: float, gaussian: bool, depth: int, width: int) -> None:
    volume = painted((depth, 9, width))
    segmenter = VolumeSegmenter(seeing(step=step, gaussian=gaussian), precision="float32")
    assert np.array_equal(segmenter.segment_all(volume), truth(volume))


@given(length=st.integers(1, 300), side=st.integers(1, 64), step=st.floats(0.05, 1.0))
@settings(deadline=None)
def test_windows_cover_an_axis(length: int, side: int, step: float) -> None:
    length = max(length, side)
    starts = window_starts(length, side, step)
    assert starts[0] == 0 and starts[-1] == length - side
    gaps = np.diff(starts)
    assert (gaps > 0).all() and (gaps <= max(1, int(side * step))).all()


def test_a_larger_step_takes_fewer_windows() -> None:
    counts = [
        Windows((90, 160, 160), (32, 64, 64), WindowSettings(step), torch.device("cpu")).count for step in (0.5, 0.9)
    ]
    assert counts == [80, 36]


def test_another_spacing_comes_back_on_the_grid() -> None:
    """A ball of one class at 1 x 1 x 3 mm, seen at 2 mm: the outline is off by less than a voxel."""
    z, y, x = np.indices((20, 40, 44))
    ball = ((z - 9) * 3) ** 2 + (y - 18) ** 2 + (x - 23) ** 2 < 15**2
    volume = Volume((ball * STEP_HU).astype(np.int16), Geometry.axial(ball.shape, (3.0, 1.0, 1.0)), "ball")
    model = seeing(spacing=(2.0, 2.0, 2.0), crop="dense", threshold=50.0, margin=6.0)
    found = VolumeSegmenter(model, precision="float32").segment_all(volume)
    assert found.shape == volume.shape and found.dtype == np.uint8
    liver = found == 2
    assert 2 * (liver & ball).sum() / (liver.sum() + ball.sum()) > 0.95


def test_one_shape_for_all() -> None:
    volume = painted((6, 12, 12))
    model = seeing(shape=(4, 8, 8), patch=(4, 8, 8))
    segmenter = VolumeSegmenter(model, precision="float32")
    segmenter.segment_all(volume)
    assert segmenter._network.windows == [(1, 1, 4, 8, 8)]  # type: ignore[comparison-overlap]


def test_outside_of_the_box_is_background() -> None:
    volume = Volume(np.full((6, 12, 12), STEP_HU, np.int16), Geometry.axial((6, 12, 12), (1.0, 1.0, 1.0)), "full")
    box = slice(1, 4), slice(2, 9), slice(0, 12)
    found = VolumeSegmenter(seeing(), precision="float32").segment_all(volume, box=box)
    assert (found[box] == 2).all() and (found > 0).sum() == found[box].size


def test_a_spacing_of_centimetres_is_refused() -> None:
    volume = Volume(np.zeros((8, 8, 8), np.int16), Geometry.axial((8, 8, 8), (900.0, 900.0, 900.0)), "huge")
    with pytest.raises(InputError, match="huge: found 7200 x 7200 x 7200 voxels.*check the spacing"):
        VolumeSegmenter(seeing(spacing=(1.0, 1.0, 1.0))).segment_all(volume)


LIMITED = """
import resource
import numpy as np, torch
torch.set_num_threads(1)
from seeing import seeing, STEP_HU
from volumes.errors import NotEnoughMemory
from baseline3d.segmenter import VolumeSegmenter
from volumes.volume import Geometry, Volume

def volume(depth):
    shape = depth, 128, 128
    return Volume(np.full(shape, STEP_HU, np.int16), Geometry.axial(shape, (1.0, 1.0, 1.0)), "long")

VolumeSegmenter(seeing(patch=(16, 32, 32)), precision="float32").segment_all(volume(17))  # libraries, threads
long = volume(600)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + long.array.size + 40 * 2**20  # what is there, the label map, and 40 MB
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for side in (128, 1024):
    try:
        print((VolumeSegmenter(seeing(patch=(16, side, side), step=0.9)).segment_all(long) == 2).all())
    except NotEnoughMemory as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a real limit on memory")
def test_memory_does_not_grow_with_the_slices() -> None:
    """The probabilities of 600 slices would be 157 MB of float32. A patch that does not fit names the setting."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", LIMITED], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    whole, refused = done.stdout.splitlines()
    assert whole == "True"
    assert refused.startswith("a patch of 16 x 1024 x 1024 voxels: found not enough memory")
    assert "lower input.patch" in refused
