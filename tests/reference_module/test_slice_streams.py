"""Batches of slices: what is in them, how often each slice comes, and that they can be drawn again."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from networks.training.case_store import StoredCase
from reference_module.augmentation import SliceAugmenter
from reference_module.slice_streams import SliceSettings, SliceStream
from volumes.errors import InputError
from volumes.labels import Label, LabelTable
from volumes.windows import windowed

LEFT, RIGHT, CORD = 3, 5, 9  # label numbers with gaps: classes 1, 2, 3
HU = {LEFT: 110, RIGHT: 40, CORD: 180}
NAMES = {LEFT: "left_lung", RIGHT: "Right Lung", CORD: "cord"}
TABLE = LabelTable([Label(number, name, (1, 2, 3)) for number, name in NAMES.items()])
Case = Callable[..., StoredCase]


@pytest.fixture
def stored(tmp_path: Path) -> Case:
    """A case in a store: two lungs on slices 2 to 3, the cord on slices 0 to 7, grey that tells them apart."""

    def make(
        name: str = "a",
        shape: tuple[int, int, int] = (10, 40, 40),
        structures: tuple[int, ...] = (LEFT, RIGHT, CORD),
        contoured: tuple[int, ...] | None = None,
        labels: bool = True,
    ) -> StoredCase:
        numbers = np.zeros(shape, np.uint8)
        numbers[2:4, 5:15, -15:-5] = LEFT  # the patient's left is on the right of the picture
        numbers[2:4, 5:15, 5:15] = RIGHT
        numbers[0:8, 25:29, 18:22] = CORD
        numbers[~np.isin(numbers, structures)] = 0
        image = np.zeros(shape, np.int16)
        for label, grey in HU.items():
            image[numbers == label] = grey
        image += (np.arange(shape[0]) - 60)[:, None, None].astype(np.int16)
        np.save(tmp_path / f"{name}.image.npy", image)
        np.save(tmp_path / f"{name}.labels.npy", numbers)
        where = {label: np.flatnonzero((numbers == label).any((1, 2))) for label in structures}
        label_file = tmp_path / f"{name}.labels.npy" if labels else None
        return StoredCase(name, tmp_path / f"{name}.image.npy", label_file, shape, (3, 1, 1), contoured, where)

    return make


def _stream(
    *cases: StoredCase, labelled: bool = True, batch: int = 4, seed: int = 1, **settings: object
) -> SliceStream:
    chosen = SliceSettings(**{"size": 40, **settings})  # type: ignore[arg-type]
    return SliceStream(cases, TABLE, settings=chosen, labelled=labelled, batch_size=batch, seed=seed)


def _slices(stream: SliceStream, number: int) -> list[tuple[int, int, int | None]]:
    return [stream.draw(n, np.random.default_rng(n)) for n in range(number)]


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_batch_is_what_the_volume_holds(stored: Case) -> None:
    case = stored()
    stream = _stream(case, batch=10)
    batch = stream.batch(0)
    assert {name: (tuple(entry.shape), entry.dtype) for name, entry in batch.items()} == {
        "image": ((10, 3, 40, 40), torch.float32),
        "position": ((10,), torch.float32),
        "label": ((10, 40, 40), torch.int64),
        "known": ((10, 4), torch.bool),
    }
    assert case.labels is not None
    for item, (_, z, _) in enumerate(_slices(stream, 10)):
        np.testing.assert_array_equal(batch["image"][item].numpy(), windowed(case.image[z : z + 1])[0])
        assert float(batch["position"][item]) == pytest.approx(z / 10)
        classes = np.select([case.labels[z] == label for label in (LEFT, RIGHT, CORD)], [1, 2, 3], 0)
        np.testing.assert_array_equal(batch["label"][item].numpy(), classes)
    assert batch["known"].all()


def test_without_labels(stored: Case) -> None:
    batch = _stream(stored(labels=False), labelled=False, rare=0.5).batch(0)
    assert set(batch) == {"image", "position"}
    labelled = _stream(stored(), labelled=False, rare=0.5)
    assert set(labelled.batch(0)) == {"image", "position"}
    assert all(structure is None for *_, structure in _slices(labelled, 20))


def test_one_window(stored: Case) -> None:
    image, three = _stream(stored(), windows="one").batch(0)["image"], _stream(stored()).batch(0)["image"]
    assert torch.equal(image[:, 0], three[:, 0]) and torch.equal(image[:, 1], image[:, 0])
    assert torch.equal(image[:, 2], image[:, 0]) and not torch.equal(three[:, 1], three[:, 0])


@pytest.mark.parametrize("settings", [{}, {"rare": 0.4, "augmentation": 1.0, "flips": "swap", "size": 32}])
def test_a_batch_depends_on_seed_rank_and_number_alone(stored: Case, settings: dict[str, object]) -> None:
    cases = [stored("a"), stored("b", (13, 30, 50))]
    stream = _stream(*cases, **settings)
    batches = [stream.batch(number) for number in range(6)]
    assert _same(_stream(*cases, **settings).batch(4), batches[4]), "resumed"
    assert _same(stream.batch(1), batches[1]), "drawn again"
    assert not _same(batches[0], batches[1])
    assert not _same(_stream(*cases, seed=2, **settings).batch(0), batches[0])
    chosen = SliceSettings(**{"size": 40, **settings})  # type: ignore[arg-type]
    ranked = SliceStream(cases, TABLE, settings=chosen, labelled=True, batch_size=4, seed=1, rank=1)
    assert not _same(ranked.batch(0), batches[0])
    resumed = SliceStream(cases, TABLE, settings=chosen, labelled=True, batch_size=4, seed=1, start=2)
    for one, other in zip(itertools.islice(iter(resumed), 3), batches[2:5], strict=True):
        assert _same(one, other)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than there may be processors
def test_workers_keep_the_order(stored: Case) -> None:
    stream = _stream(stored(), rare=0.5, augmentation=1.0)
    for number, batch in enumerate(itertools.islice(DataLoader(stream, batch_size=None, num_workers=2), 5)):
        assert _same(batch, stream.batch(number))


def test_every_slice_once_before_any_comes_again(stored: Case) -> None:
    stream = _stream(stored("a"), stored("b", (7, 40, 40)))
    drawn = [(case, z) for case, z, _ in _slices(stream, 34)]
    whole = {(0, z) for z in range(10)} | {(1, z) for z in range(7)}
    assert set(drawn[:17]) == set(drawn[17:]) == whole
    assert drawn[:17] != drawn[17:], "in another order"


def test_structures_of_few_slices_and_few_cases_are_drawn_as_often(stored: Case) -> None:
    cases = [stored("a"), stored("b", structures=(CORD,)), stored("c", structures=(CORD,), contoured=(CORD,))]
    stream = _stream(*cases, rare=0.4)
    drawn = _slices(stream, 300)
    counts = Counter(structure for *_, structure in drawn)
    assert counts == {None: 180, LEFT: 40, RIGHT: 40, CORD: 40}
    for case, z, structure in drawn:
        assert structure is None or z in cases[case].slices_of[structure]
    cord = Counter(case for case, _, structure in drawn if structure == CORD)
    assert max(cord.values()) - min(cord.values()) <= 1, "from all cases that have it"
    for batch in range(10):
        assert 1 <= sum(s is not None for *_, s in drawn[batch * 5 : batch * 5 + 5]) <= 3, "spread over the batches"


def test_what_a_case_does_not_contour_is_not_drawn(stored: Case) -> None:
    stream = _stream(stored(contoured=(CORD,)), rare=1.0)
    assert {structure for *_, structure in _slices(stream, 30)} == {CORD}
    assert stream.batch(0)["known"].tolist() == [[True, False, False, True]] * 4


def test_without_any_structure_all_slices_are_drawn(stored: Case) -> None:
    stream = _stream(stored(structures=(), contoured=()), rare=1.0)
    assert sorted(z for _, z, _ in _slices(stream, 10)) == list(range(10))
    assert stream.batch(0)["known"].tolist() == [[True, False, False, False]] * 4


def test_air_around_small_slices(stored: Case) -> None:
    batch = _stream(stored(shape=(10, 40, 30)), size=64, batch=10).batch(0)
    air = torch.from_numpy(windowed(np.full((1, 1, 1), -1024, np.int16))[0, :, 0, 0])
    outside = (batch["image"] == air[None, :, None, None]).all(1)
    assert torch.equal(outside.sum((1, 2)), torch.full((10,), 64 * 64 - 40 * 30))
    assert not batch["label"][outside].any()
    corners = {tuple(torch.nonzero(~one)[0].tolist()) for one in outside}
    assert len(corners) > 5, "not always at one place"


@pytest.mark.parametrize("augmentation", [0.0, 1.0])
def test_the_structure_that_was_drawn_is_in_the_square(stored: Case, augmentation: float) -> None:
    stream = _stream(stored(shape=(10, 120, 200)), size=32, rare=1.0, batch=60, augmentation=augmentation)
    drawn, labels = _slices(stream, 60), stream.batch(0)["label"]
    seen = [int(labels[item].eq({LEFT: 1, RIGHT: 2, CORD: 3}[int(s or 0)]).sum()) for item, (*_, s) in enumerate(drawn)]
    assert sum(count > 0 for count in seen) >= (60 if augmentation == 0 else 54)


def test_squares_of_large_slices_hold_the_body(stored: Case, tmp_path: Path) -> None:
    case = stored(shape=(10, 100, 100), labels=False)
    image = np.full((10, 100, 100), -1000, np.int16)
    image[:, 70:90, 5:25] = 30
    np.save(tmp_path / "a.image.npy", image)
    seen = _stream(case, labelled=False, size=40, batch=30).batch(0)["image"][:, 0].amax((1, 2))
    assert (seen > 0).all()


def _places(batch: dict[str, Tensor], wanted: int) -> set[tuple[bool, bool]]:
    """In which quarters (upper?, left?) of the picture a class's centre lies, over the slices that show it."""
    found = set()
    for label in batch["label"]:
        points = torch.nonzero(label == wanted).float()
        if len(points):
            y, x = points.mean(0).tolist()
            found.add((y < 20, x < 20))
    return found


