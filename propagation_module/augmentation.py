"""Augmentation of training samples: one draw for all slices of a sample.

Slices of a sample belong together: what bends one bends all, or there would be nothing to propagate.
albumentations draws once for its ``images`` and ``masks`` targets. Noise is the exception: a scanner's noise
differs in every slice (the same noise in two would give the answer away), so it is added here, in HU, as the
windows see it.

Nothing is hidden between calls: what a call draws depends on its seed alone. Without a seed, calls are
counted, and ``state`` is that count. 3.4 ms of one core for 4 slices of 112x112 with masks.
"""

from __future__ import annotations

import os
from random import Random

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # read at import: no question to the network

import albumentations as A  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

WINDOW_WIDTHS_HU = (400.0, 1575.0, 1800.0)  # abdomen, chest, spine: systems.md 1.2


class Augmenter:
    """Geometric and intensity changes of a sample's slices and masks.

    Args:
        strength: 0 changes nothing, 1 is the default mix; scales ranges and, below 1, probabilities.
        seed: of the calls that bring no seed of their own.

    Raises:
        ValueError: a negative strength.

    Example:
        >>> augment = Augmenter(strength=1.0, seed=7)
        >>> images, masks = augment(images, masks, seed=index)  # (N,H,W,3) float32, (N,H,W) uint8
    """

    def __init__(self, strength: float = 1.0, *, seed: int = 0) -> None:
        if strength < 0:
            raise ValueError(f"strength is {strength}, expected 0 or more")
        self.strength = strength
        self.seed = seed
        self.state = 0  # calls without a seed so far; set it back to resume exactly
        self._pipeline = A.Compose(_transforms(strength), seed=seed) if strength > 0 else None

    def __call__(
        self, images: NDArray[np.float32], masks: NDArray[np.uint8], *, seed: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Change a sample.

        Args:
            images: (N,H,W,3) float32 in [0, 1], windowed.
            masks: (N,H,W) uint8; any values, which stay what they are (nearest pixel).
            seed: the same seed draws the same changes.

        Returns:
            images and masks of the same shapes and dtypes, not the same memory.

        Raises:
            ValueError: shapes or dtypes other than these.
        """
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.float32:
            raise ValueError(f"images are {images.shape} {images.dtype}, expected (N,H,W,3) float32")
        if masks.shape != images.shape[:3] or masks.dtype != np.uint8:
            raise ValueError(f"masks are {masks.shape} {masks.dtype}, expected {images.shape[:3]} uint8")
        if seed is None:
            seed = int(np.random.SeedSequence((self.seed, self.state)).generate_state(1)[0])
            self.state += 1
        if self._pipeline is None:
            return images.copy(), masks.copy()
        # One stream for all transforms: Compose.set_random_seed would start each at the same number (2.0.8),
        # and horizontal and vertical flips, for one, would always come together.
        rng = np.random.default_rng(seed)
        self._pipeline.set_random_state(rng, Random(int(rng.integers(2**32))))
        changed = self._pipeline(images=images, masks=masks)
        noisy = _add_noise(changed["images"], self.strength, rng)
        return _own(noisy, images), _own(changed["masks"], masks)


def _transforms(strength: float) -> list[A.BasicTransform | A.BaseCompose]:
    """The albumentations part. Elastic costs as much as all the rest, so it is rare."""
    s, often = min(strength, 2.0), min(strength, 1.0)
    return [
        A.HorizontalFlip(p=0.3 * often),
        A.VerticalFlip(p=0.3 * often),
        A.Affine(
            scale=(1.0 - 0.2 * s, 1.0 + 0.25 * s),
            rotate=(-20.0 * s, 20.0 * s),
            shear=(-8.0 * s, 8.0 * s),
            translate_percent=(-0.06 * s, 0.06 * s),
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_NEAREST,
            border_mode=cv2.BORDER_CONSTANT,
            p=0.7 * often,
        ),
        A.ElasticTransform(
            alpha=60.0 * s,
            sigma=8.0,
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_NEAREST,
            border_mode=cv2.BORDER_CONSTANT,
            p=0.06 * often,
        ),
        A.RandomBrightnessContrast(
            brightness_limit=0.12 * s, contrast_limit=min(0.25 * s, 0.9), p=0.4 * often
        ),
        A.RandomGamma(gamma_limit=(100.0 - 30.0 * min(s, 1.5), 100.0 + 40.0 * s), p=0.3 * often),
        A.GaussianBlur(sigma_limit=(0.3, 0.3 + 0.7 * s), blur_limit=0, p=0.1 * often),
    ]


def _add_noise(images: NDArray[np.float32], strength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Gaussian noise of up to 30 HU x strength on 3 samples in 10: (N,H,W,3), the same HU in each window."""
    if rng.random() >= 0.3 * min(strength, 1.0):
        return images
    hu = rng.standard_normal(images.shape[:3], dtype=np.float32) * np.float32(
        rng.uniform(3.0, 30.0) * strength
    )
    noisy = hu[..., None] * np.reciprocal(np.array(WINDOW_WIDTHS_HU, dtype=np.float32))
    noisy += images
    return np.clip(noisy, 0.0, 1.0, out=noisy)


def _own(array: NDArray, given: NDArray) -> NDArray:
    """The array, contiguous and not the caller's memory: some transforms return what they were given."""
    return array.copy() if np.may_share_memory(array, given) else np.ascontiguousarray(array)
