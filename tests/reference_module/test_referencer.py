"""From a volume to labels on its own grid: what the pair says, where it says it, in bounded memory."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from reference_module.referencer import BATCH_PIXELS, Referencer
from volumes.errors import InputError
from volumes.labels import Label, LabelTable
from volumes.volume import Geometry, Volume

ONE = LabelTable([Label(3, "disc", (9, 9, 9))], "one")


class Bright(nn.Module):
    """Structure where the abdomen window is bright; the probability rises with the grey value."""

    def forward(self, images: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        grey = images[:, :1].clamp(0.02, 0.98)
        logits = torch.cat([torch.zeros_like(grey), torch.log(grey / (1 - grey))], 1)
        return logits, logits


def referencer(pair: nn.Module, pixel: float | None = None, **more: str) -> Referencer:
    return Referencer(pair, ONE, SimpleNamespace(pixel=pixel, windows="three"), **more)  # type: ignore[arg-type]


def blank(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (3.0, 1.0, 1.0)) -> Volume:
    return Volume(np.full(shape, -200, np.int16), Geometry.axial(shape, spacing), "blank")


def test_labels_area_agreement_certainty_and_peak(scene) -> None:
    one = scene((4, 20, 30))
    one.paint([1], 5, (2, 12, 3, 13))  # both alike, 0.99
    one.paint([2], 9, (0, 10, 0, 10), second=(0, 10, 5, 15), sure=4)  # 0.8; the two share half
    one.paint([3], 2, (0, 4, 0, 4), second=(8, 12, 8, 12), sure=3)  # 0.7; they share nothing
    found = one.referencer.segment(one.volume, [3, 1, 2, 1])
    assert found.slices == (1, 2, 3) and found.depth == 4 and found.spacing == 3.0
    truth = np.zeros((20, 30), np.uint8)
    truth[2:12, 3:13] = 5
    assert np.array_equal(found.mask(1), truth) and found.on(1) == [5]
    assert found.area_of(1, 5) == 100 and found.agreement_of(1, 5) == 1.0
    assert found.certainty_of(1, 5) == pytest.approx(0.99, abs=0.002)
    assert found.peak_of(1, 5) == pytest.approx(0.99, abs=0.002) and found.peak_of(1, 9) < 0.01
    assert found.agreement_of(2, 9) == pytest.approx(0.5)
    assert found.area_of(2, 9) == 100, "in doubt the first, which is more certain"
    both, alone = np.mean([0.8, 0.777]), np.mean([0.8, 0.074])  # the second's probability of what it does not see
    assert found.certainty_of(2, 9) == pytest.approx((both + alone) / 2, abs=0.002)
    assert found.peak_of(2, 9) == pytest.approx(both, abs=0.002)
    assert found.agreement_of(3, 2) == 0.0 and found.area_of(3, 2) == 16
    assert found.agreement_of(3, 5) == 1.0, "neither has any"


def test_all_slices_are_the_slices_one_by_one_where_they_are_far_apart(scene) -> None:
    one = scene((23, 16, 12), (15.0, 1.0, 1.0))
    one.paint(range(3, 20), 2, (1, 9, 2, 9), second=(1, 9, 3, 10), sure=5)
    one.paint(range(8, 11), 9, (10, 14, 1, 5))
    steps: list[tuple[int, int]] = []
    labels = one.referencer.segment_all(one.volume, lambda done, total: steps.append((done, total)))
    assert labels.dtype == np.uint8 and labels.shape == (23, 16, 12)
    assert np.array_equal(labels, one.referencer.segment(one.volume, range(23)).labels)
    assert np.array_equal(labels, one.referencer.segment_all(one.volume)), "same input, same output"
    assert steps == [(z + 1, 23) for z in range(23)]


def test_what_the_pair_says_of_one_slice_alone_is_outvoted_by_its_neighbours(scene) -> None:
    one = scene((15, 16, 12))
    one.paint([z for z in range(2, 13) if z != 7], 2, (1, 9, 2, 9))
    one.paint([5], 9, (10, 14, 1, 5))
    alone, labels = one.referencer.segment(one.volume, range(15)), one.referencer.segment_all(one.volume)
    assert not alone.area_of(7, 2) and alone.area_of(5, 9)
    assert (labels[7] == 2)[1:9, 2:9].all() and not (labels == 9).any()
    assert (labels == 2)[2:13].any((1, 2)).all() and not (labels == 2)[[0, 14]].any(), "an end stays where it is"


def test_the_pair_is_told_where_each_slice_lies(scene) -> None:
    one = scene((10, 8, 8))
    given_pair = one.referencer
    one.pair.positions.clear()
    given_pair.segment(one.volume, [9, 4])
    assert one.pair.positions == pytest.approx([0.4, 0.9])


@settings(max_examples=60, deadline=None)
@given(
    depth=st.integers(1, 4),
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    spacing=st.tuples(st.floats(0.2, 12), st.floats(0.2, 12), st.floats(0.2, 12)),
    pixel=st.sampled_from([None, 0.7, 2.0, 5.0]),
)
def test_any_volume_gets_labels_on_its_own_grid(depth, shape, spacing, pixel) -> None:
    volume = blank((depth, *shape), spacing)
    volume.array[0] = 400
    labels = referencer(Bright(), pixel).segment_all(volume)
    assert labels.shape == volume.shape
    if depth == 1 or spacing[0] > 6:  # nearer, neighbours have a say; Bright is .98 sure of either
        assert (labels[0] == 3).all() and not labels[1:].any()


@settings(max_examples=60, deadline=None)
@given(
    centre=st.tuples(st.floats(35, 65), st.floats(35, 65)),
    radius=st.floats(14, 25),
    spacing=st.tuples(st.floats(0.7, 4), st.floats(0.7, 4)),
    pixel=st.sampled_from([None, 1.0, 2.0, 3.0]),
)
def test_a_structure_comes_back_where_it_was(centre, radius, spacing, pixel) -> None:
    """A disc in a plane of 100 x 100 mm: neither moved nor grown by the way to the inner grid and back."""
    dy, dx = spacing
    y, x = ((np.arange(round(100 / step)) + 0.5) * step for step in spacing)
    disc = (y[:, None] - centre[0]) ** 2 + (x[None] - centre[1]) ** 2 <= radius**2
    hu = np.where(disc, 250, -150).astype(np.int16)[None]
    volume = Volume(hu, Geometry.axial(hu.shape, (3.0, dy, dx)), "disc")
    found = referencer(Bright(), pixel).segment_all(volume)[0] == 3
    step = max(dy, dx, pixel or 0)
    for axis, places in ((1, y), (0, x)):
        moved = np.average(places, weights=found.sum(axis)) - np.average(places, weights=disc.sum(axis))
        assert abs(moved) < 0.15 * step
    assert found.sum() == pytest.approx(disc.sum(), rel=0.06 * step)
    if pixel is None:
        assert np.array_equal(found, disc)


def test_outlines_are_smooth_on_a_finer_grid() -> None:
    """A slanted edge, seen at 4 mm, comes back to 1 mm without steps of 4 mm."""
    y, x = np.mgrid[:80, :80]
    hu = np.where(y + x / 3 > 50, 250, -150).astype(np.int16)[None]
    found = referencer(Bright(), 4.0).segment_all(Volume(hu, Geometry.axial(hu.shape, (3, 1, 1)), "edge"))[0] == 3
    edge = found.argmax(0)[8:72]
    assert np.abs(np.diff(edge)).max() <= 1 and np.abs(edge - (hu[0] > 0).argmax(0)[8:72]).max() <= 1


class Weighed(nn.Module):
    """Notes how many bytes of tensors are alive while it works."""

    def __init__(self) -> None:
        super().__init__()
        self.most, self.shapes = 0, set()

    def __deepcopy__(self, memo: dict) -> Weighed:
        return self

    def forward(self, images: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        alive = {one.data_ptr(): one.untyped_storage().nbytes() for one in gc.get_objects() if type(one) is Tensor}
        self.most = max(self.most, sum(alive.values()))
        self.shapes.add(tuple(images.shape))
        return Bright()(images, position)


def test_memory_does_not_grow_with_the_slices() -> None:
    most = []
    for depth in (48, 160):
        pair = Weighed()
        ready = referencer(pair)
        pair.most = 0
        ready.segment_all(blank((depth, 64, 64)))
        most.append(pair.most)
    assert most[1] <= 1.1 * most[0]


def test_a_batch_holds_so_many_pixels_and_no_more() -> None:
    pair = Weighed()
    ready = referencer(pair, 1.0)
    pair.shapes.clear()
    ready.segment_all(blank((9, 30, 20), (3.0, 20.0, 25.0)))  # 600 x 500 inside
    assert {shape[2:] for shape in pair.shapes} == {(600, 500)}
    assert max(shape[0] for shape in pair.shapes) * 600 * 500 <= BATCH_PIXELS


def test_an_absurd_spacing_does_not_fill_memory() -> None:
    pair = Weighed()
    labels = referencer(pair, 0.5).segment_all(blank((1, 40, 6), (3.0, 900.0, 1.0)))
    assert labels.shape == (1, 40, 6) and max(shape[2] for shape in pair.shapes) == 2048


class Wide(nn.Module):
    """So many classes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, images: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        logits = images[:, :1].repeat(1, self.classes, 1, 1)
        return logits, logits