def _grey(hu: int, z: int) -> float:
    return float(windowed(np.full((1, 1, 1), hu + z - 60, np.int16))[0, 0, 0, 0])


def test_mirrored_slices_keep_the_sides_of_the_patient(stored: Case) -> None:
    stream = _stream(stored(contoured=(LEFT, CORD)), rare=1.0, flips="swap", batch=40)
    batch = stream.batch(0)
    assert _places(batch, 1) == {(True, False)} and _places(batch, 2) == {(True, True)}
    mirrored = batch["known"][:, 2]
    assert 5 < int(mirrored.sum()) < 35
    assert torch.equal(batch["known"][:, 1], ~mirrored) and batch["known"][:, [0, 3]].all()
    for item, position in enumerate(batch["position"]):
        left = batch["image"][item, 0][batch["label"][item] == 1]
        grey = _grey(HU[RIGHT if mirrored[item] else LEFT], round(10 * float(position)))
        assert torch.allclose(left, torch.tensor(grey)), "what was the right lung is called the left one"


def test_free_flips_leave_the_labels_as_they_are(stored: Case) -> None:
    stream = _stream(stored(contoured=(LEFT, RIGHT)), rare=1.0, flips="free", batch=60)
    batch = stream.batch(0)
    assert _places(batch, 1) == set(itertools.product((True, False), repeat=2))
    for item, position in enumerate(batch["position"]):
        left = batch["image"][item, 0][batch["label"][item] == 1]
        assert torch.allclose(left, torch.tensor(_grey(HU[LEFT], round(10 * float(position)))))
    assert batch["known"].tolist() == [[True, True, True, False]] * 60


