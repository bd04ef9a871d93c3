"""A 3D network at work: from a volume to labels on its own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baseline3d.boxes import Box
from baseline3d.coarse_to_fine import region
from baseline3d.heads import probabilities
from baseline3d.intensity import Figures, scaled
from baseline3d.memory import memory_for
from baseline3d.preparation import InputSettings, Plan, case_figures, plan, prepared_slices, weights_back
from baseline3d.sliding import Predict, Windows
from networks.classes import class_values
from networks.inference import check_precision, computes_bfloat16
from networks.upsampling import FilePixels
from volumes.errors import NotEnoughMemory
from volumes.resampling import AIR
from volumes.volume import Volume

if TYPE_CHECKING:
    from baseline3d.models import LoadedModel

Progress = Callable[[int, int], None]
T = TypeVar("T")


class VolumeSegmenter:
    """Segments volumes with a 3D network.

    Memory: a slab of probabilities (`sliding`), whatever the number of slices, beside the volume and its label map.

    Args:
        model: a network with its weights, and what they were made for.
        device: where it runs.
        precision: `float32`, `bfloat16`, or `auto`: float16 on a GPU (Alves 2.3 through nnU-Net, Zhang 2.3), bfloat16
            on a processor that computes in it.

    Attributes:
        warnings: what a person should know of the volume that was segmented last.
    """

    def __init__(self, model: LoadedModel, device: str | torch.device = "cpu", precision: str = "auto") -> None:
        check_precision(precision)
        self.model, self.table, self.settings = model, model.table, model.settings
        self.device = torch.device(device)
        self._half = _half(precision, self.device)
        self._network = model.network.to(self.device).eval()
        self._values = np.array(class_values(model.table), np.uint8)
        self.warnings: tuple[str, ...] = ()
        self._coarse = None if model.coarse is None else VolumeSegmenter(model.coarse, device, precision)

    @classmethod
    def load(
        cls,
        name: str | Path,
        weights: str | Path | None = None,
        *,
        device: str | torch.device = "cpu",
        precision: str = "auto",
    ) -> VolumeSegmenter:
        """A network with weights, see `models.load_model`.

        Raises:
            InputError: no such model, or weights that do not fit.
        """
        from baseline3d.models import load_model

        return cls(load_model(name, weights), device, precision)

    def segment_all(
        self, volume: Volume, progress: Progress | None = None, *, box: Box | None = None
    ) -> NDArray[np.uint8]:
        """Labels (D, H, W) of a volume, canonical order; background outside of what is looked at.

        Args:
            progress: called with windows done and windows in all.
            box: look at this part of the volume, not at the one that the model finds.

        Raises:
            NotEnoughMemory: a patch does not fit, nor one of coarser voxels where the model allows that.
        """
        box = self.find_box(volume) if box is None else box
        labels = self.where_it_fits(lambda settings: self._labels(volume, plan(volume, settings, box), progress))
        after = self.model.described.postprocessing
        return labels if after is None else after.apply(labels, volume.spacing, self.table)

    def where_it_fits(self, segment: Callable[[InputSettings], T]) -> T:
        """What `segment` makes of the model's settings, or of coarser voxels where memory does not suffice (Gao 2.2).

        `warnings` says which.

        Raises:
            NotEnoughMemory: neither fits, or the model has no coarser voxels.
        """
        self.warnings, coarser = (), self.model.windows.coarser
        try:
            return segment(self.settings)
        except NotEnoughMemory:
            if coarser is None:
                raise
        # Not in the handler, where the error still holds what filled the memory.
        sides = " x ".join(f"{one:g}" for one in coarser)
        self.warnings = (f"not enough memory for the network's own voxels; segmented on coarser ones, {sides} mm",)
        return segment(replace(self.settings, spacing=coarser, shape=None))

    def _labels(self, volume: Volume, made: Plan, progress: Progress | None) -> NDArray[np.uint8]:
        with memory_for(f"slices of {volume.name}", "the resolution of the file"):
            out = np.zeros(volume.shape, np.uint8)
            depth, rows, columns = made.box
            pixels = FilePixels(made.shape[1:], made.box_shape[1:], self.device)
            for z, found in enumerate(self.probability_slices(volume, made, progress), start=depth.start):
                out[z, rows, columns] = self._values[pixels.classes(found)]
        return out

    def find_box(self, volume: Volume) -> Box | None:
        """The part of a volume that the coarse network finds; None: what the model's settings crop to."""
        return None if self._coarse is None else region(self._coarse, volume, self.settings.margin)

    def probability_slices(
        self, volume: Volume, made: Plan, progress: Progress | None = None, *, predict: Predict | None = None
    ) -> Iterator[Tensor]:
        """Probabilities C x h x w for each slice of the box, from below, in the plane still on the prepared grid.

        Held are those prepared slices that a slice to come is made of.

        Args:
            made: by `baseline3d.preparation.plan`.
            predict: what windows are shown to; None: `predict`.
        """
        found = self._on_prepared_slices(volume, made, progress, predict or self.predict)
        held: dict[int, Tensor] = {}
        read = 0
        for first, shares in weights_back(made):
            for z in [z for z in held if z < first]:
                del held[z]
            while read < first + len(shares):
                one = next(found)
                if read >= first:
                    held[read] = one
                read += 1
            yield _mixed([held[first + place] for place in range(len(shares))], shares)

    def _on_prepared_slices(
        self, volume: Volume, made: Plan, progress: Progress | None, predict: Predict
    ) -> Iterator[Tensor]:
        figures = case_figures(volume, made.box, self.settings.intensity) or self.model.figures
        windows = Windows(made.shape, self.settings.patch, self.model.windows, self.device)
        return windows.probabilities(
            self._seen(prepared_slices(volume.array, made), figures),
            predict,
            air=float(self._scaled(np.array(AIR), figures)),
            progress=progress,
        )

    def _seen(self, slices: Iterator[NDArray[np.float32]], figures: Figures | None) -> Iterator[NDArray[np.float32]]:
        return (self._scaled(one, figures) for one in slices)

    def _scaled(self, hu: NDArray, figures: Figures | None) -> NDArray[np.float32]:
        return scaled(hu, self.settings.intensity, figures)

    def predict(self, image: Tensor) -> Tensor:
        """Probabilities 1 x (K+1) x D x H x W of a window 1 x 1 x D x H x W."""
        with torch.inference_mode(), torch.autocast(self.device.type, self._half, enabled=self._half is not None):
            logits = self._network(image.contiguous(memory_format=torch.channels_last_3d))
        return probabilities(logits.float(), self.model.head)


def _half(precision: str, device: torch.device) -> torch.dtype | None:
    """The kind of half precision to compute in; None: in float32."""
    if precision == "auto" and device.type == "cuda":
        return torch.float16
    if precision == "bfloat16" or (precision == "auto" and computes_bfloat16(device)):
        return torch.bfloat16
    return None


def _mixed(slices: list[Tensor], shares: NDArray[np.float32]) -> Tensor:
    """The mean of slices C x h x w, each with its share."""
    if len(slices) == 1:
        return slices[0]
    mixed = slices[0] * float(shares[0])
    for one, share in zip(slices[1:], shares[1:], strict=True):
        mixed.add_(one, alpha=float(share))
    return mixed
