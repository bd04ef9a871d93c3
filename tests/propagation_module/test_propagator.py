"""The propagator, with an untrained network: LocalSTCN then carries the shape itself, which is all these need."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from propagation_module.checkpoints import build_network
from propagation_module.fusion import TYPICAL, compose, expected_dice, refresh
from propagation_module.propagator import Propagation, Propagator
from propagation_module.stcn import STCN
from volumes.errors import InputError
from volumes.key_slices import KeySlices
from volumes.volume import Geometry, Volume

SHAPE, SPACING = (14, 40, 56), (3.0, 1.5, 2.0)


@pytest.fixture(scope="module")
def propagator() -> Propagator:
    torch.manual_seed(3)
    return Propagator(build_network("small"), pixel=1.5)


@pytest.fixture(scope="module")
def volume() -> Volume:
    rng = np.random.default_rng(0)
    array = rng.normal(40, 20, SHAPE).astype(np.int16)
    return Volume(array, Geometry.axial(SHAPE, SPACING), "test")


def _plane(**boxes: tuple[int, int, int, int]) -> np.ndarray:
    """`l3=(top, bottom, left, right)` paints label 3."""
    plane = np.zeros(SHAPE[1:], np.uint8)
    for name, (top, bottom, left, right) in boxes.items():
        plane[top:bottom, left:right] = int(name[1:])
    return plane


def _keys(**planes: np.ndarray) -> KeySlices:
    """`z5=plane`."""
    keys = KeySlices(SHAPE)
    for name, plane in planes.items():
        keys.add(int(name[1:]), plane)
    return keys


def _thin(depth: int) -> Volume:
    """A volume of so few slices."""
    shape = (depth, *SHAPE[1:])
    array = np.random.default_rng(1).normal(40, 20, shape).astype(np.int16)
    return Volume(array, Geometry.axial(shape, SPACING), "thin")


def _labels(result: Propagation, label: int) -> list[int]:
    return np.flatnonzero((result.labels == label).any((1, 2))).tolist()


BOX = (12, 24, 20, 34)
OTHER = (26, 36, 8, 20)


def test_a_label_reaches_every_slice_and_keys_stay(propagator: Propagator, volume: Volume) -> None:
    plane = _plane(l3=BOX)
    result = propagator.propagate(volume, _keys(z6=plane))
    assert result.labels.shape == SHAPE and result.labels.dtype == np.uint8
    assert _labels(result, 3) == list(range(14))
    assert np.array_equal(result.labels[6], plane)


def test_what_was_painted_is_never_changed(propagator: Propagator, volume: Volume) -> None:
    """Labels of other key slices may come in where nothing was painted, never over paint."""
    ragged = _plane(l3=BOX, l7=(14, 20, 34, 40))
    ragged[5, 5] = 7  # a stray pixel is as sacred as any other
    result = propagator.propagate(volume, _keys(z3=ragged, z9=_plane(l5=BOX)))
    assert np.array_equal(result.labels[3][ragged > 0], ragged[ragged > 0])
    assert not np.isin(result.labels[3][ragged == 0], [3, 7]).any()
    assert (result.labels[9] == 5).sum() == (_plane(l5=BOX) > 0).sum()


def test_unknown_is_not_absent(propagator: Propagator, volume: Volume) -> None:
    first, second = _plane(l3=BOX), _plane(l5=OTHER)
    unknown = propagator.propagate(volume, _keys(z4=first, z8=second))
    assert 8 in _labels(unknown, 3), "slice 8 says nothing of label 3"
    absent = _keys(z4=first)
    absent.add(8, second, labels=[3, 5])
    told = propagator.propagate(volume, absent)
    assert 8 not in _labels(told, 3)
    assert max(_labels(told, 3)) < 8, "nothing crosses a slice on which it is absent"


def test_complete_key_slices_say_absent(propagator: Propagator, volume: Volume) -> None:
    keys = KeySlices(SHAPE)
    keys.add(4, _plane(l3=BOX), complete=True)
    keys.add(8, _plane(l5=OTHER), complete=True)
    result = propagator.propagate(volume, keys)
    assert 8 not in _labels(result, 3) and 4 not in _labels(result, 5)


def test_marks_are_honoured(propagator: Propagator, volume: Volume) -> None:
    result = propagator.propagate(volume, _keys(z6=_plane(l3=BOX)), extents={3: (4, 9)})
    found = _labels(result, 3)
    assert min(found) >= 4 and max(found) <= 9
    assert {5, 6, 7} <= set(found)
    assert (result.confidence[3][[0, 1, 12, 13]] == 0).all() or (result.labels[[0, 1, 12, 13]] != 3).all()


def test_marks_that_exclude_a_painted_slice_are_refused(propagator: Propagator, volume: Volume) -> None:
    with pytest.raises(InputError, match="label 3 on key slice 6.*between its marks 7 and 9"):
        propagator.propagate(volume, _keys(z6=_plane(l3=BOX)), extents={3: (7, 9)})


def test_no_label_at_all_is_refused(propagator: Propagator, volume: Volume) -> None:
    with pytest.raises(InputError, match="no label on any key slice"):
        propagator.propagate(volume, KeySlices(SHAPE))


def test_labels_do_not_disturb_each_other(propagator: Propagator, volume: Volume) -> None:
    """Two labels far apart on their own slices: each comes out as if alone."""
    alone = propagator.propagate(volume, _keys(z6=_plane(l3=BOX)))
    both = propagator.propagate(volume, _keys(z6=_plane(l3=BOX), z8=_plane(l9=(30, 38, 44, 54))))
    assert np.array_equal(alone.labels == 3, both.labels == 3)


def test_order_and_repetition_change_nothing(propagator: Propagator, volume: Volume) -> None:
    planes = {"z2": _plane(l3=BOX), "z6": _plane(l3=OTHER, l5=BOX), "z11": _plane(l5=BOX)}
    once = propagator.propagate(volume, _keys(**planes))
    again = propagator.propagate(volume, _keys(**dict(reversed(planes.items()))))
    assert np.array_equal(once.labels, again.labels)
    for label in (3, 5):
        assert np.array_equal(once.confidence[label], again.confidence[label])


def test_between_two_key_slices_the_shape_moves_over(propagator: Propagator, volume: Volume) -> None:
    result = propagator.propagate(volume, _keys(z2=_plane(l3=(10, 20, 10, 22)), z10=_plane(l3=(10, 20, 22, 34))))
    centres = [np.flatnonzero((result.labels[z] == 3).any(0)).mean() for z in range(2, 11)]
    assert all(b >= a - 0.5 for a, b in zip(centres, centres[1:], strict=False))
    assert centres[0] == pytest.approx(15.5) and centres[-1] == pytest.approx(27.5)


def test_confidence_is_one_where_given_and_a_share_elsewhere(propagator: Propagator, volume: Volume) -> None:
    confidence = propagator.propagate(volume, _keys(z6=_plane(l3=BOX))).confidence[3]
    assert confidence.shape == (14,)
    assert confidence[6] == 1.0
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_255_labels(propagator: Propagator) -> None:
    shape = (5, 64, 80)
    volume = Volume(np.zeros(shape, np.int16), Geometry.axial(shape, (3.0, 1.5, 1.5)), "many")
    plane = np.zeros(shape[1:], np.uint8)
    for label in range(1, 256):
        row, column = divmod(label - 1, 20)
        plane[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] = label
    keys = KeySlices(shape)
    keys.add(2, plane)
    result = propagator.propagate(volume, keys, extents={label: (2, 3) for label in range(1, 256)})
    assert np.array_equal(result.labels[2], plane)
    assert len(result.confidence) == 255
    assert not result.labels[[0, 1, 4]].any()


@pytest.mark.parametrize("complete", [False, True])
def test_a_volume_of_one_slice_comes_back_as_it_was_given(propagator: Propagator, complete: bool) -> None:
    volume, plane = _thin(1), _plane(l3=BOX, l7=(0, 1, 55, 56))
    keys = KeySlices(volume.shape)
    keys.add(0, plane, complete=complete)
    seen: list[tuple[int, int]] = []
    for extents in ({}, {3: (0, 0)}):
        result = propagator.propagate(
            volume, keys, extents=extents, progress=lambda done, total: seen.append((done, total))
        )
        assert np.array_equal(result.labels, plane[None])
        assert {label: sure.tolist() for label, sure in result.confidence.items()} == {3: [1.0], 7: [1.0]}
    assert not seen, "there is nothing to do"
    session = propagator.open(volume)
    session.annotate(0, plane)
    assert list(session.propagate()) == [] and session.slices_encoded == 0
    assert session.suggest() is None, "no slice is left to annotate"


@pytest.mark.parametrize("key", [0, 1])
def test_a_volume_of_two_slices(propagator: Propagator, key: int) -> None:
    volume, plane, other = _thin(2), _plane(l3=BOX), 1 - key
    keys = KeySlices(volume.shape)
    keys.add(key, plane)
    result = propagator.propagate(volume, keys)
    assert np.array_equal(result.labels[key], plane) and (result.labels[other] == 3).any()
    assert result.confidence[3][key] == 1.0 and 0.0 <= result.confidence[3][other] < 1.0
    marked = propagator.propagate(volume, keys, extents={3: (key, key)})
    assert np.array_equal(marked.labels[key], plane) and not marked.labels[other].any()
    keys.add(other, _plane(l5=OTHER), complete=True)
    both = propagator.propagate(volume, keys)
    assert np.array_equal(both.labels[other], _plane(l5=OTHER))
    assert (both.labels[key] == 5).any(), "the first slice says nothing of label 5"
    assert np.array_equal(both.labels[key] == 3, plane == 3)


def test_a_structure_that_is_gone_stays_gone() -> None:
    """A network that sees nothing: the label ends, and the rest of the volume is not filled with it."""
    network = build_network("small")
    with torch.no_grad():
        network.decoder.out.bias.copy_(torch.tensor([-30.0, 0.0, 0.0]))  # type: ignore[union-attr,operator]
    shape = (20, 32, 32)
    volume = Volume(np.zeros(shape, np.int16), Geometry.axial(shape, (3.0, 1.5, 1.5)), "empty")
    keys = KeySlices(shape)
    plane = np.zeros(shape[1:], np.uint8)
    plane[10:20, 10:20] = 1
    keys.add(10, plane)
    result = Propagator(network).propagate(volume, keys)
    assert _labels(result, 1) == [10]


def test_progress_counts_steps_to_the_last(propagator: Propagator, volume: Volume) -> None:
    seen: list[tuple[int, int]] = []
    propagator.propagate(
        volume, _keys(z6=_plane(l3=BOX)), extents={3: (4, 9)}, progress=lambda done, total: seen.append((done, total))
    )
    assert {total for _, total in seen} == {5}, "two slices below, three above"
    assert [done for done, _ in seen] == sorted(done for done, _ in seen) and seen[-1] == (5, 5)


def test_stcn_runs_through_the_same_propagator(volume: Volume) -> None:
    torch.manual_seed(0)
    network = STCN(key_encoder="resnet18", value_encoder="resnet18", value_dim=64)
    plane = _plane(l3=BOX, l5=OTHER)
    propagator = Propagator(network, pixel=None, memory_every=2)
    result = propagator.propagate(volume, _keys(z6=plane), extents={3: (5, 8), 5: (5, 8)})
    assert np.array_equal(result.labels[6], plane)
    again = propagator.propagate(volume, _keys(z6=plane), extents={3: (5, 8), 5: (5, 8)})
    assert np.array_equal(result.labels, again.labels)


def test_who_gets_a_pixel_does_not_depend_on_order() -> None:
    rng = np.random.default_rng(4)
    maps = {label: rng.random((6, 7)).astype(np.float32) for label in (2, 5, 9)}
    maps[9][2:4] = maps[2][2:4]  # a tie goes to the lower label
    window = (slice(1, 7), slice(0, 7))
    results = [
        compose((8, 7), [(label, maps[label], window) for label in order])
        for order in ((2, 5, 9), (9, 5, 2), (5, 9, 2))
    ]
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])
    assert (results[0][3:5] != 9).all()
    stacked = np.stack([maps[label] for label in (2, 5, 9)])
    expected = np.where(stacked.max(0) > 0.5, np.array([2, 5, 9])[stacked.argmax(0)], 0)
    assert np.array_equal(results[0][1:7], expected)
    assert not results[0][[0, 7]].any()


def test_expected_dice() -> None:
    sure = np.zeros((8, 8), np.float32)
    sure[2:6, 2:6] = 1.0
    assert expected_dice(sure) == 1.0
    assert expected_dice(np.zeros((8, 8), np.float32)) == 1.0
    unsure = sure * np.float32(0.6)
    assert expected_dice(unsure) == pytest.approx(2 * 9.6 / (16 + 9.6))
    assert expected_dice(sure * np.float32(0.4)) == pytest.approx(0.6)


def test_a_fading_mask_is_refreshed_and_a_sure_one_left_alone() -> None:
    ramp = np.clip(np.linspace(0.0, 0.7, 50, dtype=np.float32), 0, 1).reshape(5, 10)
    fresh = refresh(ramp)
    assert np.array_equal(fresh > 0.5, ramp > 0.5), "no pixel changes sides"
    assert np.median(fresh[fresh > 0.5]) > np.median(ramp[ramp > 0.5])
    even = np.where(ramp > 0.5, 0.8, 0.1).astype(np.float32)
    assert np.median(refresh(even)[even > 0.5]) == pytest.approx(TYPICAL, abs=1e-3)
    sure = np.where(ramp > 0.5, 0.97, 0.02).astype(np.float32)
    np.testing.assert_allclose(refresh(sure), sure, atol=1e-6)
    nothing = np.full((3, 3), 0.4, np.float32)
    assert np.array_equal(refresh(nothing), nothing)
