"""Coarse to fine: the box that one network finds is where the other one looks, in training and in use."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from baseline3d.boxes import overhang, with_margin
from baseline3d.cases import open_cases
from baseline3d.coarse_to_fine import region
from baseline3d.models import LoadedModel, load_model, save_model
from baseline3d.segmenter import VolumeSegmenter
from baseline3d.training import train
from baseline3d.training_settings import checked, read_whole
from volumes.datasets import read_dataset
from volumes.errors import InputError
from volumes.formats import read_volume
from volumes.volume import Geometry, Volume

sys.path.insert(0, str(Path(__file__).parent))
from seeing import STEP_HU, seeing  # noqa: E402

Write = Callable[..., Path]


def with_block() -> Volume:
    """A block of 4 x 10 x 10 voxels of one class, one of another at its side, and a speck of the first far off."""
    hu = np.zeros((20, 60, 64), np.int16)
    hu[8:12, 20:30, 24:34] = STEP_HU
    hu[8:12, 30:34, 24:34] = 2 * STEP_HU
    hu[0:2, 55:57, 60:62] = STEP_HU
    return Volume(hu, Geometry.axial(hu.shape, (5.0, 2.0, 2.0)), "block")


def test_the_box_of_what_the_coarse_network_sees() -> None:
    coarse = VolumeSegmenter(seeing(spacing=(5.0, 4.0, 4.0)), precision="float32")
    box = region(coarse, with_block(), 10.0)
    assert box == (slice(6, 14), slice(15, 39), slice(19, 39)), "10 mm about the two blocks, without the speck"
    air = Volume(np.zeros((4, 8, 8), np.int16), Geometry.axial((4, 8, 8), (1.0, 1.0, 1.0)), "air")
    assert region(coarse, air, 10.0) is None


def test_how_far_labels_reach_beyond_a_box() -> None:
    """Two voxels of 3 mm below it and three of 2 mm on its right; that much about it holds them."""
    inner = (slice(4, 8), slice(5, 6), slice(2, 13))
    outer = (slice(6, 9), slice(3, 8), slice(0, 10))
    assert overhang(inner, outer, (3.0, 1.0, 2.0)) == 6.0 and overhang(inner, inner, (3.0, 1.0, 2.0)) == 0.0
    grown = with_margin(outer, (20, 10, 12), (3.0, 1.0, 2.0), 6.0)
    assert grown == (slice(4, 11), slice(0, 10), slice(0, 12)), "as far as the volume goes"


def both(fine: LoadedModel, coarse: LoadedModel) -> LoadedModel:
    return replace(fine, coarse=coarse)


def test_the_fine_network_looks_there_and_nowhere_else() -> None:
    volume = with_block()
    fine = seeing(margin=10.0)
    alone = VolumeSegmenter(fine, precision="float32").segment_all(volume)
    assert alone[0, 55, 60] == 2
    segmenter = VolumeSegmenter(both(fine, seeing(spacing=(5.0, 4.0, 4.0))), precision="float32")
    found = segmenter.segment_all(volume)
    inside = (slice(6, 14), slice(15, 39), slice(19, 39))
    assert np.array_equal(found[inside], alone[inside]) and found[0, 55, 60] == 0
    whole = (slice(0, 20), slice(0, 60), slice(0, 64))
    assert np.array_equal(segmenter.segment_all(volume, box=whole), alone), "a box that is given goes before"


def test_where_the_coarse_network_finds_nothing_the_own_settings_count() -> None:
    blind = seeing(spacing=(5.0, 4.0, 4.0))
    blind.network.forward = lambda image: (
        torch.tensor([5.0, 0, 0, 0]).view(1, 4, 1, 1, 1).expand(-1, -1, *image.shape[2:])
    )  # type: ignore[method-assign] # noqa: E501
    volume = with_block()
    found = VolumeSegmenter(both(seeing(), blind), precision="float32").segment_all(volume)
    assert np.array_equal(found, VolumeSegmenter(seeing(), precision="float32").segment_all(volume))


def test_boxes_in_training_and_both_networks_in_one_file(
    training_set: Path, taught_3d: Path, tiny_recipe: Write, tmp_path: Path
) -> None:
    config, cache = tiny_recipe({"kind": "gao"}, steps=1), tmp_path / "cases"
    box = (slice(1, 5), slice(4, 20), slice(0, 30))
    dataset, inputs = read_dataset(training_set), checked(read_whole(config), "tiny").input
    cases = open_cases(dataset, cache=cache, inputs=inputs, boxes={"A": box})
    shapes = {case.name: case.shape for case in cases.labelled}
    assert shapes["A"] == (4, 8, 15) and shapes["B"] == (6, 17, 18), "2 x 2 x 3 mm become 4 x 4 x 3"
    first = next(case for case in cases.labelled if case.name == "A")
    whole = next(case for case in open_cases(dataset, cache=cache, inputs=inputs).labelled if case.name == "A")
    assert np.array_equal(np.asarray(first.image), np.asarray(whole.image)[1:5, 2:10, 0:15])
    assert first.labels is not None and whole.labels is not None
    assert np.array_equal(np.asarray(first.labels), np.asarray(whole.labels)[1:5, 2:10, 0:15])

    options = {"data": training_set, "device": "cpu", "cache": cache, "progress": False}
    weights = train(config, out=tmp_path / "run", boxes={"A": box}, coarse=taught_3d, **options)
    loaded = load_model(weights)
    assert loaded.coarse is not None and loaded.coarse.described == load_model(taught_3d).described
    for name, tensor in load_model(taught_3d).network.state_dict().items():
        assert torch.equal(loaded.coarse.network.state_dict()[name], tensor)
    volume = read_volume(training_set / "imagesVal" / "X_0000.nii.gz")
    expected = region(VolumeSegmenter(load_model(taught_3d)), volume, inputs.margin)
    assert VolumeSegmenter(loaded).find_box(volume) == expected is not None

    save_model(loaded.network, loaded.described, tmp_path / "alone.safetensors")
    assert load_model(tmp_path / "alone.safetensors").coarse is None
    with pytest.raises(InputError, match="boxes was"):
        train(config, out=tmp_path / "run", coarse=taught_3d, **options)
