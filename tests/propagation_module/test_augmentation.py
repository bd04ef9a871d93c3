"""Augmentation: one draw for all slices of a sample, repeatable, and labels stay labels."""

from __future__ import annotations

import os

import numpy as np
import pytest
from numpy.typing import NDArray

from propagation_module.augmentation import Augmenter

SEEDS = range(60)


def sample(slices: int = 4, size: int = 48) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The same slice `slices` times: a bright, off-centre block in a smooth ramp."""
    image = np.linspace(0.1, 0.6, size * size * 3, dtype=np.float32).reshape(1, size, size, 3)
    image[:, 10:24, 20:40] = 0.9
    mask = np.zeros((1, size, size), np.uint8)
    mask[:, 10:24, 20:40] = 1
    mask[:, 30:40, 8:18] = 6
    return image.repeat(slices, 0), mask.repeat(slices, 0)


def test_one_draw_for_all_slices() -> None:
    images, masks = sample()
    augment = Augmenter(1.0, seed=0)
    changed = 0
    for seed in SEEDS:
        new_images, new_masks = augment(images, masks, seed=seed)
        assert (new_masks == new_masks[:1]).all()
        # Noise is drawn for each slice, everything else once: slices that were alike differ by noise alone.
        difference = np.abs(new_images - new_images[:1])
        assert difference.mean() < 0.08
        assert np.abs((new_images - new_images[:1]).mean(axis=(1, 2, 3))).max() < 0.01
        changed += not np.array_equal(new_masks, masks)
    assert changed > len(SEEDS) / 2


def test_masks_move_with_images() -> None:
    images, masks = sample(slices=1)
    augment = Augmenter(1.0, seed=0)
    agreed = []
    for seed in SEEDS:
        new_images, new_masks = augment(images, masks, seed=seed)
        bright = np.median(new_images[new_masks == 1]) - np.median(new_images[new_masks != 1])
        agreed.append(bright > 0.1)
    assert np.mean(agreed) > 0.95


def test_masks_keep_their_values() -> None:
    images, masks = sample()
    augment = Augmenter(1.5, seed=0)
    for seed in SEEDS:
        new_images, new_masks = augment(images, masks, seed=seed)
        assert set(np.unique(new_masks)) <= {0, 1, 6}
        assert new_masks.dtype == np.uint8 and new_masks.shape == masks.shape
        assert new_images.dtype == np.float32 and new_images.shape == images.shape
        assert new_images.min() >= 0 and new_images.max() <= 1


def test_seed_alone_decides() -> None:
    images, masks = sample()
    one, other = Augmenter(1.0, seed=1), Augmenter(1.0, seed=2)
    for _ in range(5):
        other(images, masks)  # a history must not matter
    for seed in SEEDS:
        (first, its_masks), (second, other_masks) = (
            one(images, masks, seed=seed),
            other(images, masks, seed=seed),
        )
        assert np.array_equal(first, second) and np.array_equal(its_masks, other_masks)


def test_counted_calls_resume_from_their_state() -> None:
    images, masks = sample()
    augment = Augmenter(1.0, seed=5)
    whole = [augment(images, masks)[0] for _ in range(6)]
    resumed = Augmenter(1.0, seed=5)
    resumed.state = 3
    for expected in whole[3:]:
        assert np.array_equal(resumed(images, masks)[0], expected)
    assert any(not np.array_equal(whole[0], later) for later in whole[1:])


def test_draws_of_different_transforms_are_independent() -> None:
    """Flips in x come with and without flips in y (seeding every transform alike would couple them)."""
    size = 32
    ramp = np.zeros((1, size, size, 3), np.float32)
    ramp[0, :, :, 0] = np.linspace(0, 0.5, size)[None] + np.linspace(0, 0.25, size)[:, None]
    seen = set()
    augment = Augmenter(1.0, seed=0)
    for seed in range(80):
        new, _ = augment(ramp, np.zeros((1, size, size), np.uint8), seed=seed)
        middle = new[0, 10:22, 10:22, 0]
        seen.add(
            (bool(middle[:, -1].mean() > middle[:, 0].mean()), bool(middle[-1].mean() > middle[0].mean()))
        )
    assert len(seen) == 4


def test_noise_differs_between_slices() -> None:
    images = np.full((2, 32, 32, 3), 0.5, np.float32)
    masks = np.zeros((2, 32, 32), np.uint8)
    augment = Augmenter(1.0, seed=0)
    noisy = [
        new for new, _ in (augment(images, masks, seed=s) for s in SEEDS) if new[0, 12:20, 12:20].std() > 1e-3
    ]
    assert noisy
    assert all(not np.array_equal(new[0], new[1]) for new in noisy)


def test_strength_nought_changes_nothing_and_inputs_stay() -> None:
    images, masks = sample()
    same, alike = Augmenter(0.0, seed=0)(images, masks, seed=1)
    assert np.array_equal(same, images) and np.array_equal(alike, masks)
    before = images.copy(), masks.copy()
    augment = Augmenter(1.0, seed=0)
    for seed in SEEDS:
        new_images, new_masks = augment(images, masks, seed=seed)
        new_images += 1
        new_masks += 1
    assert np.array_equal(images, before[0]) and np.array_equal(masks, before[1])


def test_no_question_to_the_network_and_wrong_input_is_named() -> None:
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"]
    images, masks = sample()
    with pytest.raises(ValueError, match="float32"):
        Augmenter(1.0, seed=0)(images.astype(np.float64), masks)
    with pytest.raises(ValueError, match="uint8"):
        Augmenter(1.0, seed=0)(images, masks[:2])
    with pytest.raises(ValueError, match="strength"):
        Augmenter(-1.0, seed=0)