def test_a_table_that_does_not_fit_is_named() -> None:
    with pytest.raises(InputError, match="label table one: found 1 labels for a pair of 3 classes; expected 2 labels"):
        referencer(Wide(3)).segment(blank((2, 8, 8)), [0])


def test_other_settings_are_refused() -> None:
    with pytest.raises(InputError, match="'half'; expected one of auto, float32, bfloat16"):
        referencer(Bright(), precision="half")
    with pytest.raises(InputError, match="'four'; expected one of three, one"):
        Referencer(Bright(), ONE, SimpleNamespace(pixel=None, windows="four"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="slices -1 to 1 of a volume of 2"):
        referencer(Bright()).segment(blank((2, 8, 8)), [1, -1])


def test_what_is_said_of_every_slice_leads_to_its_labels(scene) -> None:
    one = scene((14, 16, 12))
    one.paint(range(3, 9), 2, (1, 9, 2, 9), second=(1, 9, 3, 10), sure=5)
    pair, volume = one.referencer, one.volume
    found, segmented = list(pair.look(volume)), pair.segment(volume, range(14))
    assert [each.z for each in found] == list(range(14))
    labels = np.array([0, 2, 5, 9])[[pair.file_pixels(volume).classes(each.mean) for each in found]]
    assert np.array_equal(labels, segmented.labels)
    np.testing.assert_allclose([each.agreement() for each in found], segmented.agreement, rtol=1e-6)


def test_no_slice_is_no_error() -> None:
    assert referencer(Bright()).segment(blank((2, 8, 8)), []).labels.shape == (0, 8, 8)