def test_a_structure_of_one_side_cannot_be_mirrored(stored: Case) -> None:
    alone = LabelTable([TABLE[LEFT], TABLE[CORD]])
    settings = SliceSettings(size=40, flips="swap")
    with pytest.raises(InputError, match="'left_lung' without a 'right_lung'.*set flips: none"):
        SliceStream([stored()], alone, settings=settings, labelled=True, batch_size=1, seed=0)


def test_what_bends_the_slice_bends_its_labels() -> None:
    augment = SliceAugmenter(64, 1.0)
    side = 64 + 2 * augment.margin
    yy, xx = np.mgrid[:side, :side]
    labels = ((yy - 35) ** 2 + (xx - 60) ** 2 < 18**2).astype(np.uint8)
    plane = np.where(labels > 0, 1000, -800).astype(np.int16)
    moved = 0
    for seed in range(40):
        bent, bent_labels = augment.bend(plane, labels, np.random.default_rng(seed))
        assert bent.shape == bent_labels.shape == (64, 64) and bent.dtype == np.int16 and bent_labels.dtype == np.uint8
        found = bent > 100
        assert 2 * (found & (bent_labels > 0)).sum() / (found.sum() + bent_labels.sum()) > 0.97
        assert bent.min() > -1000, "no air turns in"
        m = augment.margin
        moved += not np.array_equal(bent_labels, labels[m:-m, m:-m])
        again, _ = augment.bend(plane, labels, np.random.default_rng(seed))
        assert np.array_equal(bent, again)
    assert 20 < moved < 39


def test_what_turns_in_from_beyond_a_small_slice_is_air() -> None:
    augment = SliceAugmenter(64, 2.0)
    side = 64 + 2 * augment.margin
    plane, labels = np.full((side, side), -1024, np.int16), np.zeros((side, side), np.uint8)
    assert all(augment.bend(plane, labels, np.random.default_rng(seed))[0].max() < -600 for seed in range(60))


def test_ranks_change_one_slice_differently(stored: Case) -> None:
    case, settings = stored(shape=(1, 40, 40)), SliceSettings(size=40, augmentation=1.0)
    first, second = (
        SliceStream([case], TABLE, settings=settings, labelled=True, batch_size=4, seed=1, rank=rank)
        for rank in (0, 1)
    )
    assert not _same(first.batch(0), second.batch(0))


def test_brightness_stays_within_the_windows() -> None:
    augment, image = SliceAugmenter(16, 1.0), np.random.default_rng(0).random((3, 16, 16), dtype=np.float32)
    changed = [augment.tint(image, np.random.default_rng(seed)) for seed in range(30)]
    assert all(one.min() >= 0 and one.max() <= 1 and one.dtype == np.float32 for one in changed)
    assert all(np.abs(one - image).max() < 0.3 for one in changed)
    assert 8 < sum(not np.array_equal(one, image) for one in changed) < 28


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"size": 0}, "training.slices.size: found 0; expected 1 or more"),
        ({"rare": 1.5}, "training.slices.rare: found 1.5"),
        ({"augmentation": -1.0}, "training.slices.augmentation: found -1.0"),
        ({"flips": "mirror"}, "flips: found mirror; expected one of none, free, swap"),
        ({"windows": "two"}, "found windows 'two'"),
    ],
)
def test_bad_settings(change: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        SliceSettings(**change)  # type: ignore[arg-type]


def test_no_case() -> None:
    with pytest.raises(InputError, match="no unlabelled case"):
        _stream(labelled=False)
