"""From probabilities on the inner grid back to the file's pixels, and to classes there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from volumes.resampling import resize_matrix

_AT_ONCE = 16  # classes at the file's size: 16 MiB of float32 at 512 x 512, however many classes there are
_ROUNDING = 1e-3  # how far, as a share, a sum of probabilities may be off 1


class FilePixels:
    """The pixels of a file's slice, seen from the inner grid over the same rectangle.

    Probabilities are interpolated bilinearly along an axis on which the file has more pixels, averaged along one on
    which it has fewer; the greatest decides then, which keeps outlines smooth that a resampled label map would not.

    Args:
        inner: (h, w) of the inner grid.
        native: (H, W) of the file.
    """

    def __init__(self, inner: tuple[int, int], native: tuple[int, int], device: torch.device) -> None:
        self.inner, self.native = inner, native
        grows = all(large >= small for large, small in zip(native, inner, strict=True))
        self._matrices = (
            None
            if grows
            else [
                torch.from_numpy(resize_matrix(small, large)).to(device)
                for small, large in zip(inner, native, strict=True)
            ]
        )

    def classes(self, probabilities: Tensor) -> NDArray[np.uint8]:
        """Class (H, W) of each of the file's pixels, from probabilities (C, h, w); the lower one of equals."""
        return self.classes_and_certainty(probabilities)[0]

    def classes_and_certainty(self, probabilities: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The same, and the probability (H, W) of each pixel's class."""
        return self.likeliest(self.candidates(probabilities), lambda some: self.resampled(probabilities[some]))

    def candidates(self, probabilities: Tensor) -> Tensor:
        """Classes that may win a pixel: one that is nowhere above average can not, resampled probabilities being
        averages of these."""
        average = (1 - _ROUNDING) / len(probabilities)
        return torch.nonzero(probabilities.flatten(1).amax(1) >= average).flatten()

    def likeliest(
        self, candidates: Tensor, of: Callable[[Tensor], Tensor]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The class (H, W) of greatest value on each of the file's pixels, and that value; the lower one of equals.

        Args:
            candidates: classes, in rising order.
            of: from some of them to their values (n, H, W). A few are asked for at a time.
        """
        best: Tensor | None = None
        which = torch.zeros(self.native, dtype=torch.uint8, device=candidates.device)
        for some in candidates.split(_AT_ONCE):
            values = of(some)
            place = values.argmax(0)
            value = values.gather(0, place[None])[0]
            found = some[place].to(torch.uint8)
            if best is None:
                best, which = value, found
            else:
                better = value > best
                best, which = torch.where(better, value, best), torch.where(better, found, which)
        assert best is not None, "probabilities that do not sum to 1"
        return which.cpu().numpy(), best.cpu().numpy()

    def resampled(self, probabilities: Tensor) -> Tensor:
        """Probabilities (C, h, w) on the file's pixels: (C, H, W)."""
        if self.inner == self.native:
            return probabilities
        if self._matrices is None:
            return F.interpolate(probabilities[None], size=self.native, mode="bilinear")[0]
        rows, columns = self._matrices
        return rows @ probabilities @ columns.T
