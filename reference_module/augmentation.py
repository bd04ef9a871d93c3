"""Augmentation of slices for the reference module.

What bends a slice is done in HU, with more of the slice around the crop than is kept, so that no false air turns
in at the corners; noise and blur too, as they belong to the scanner. Brightness, contrast and gamma are changed
behind the windows. What a call does depends on its random generator alone.
"""

from __future__ import annotations

import os
from random import Random

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # read at import: no question to the network

import albumentations as A  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from volumes.resampling import AIR  # noqa: E402

NOISE_HU = (3.0, 30.0)
"""Least and greatest standard deviation of the noise that is added."""


class SliceAugmenter:
    """Geometric and intensity changes of a slice with its labels.

    Args:
        size: side of the square that is kept.
        strength: 0 changes nothing, 1 is the default mix; scales ranges and, below 1, probabilities.

    Attributes:
        margin: pixels on each side, beyond the square, that `bend` needs.
    """

    def __init__(self, size: int, strength: float) -> None:
        self.strength = strength
        self.margin = round(0.2 * size) if strength > 0 else 0
        s, often = min(strength, 2.0), min(strength, 1.0)
        self._geometry = A.Compose(
            [
                A.Affine(
                    scale=(1.0 - 0.2 * s, 1.0 + 0.25 * s),
                    rotate=(-15.0 * s, 15.0 * s),
                    shear=(-6.0 * s, 6.0 * s),
                    interpolation=cv2.INTER_LINEAR,
                    mask_interpolation=cv2.INTER_NEAREST,
                    border_mode=cv2.BORDER_CONSTANT,
                    fill=AIR,
                    p=0.7 * often,
                ),
                A.CenterCrop(size, size),
            ]
        )
        self._intensity = A.Compose(
            [
                # Mild: HU are calibrated, and more than this turns a whole body white in the chest window.
                A.RandomBrightnessContrast(brightness_limit=0.06 * s, contrast_limit=0.12 * s, p=0.4 * often),
                A.RandomGamma(gamma_limit=(100.0 - 20.0 * s, 100.0 + 25.0 * s), p=0.3 * often),
            ]
        )

    def bend(
        self, plane: NDArray[np.int16], labels: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """A crop in HU and its labels, both of `size + 2 margin` a side: turned, scaled, sheared, blurred, noisy.

        Returns:
            The inner squares of `size` a side.
        """
        if self.strength == 0:
            return plane, labels
        self._geometry.set_random_state(rng, Random(int(rng.integers(2**32))))
        changed = self._geometry(image=plane.astype(np.float32), mask=labels)
        return np.rint(self._scanned(changed["image"], rng)).astype(np.int16), changed["mask"]

    def tint(self, images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """A windowed slice (3, H, W) in [0, 1] with other brightness, contrast or gamma."""
        if self.strength == 0:
            return images
        self._intensity.set_random_state(rng, Random(int(rng.integers(2**32))))
        changed = self._intensity(image=np.ascontiguousarray(images.transpose(1, 2, 0)))["image"]
        return np.ascontiguousarray(changed.transpose(2, 0, 1))

    def _scanned(self, plane: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Blurred on 1 slice of 10, noisy on 3 of 10. In HU, which albumentations would clip to [0, 1]."""
        often = min(self.strength, 1.0)
        if rng.random() < 0.1 * often:
            width = float(rng.uniform(0.3, 0.3 + 0.7 * self.strength))
            plane = np.asarray(cv2.GaussianBlur(plane, (0, 0), width), np.float32)
        if rng.random() < 0.3 * often:
            deviation = np.float32(rng.uniform(*NOISE_HU) * self.strength)
            plane = plane + deviation * rng.standard_normal(plane.shape, dtype=np.float32)
        return np.clip(plane, -32768, 32767)
