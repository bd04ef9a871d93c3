"""Samples of the harder kind: key slices drawn by hand, ends, holes, thin structures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from propagation_module.fusion import refresh
from propagation_module.hand_drawn import hand_drawn
from propagation_module.rollout import _refreshed
from propagation_module.training_data import Pool, SampleStream, Source, load_pools
from propagation_module.triplets import FAR_KEY, KEY, Case, SampleSettings, draw_chain, draw_sample

SPACING = (3.0, 2.0, 2.0)


def _disc(y: float, x: float, radius: float, shape: tuple[int, int] = (48, 48)) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


@pytest.fixture(scope="module")
def case() -> Case:
    """1: a thick cylinder; 2: a thin one with a hole in it; 3: two branches of middling size. All end inside."""
    labels = np.zeros((30, 48, 48), np.uint8)
    labels[8:22, _disc(16, 16, 8)] = 1
    labels[8:13, _disc(16, 38, 2)] = 2
    labels[16:22, _disc(16, 38, 2)] = 2
    labels[8:22, _disc(38, 12, 4) | _disc(38, 34, 4)] = 3
    image = (labels * 60 + np.random.default_rng(0).normal(0, 10, labels.shape)).astype(np.int16)
    return Case("cylinders", image, labels, SPACING)


def _settings(**changes: object) -> SampleSettings:
    return SampleSettings(size=48, pixel=(1.9, 2.1), queries=5, **changes)  # type: ignore[arg-type]


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_drawn_by_hand_is_near_but_not_exact() -> None:
    thick, thin, pieces = _disc(24, 24, 12), _disc(24, 24, 2), _disc(14, 14, 6) | _disc(34, 34, 4)
    for mask, least in ((thick, 0.9), (thin, 0.6), (pieces, 0.8)):
        drawn = [hand_drawn(np.random.default_rng(seed), mask, 1.5) for seed in range(60)]
        scores = [_dice(mask, d) for d in drawn]
        assert all(d.dtype == bool and d.any() for d in drawn)
        assert least < np.mean(scores) < 0.995
        assert len({d.tobytes() for d in drawn}) > 25
        sizes = [d.sum() / mask.sum() for d in drawn]
        assert min(sizes) < 1 < max(sizes), "too far out, and too far in"
    assert np.array_equal(drawn[3], hand_drawn(np.random.default_rng(3), pieces, 1.5)), "repeatable"
    assert not hand_drawn(np.random.default_rng(0), np.zeros((9, 9)), 1.5).any()


def test_a_drawn_outline_wavers_by_a_millimetre_or_two() -> None:
    mask = _disc(48, 48, 25, (96, 96))
    inner, outer = _disc(48, 48, 21, (96, 96)), _disc(48, 48, 29, (96, 96))  # 4 mm each way
    for seed in range(40):
        drawn = hand_drawn(np.random.default_rng(seed), mask, 1.0)
        assert (drawn & outer).sum() > 0.97 * drawn.sum()
        assert (drawn & inner).sum() > 0.75 * inner.sum()  # a tip may be missed


def test_queries_stay_exact_while_key_slices_are_drawn_by_hand(case: Case) -> None:
    changed = 0
    for seed in range(30):
        noisy, exact = (
            draw_sample(
                np.random.default_rng(seed),
                case,
                case.structures[0],
                jump=6,
                settings=_settings(noisy_keys=share, detached=0.0),
            )
            for share in (1.0, 0.0)
        )
        assert np.array_equal(noisy["masks"], exact["masks"]), "truth is the truth"
        assert np.array_equal(exact["keys"], exact["masks"][: FAR_KEY + 1])
        assert set(np.unique(noisy["keys"])) <= {0.0, 1.0}
        assert np.array_equal(noisy["previous"], noisy["keys"][KEY]), "the first mask handed on is the drawn one"
        if not np.array_equal(noisy["keys"][KEY], exact["keys"][KEY]):
            changed += 1
            assert not np.array_equal(noisy["shapes"], exact["shapes"]), "the prior knows no more than was drawn"
    assert changed > 20


def test_rows_run_over_the_end_with_and_without_a_far_key_slice(case: Case) -> None:
    settings, structure = _settings(beyond=1.0), case.structures[0]
    with_far = 0
    for seed in range(80):
        chain = draw_chain(np.random.default_rng(seed), structure, 30, 3.0, 10, settings)
        assert structure.low <= chain.previous <= structure.high and chain.key in structure.slices
        beyond = [z for z in chain.queries if not structure.low <= z <= structure.high]
        assert beyond and chain.queries[-1] == beyond[-1]
        if chain.far is not None:
            with_far += 1
            assert (chain.far - chain.queries[-1]) * chain.direction > 0
    assert 15 < with_far < 65
    sample = draw_sample(np.random.default_rng(1), case, structure, jump=10, settings=settings)
    assert not sample["masks"][-1].any()
    assert not sample["valid"][FAR_KEY], "a slice without the structure leaves nothing in memory"


def test_no_row_is_sent_out_of_the_volume() -> None:
    labels = np.zeros((12, 48, 48), np.uint8)
    labels[:, _disc(24, 24, 8)] = 1  # through the whole volume: no end to run over
    whole = Case("whole", labels.astype(np.int16), labels, SPACING)
    for seed in range(20):
        chain = draw_chain(np.random.default_rng(seed), whole.structures[0], 12, 3.0, 6, _settings(beyond=1.0))
        assert all(0 <= z < 12 for z in chain.slices)


def test_rows_run_into_holes(case: Case) -> None:
    structure = case.structures[1]
    assert structure.holes == [(13, 15)]
    into = 0
    for seed in range(40):
        chain = draw_chain(np.random.default_rng(seed), structure, 30, 3.0, 6, _settings(beyond=0.0, holes=1.0))
        assert chain.key in structure.slices, "a key slice has its structure"
        into += any(13 <= z <= 15 for z in chain.queries)
    assert into > 36


def test_thin_and_branching_structures_are_drawn_more_often(case: Case) -> None:
    assert [s.thin for s in case.structures] == [False, True, True]

    def share(thin: float) -> float:
        stream = SampleStream(
            [Pool(1.0, [case])],
            settings=_settings(thin=thin),
            curriculum=[(0.0, 4)],
            batch_size=1,
            steps=10,
            seed=3,
            strength=0.0,
        )
        return float(np.mean([stream.draw(np.random.default_rng(i))[1].thin for i in range(600)]))

    assert share(1.0) == pytest.approx(2 / 3, abs=0.06)
    assert share(2.0) == pytest.approx(4 / 5, abs=0.06)


def test_batches_with_all_of_it_can_be_drawn_again(case: Case) -> None:
    settings = _settings(beyond=0.25, holes=0.3, thin=2.0, noisy_keys=0.5)
    streams = [
        SampleStream(
            [Pool(1.0, [case])],
            settings=settings,
            curriculum=[(0.0, 8)],
            batch_size=3,
            steps=10,
            seed=3,
            strength=1.0,
        )
        for _ in range(2)
    ]
    streams[0].batch(0)
    for name, value in streams[0].batch(7).items():
        # Distances differ in the last bit with where an array lies in memory; what they decide does not.
        torch.testing.assert_close(value, streams[1].batch(7)[name], rtol=1e-5, atol=1e-5, msg=name)


def test_what_is_handed_on_is_refreshed_as_in_use() -> None:
    faded = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.4
    handed = _refreshed(faded)
    for before, after in zip(faded.numpy(), handed.numpy(), strict=True):
        np.testing.assert_allclose(after, refresh(before), rtol=1e-5)
    assert handed.max() > faded.max() + 0.1, "surer than it was"


def test_cases_are_left_out_by_pattern(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    for name in ("HN_178", "HN_180", "HN_199", "HN_200"):
        (tmp_path / f"{name}_0000.nii.gz").touch()
    seen = []

    def read(path):  # type: ignore[no-untyped-def]
        seen.append(path.name)
        raise InterruptedError

    monkeypatch.setattr("propagation_module.training_data.read_volume", read)
    source = Source(images="*_0000.nii.gz", exclude=["HN_18*", "HN_19*", "HN_200"])
    with pytest.raises(InterruptedError):
        load_pools(tmp_path, [source], tmp_path, 0)
    assert seen == ["HN_178_0000.nii.gz"]
    everything = Source(images="*_0000.nii.gz", exclude=["HN_*"])
    with pytest.raises(ValueError, match="no file"):
        load_pools(tmp_path, [everything], tmp_path, 0)


def test_the_thinnest_masks_survive_being_drawn_by_hand() -> None:
    """Rounding may leave nothing of a line of one pixel; then it stays as it was."""
    for seed in range(300):
        rng = np.random.default_rng(seed)
        mask = np.zeros((40, 40), bool)
        mask[20, 12 : 13 + seed % 9] = True
        drawn = hand_drawn(rng, mask, 1.5)
        assert drawn.any() and drawn.dtype == bool
