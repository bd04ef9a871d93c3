"""Augmentation of patches, weak and strong, in the numbers of the four papers; MONAI's transforms.

What bends a patch is done in HU, with more of the volume around it than is kept, so that no false air turns in at the
corners; what changes its values is done on what the network sees. What a call does depends on its random generator
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from networks.configurations import check_values

Range = tuple[float, float]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class AugmentationSettings:
    """What is done to patches, each with its probability `..._share`; 0, the default, leaves it out.

    Attributes:
        rotate: degrees in the axial plane, to either side. tilt: degrees about the two other axes.
        scale: factors that the contents grow by.
        flip: shares of patches that are mirrored along z, y, x. Along x left and right structures change places.
        hu_shift: HU added, before the intensity rule (Zhang 3.2: brightness).
        smooth: deviations of a Gaussian, in voxels. noise: largest deviation of the noise, and noise_mean its largest
            mean, as what the network sees is scaled.
        brightness: factors. contrast: factors about the mean. shift: what is added. gamma: exponents.
        resolution: the patch is made coarser by such a factor and fine again.
        paint: so many boxes, of up to an eighth of each side, are filled with random values (Zhang 3.2: in-painting).
    """

    rotate_share: float = 0.0
    rotate: float = 0.0
    tilt: float = 0.0
    scale_share: float = 0.0
    scale: Range = (1.0, 1.0)
    flip: tuple[float, float, float] = (0.0, 0.0, 0.0)
    hu_shift_share: float = 0.0
    hu_shift: Range = (0.0, 0.0)
    smooth_share: float = 0.0
    smooth: Range = (0.5, 1.0)
    noise_share: float = 0.0
    noise: float = 0.1
    noise_mean: float = 0.0
    brightness_share: float = 0.0
    brightness: Range = (1.0, 1.0)
    contrast_share: float = 0.0
    contrast: Range = (1.0, 1.0)
    shift_share: float = 0.0
    shift: Range = (0.0, 0.0)
    gamma_share: float = 0.0
    gamma: Range = (1.0, 1.0)
    resolution_share: float = 0.0
    resolution: Range = (0.5, 1.0)
    paint_share: float = 0.0
    paint: int = 8

    def __post_init__(self) -> None:
        shares = [name for name in vars(self) if name.endswith("_share")]
        ranges = [name for name, value in vars(self).items() if isinstance(value, tuple) and name != "flip"]
        check_values(
            self,
            "training.augmentation",
            *((name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1") for name in shares),
            *((name, getattr(self, name)[0] <= getattr(self, name)[1], "two rising numbers") for name in ranges),
            ("flip", all(0 <= one <= 1 for one in self.flip), "three shares from 0 to 1"),
            ("rotate", 0 <= self.rotate <= 180, "degrees from 0 to 180"),
            ("tilt", 0 <= self.tilt <= 180, "degrees from 0 to 180"),
            ("scale", self.scale[0] > 0, "factors above 0"),
            ("gamma", self.gamma[0] > 0, "exponents above 0"),
            ("resolution", self.resolution[0] > 0 and self.resolution[1] <= 1, "factors above 0, at most 1"),
            ("noise", self.noise >= 0, "0 or more"),
            ("noise_mean", self.noise_mean >= 0, "0 or more"),
            ("paint", self.paint >= 1, "1 or more boxes"),
        )


class PatchAugmenter:
    """Changes patches of `size` (D, H, W) voxels."""

    def __init__(self, size: Shape, settings: AugmentationSettings) -> None:
        self.size, self.settings = size, settings

    def bend(self, rng: np.random.Generator) -> NDArray[np.float64] | None:
        """How a patch is turned and scaled: (3, 3), from its voxels to the volume's, about the middle; None: not."""
        settings = self.settings
        turned = rng.random() < settings.rotate_share
        angles = [np.deg2rad(rng.uniform(-most, most)) for most in (settings.rotate, settings.tilt, settings.tilt)]
        grown = rng.random() < settings.scale_share
        factor = float(rng.uniform(*settings.scale))
        if not (turned or grown):
            return None
        matrix = np.eye(3) / (factor if grown else 1.0)
        for axis, angle in enumerate(angles if turned else ()):
            matrix = matrix @ _rotation(axis, angle)
        return matrix

    def region(self, matrix: NDArray[np.float64] | None) -> Shape:
        """(D, H, W) of what has to be cut out of the volume for a patch that `matrix` bends."""
        if matrix is None:
            return self.size
        reach = np.abs(matrix) @ (np.asarray(self.size) - 1)
        depth, height, width = (int(np.ceil(side)) + 1 for side in reach)
        return depth, height, width

    def bent(
        self, hu: NDArray[np.int16], labels: NDArray[np.uint8], matrix: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The patch, float32 HU and uint8 labels of `size`, out of the region that `matrix` needs."""
        if matrix is None:
            return hu.astype(np.float32), labels
        grid = _grid(matrix, self.size, hu.shape)
        return _sampled(hu.astype(np.float32), grid, "bilinear"), _sampled(
            labels.astype(np.float32), grid, "nearest"
        ).astype(np.uint8)

    def flips(self, rng: np.random.Generator) -> tuple[bool, bool, bool]:
        """Along which of z, y and x a patch is mirrored."""
        along_z, along_y, along_x = (bool(one) for one in rng.random(3) < self.settings.flip)
        return along_z, along_y, along_x

    def shifted(self, hu: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """HU with another brightness."""
        if rng.random() >= self.settings.hu_shift_share:
            return hu
        return hu + np.float32(rng.uniform(*self.settings.hu_shift))

    def tint(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """A patch (D, H, W), as the network sees it, with other values."""
        settings, found = self.settings, torch.from_numpy(np.ascontiguousarray(image))[None]  # 1 x D x H x W

        def chosen(share: float) -> bool:
            return bool(rng.random() < share)

        if chosen(settings.noise_share):
            mean, deviation = rng.uniform(0, settings.noise_mean), rng.uniform(0, settings.noise)
            noise = rng.standard_normal(found.shape, dtype=np.float32)
            found = found + torch.from_numpy(noise) * float(deviation) + float(mean)
        if chosen(settings.smooth_share):
            found = _smoothed(found, [float(one) for one in rng.uniform(*settings.smooth, 3)])
        if chosen(settings.brightness_share):
            found = found * float(rng.uniform(*settings.brightness))
        if chosen(settings.contrast_share):
            mean_value = found.mean()
            found = (found - mean_value) * float(rng.uniform(*settings.contrast)) + mean_value
        if chosen(settings.resolution_share):
            found = _coarsened(found, float(rng.uniform(*settings.resolution)))
        if chosen(settings.gamma_share):
            found = _with_gamma(found, float(rng.uniform(*settings.gamma)))
        if chosen(settings.shift_share):
            found = found + float(rng.uniform(*settings.shift))
        if chosen(settings.paint_share):
            found = _painted(found, settings.paint, int(rng.integers(2**32)))
        return np.ascontiguousarray(found[0].numpy(), np.float32)


def _rotation(axis: int, angle: float) -> NDArray[np.float64]:
    """(3, 3): a turn about z, y or x."""
    one, other = [number for number in range(3) if number != axis]
    matrix = np.eye(3)
    matrix[one, one] = matrix[other, other] = np.cos(angle)
    matrix[one, other], matrix[other, one] = -np.sin(angle), np.sin(angle)
    return matrix


def _grid(matrix: NDArray[np.float64], size: Shape, region: Sequence[int]) -> torch.Tensor:
    """Where in the region each voxel of the patch lies, as torch wants it: 1 x D x H x W x (x, y, z) in [-1, 1]."""
    half_out = (np.asarray(size) - 1) / 2
    half_in = np.maximum((np.asarray(region) - 1) / 2, 0.5)
    scaled = matrix * half_out[None, :] / half_in[:, None]
    theta = np.concatenate([scaled[::-1, ::-1], np.zeros((3, 1))], axis=1).astype(np.float32)
    return torch.nn.functional.affine_grid(torch.from_numpy(theta)[None], [1, 1, *size], align_corners=True)


def _sampled(values: NDArray[np.float32], grid: torch.Tensor, mode: Literal["bilinear", "nearest"]) -> NDArray[Any]:
    tensor = torch.from_numpy(values)[None, None]
    return torch.nn.functional.grid_sample(tensor, grid, mode, "border", align_corners=True)[0, 0].numpy()


def _smoothed(image: torch.Tensor, sigma: list[float]) -> torch.Tensor:
    from monai.networks.layers import GaussianFilter

    return GaussianFilter(3, sigma)(image[None])[0]


def _coarsened(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Without every few voxels, and interpolated again (nnU-Net's simulation of low resolution)."""
    coarse = [max(1, round(side * factor)) for side in image.shape[1:]]
    small = torch.nn.functional.interpolate(image[None], size=coarse, mode="nearest-exact")
    return torch.nn.functional.interpolate(small, size=image.shape[1:], mode="trilinear")[0]


def _with_gamma(image: torch.Tensor, gamma: float) -> torch.Tensor:
    from monai.transforms.intensity.array import AdjustContrast

    return torch.as_tensor(AdjustContrast(gamma)(image)).as_subclass(torch.Tensor)


def _painted(image: torch.Tensor, boxes: int, seed: int) -> torch.Tensor:
    from monai.transforms.intensity.array import RandCoarseDropout

    largest = [max(1, side // 8) for side in image.shape[1:]]
    limits = (float(image.min()), float(image.max()))
    paint = RandCoarseDropout(1, [1, 1, 1], fill_value=limits, max_holes=boxes, max_spatial_size=largest, prob=1.0)
    paint.set_random_state(seed)
    return torch.as_tensor(paint(image.clone())).as_subclass(torch.Tensor)  # it paints over what it is given
