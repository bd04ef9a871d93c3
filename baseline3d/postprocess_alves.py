"""Alves and de Wilde 2022, 2.3: what is put right in label maps, in the order of their code (systems 2.4).

(a) a structure with less than half of the least volume in the training cases is dropped; (b) adrenals are closed with
5 x 5 x 5 voxels; (c) slices beyond the range of aorta, vena cava and oesophagus are emptied; (d) parts below a tenth of
their structure are dropped; (e) a part of the gallbladder that liver encloses on an axial slice is liver. Which
structures these are, their roles say (`baseline3d.roles`); what no structure has the role for is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from baseline3d.components import components_of, occupied, without_small
from baseline3d.roles import structures_of
from volumes.labels import LabelTable
from volumes.volume import Triple

if TYPE_CHECKING:
    from baseline3d.recipes.sizes import Sizes

Labels = NDArray[np.uint8]

_CLOSING = 2  # voxels that closing reaches to either side
_STEPS = {
    "closing of adrenals": ("adrenal",),
    "range of the vessels": ("tubular",),
    "gallbladder enclosed by liver": ("liver", "gallbladder"),
}


@dataclass(frozen=True)
class AlvesPostprocessing:
    """The five steps, with what they have learnt.

    Attributes:
        least_mm3: by structure, the volume below which it is dropped.
        component: share of a structure's volume below which a part of it is dropped.
        beyond: mm about the vessels' slices that stay.
        farther: structures that reach farther than that in labelled cases, so that (c) would cut them: it is left out.
    """

    kind: ClassVar[str] = "alves"

    least_mm3: Mapping[str, float]
    component: float = 0.1
    beyond: float = 20.0
    farther: tuple[str, ...] = ()

    @classmethod
    def learnt(
        cls, sizes: Sizes, table: LabelTable, *, smallest: float, component: float, beyond: float
    ) -> AlvesPostprocessing:
        """What labelled cases teach.

        Args:
            smallest: share of a structure's least volume below which it is dropped.
        """
        volumes = {name: [one[name]["mm3"] for one in sizes.values() if name in one] for name in table.names()}
        limits = {name: round(smallest * min(found), 3) for name, found in volumes.items() if found}
        return cls(limits, component, beyond, _farther(sizes, table, beyond))

    def apply(self, labels: Labels, spacing: Triple, table: LabelTable) -> Labels:
        """See `baseline3d.postprocess.Postprocessing`."""
        voxel = spacing[0] * spacing[1] * spacing[2]
        labels = self._without_too_small(labels, voxel, table)
        for value in structures_of(table, "adrenal"):
            close(labels, value)
        if not self.farther:
            labels = within(labels, structures_of(table, "tubular"), round(self.beyond / spacing[0]))
        labels = without_small(labels, self.component)
        liver, gallbladder = structures_of(table, "liver"), structures_of(table, "gallbladder")
        if liver and gallbladder:
            enclosed_becomes(labels, gallbladder[0], liver[0])
        return labels

    def skipped(self, table: LabelTable) -> list[str]:
        """See `baseline3d.postprocess.Postprocessing`."""
        lines = [
            f"{step}: no structure has the role {' or '.join(missing)}"
            for step, roles in _STEPS.items()
            if (missing := [role for role in roles if not structures_of(table, role)])
        ]
        if self.farther:
            names = ", ".join(self.farther)
            lines.append(
                f"range of the vessels: {names} reach more than {self.beyond:g} mm beyond it in labelled cases"
            )
        return lines

    def _without_too_small(self, labels: Labels, voxel: float, table: LabelTable) -> Labels:
        counts = np.bincount(labels.ravel(), minlength=256)
        kept = np.arange(256, dtype=np.uint8)
        for value, label in table.items():
            if counts[value] * voxel < self.least_mm3.get(label.name, 0.0):
                kept[value] = 0
        return kept[labels]


def close(labels: Labels, value: int) -> None:
    """Close the gaps of a structure in a label map (D, H, W), in place, where nothing else is.

    A binary closing with 5 x 5 x 5 voxels.
    """
    from scipy import ndimage

    box = occupied((labels == value).view(np.uint8))
    if not box[0].stop:
        return
    mask = np.pad(labels[box] == value, _CLOSING)  # room to grow: closing never takes away
    closed = ndimage.binary_closing(mask, np.ones((2 * _CLOSING + 1,) * 3, bool))
    inside = closed[(slice(_CLOSING, -_CLOSING),) * 3]
    labels[box][inside & (labels[box] == 0)] = value


def within(labels: Labels, vessels: tuple[int, ...], margin: int) -> Labels:
    """A label map (D, H, W) without what lies more than `margin` slices beyond the slices that show a vessel.

    As it is where no vessel shows.
    """
    slices = np.flatnonzero(np.isin(labels, vessels).any((1, 2)))
    if len(slices):
        labels[: max(0, int(slices[0]) - margin)] = 0
        labels[int(slices[-1]) + margin + 1 :] = 0
    return labels


def enclosed_becomes(labels: Labels, value: int, around: int) -> None:
    """Give parts of a structure to the one `around` them, in place: parts that it encloses on some axial slice."""
    from scipy import ndimage

    found = components_of(np.where(labels == value, labels, 0).astype(np.uint8))
    depth, rows, columns = found.box
    enclosed: set[int] = set()
    for z, parts in enumerate(found.numbers, start=depth.start):
        filled = ndimage.binary_fill_holes(labels[z] == around)[rows, columns]
        outside = np.unique(parts[~filled])
        enclosed |= set(np.unique(parts[filled]).tolist()) - set(outside.tolist()) - {0}
    labels[found.box][np.isin(found.numbers, sorted(enclosed))] = around


def _farther(sizes: Sizes, table: LabelTable, beyond: float) -> tuple[str, ...]:
    """Structures that in half of the cases or more, of those that show them and a vessel, reach beyond the vessels."""
    vessels = {table[value].name for value in structures_of(table, "tubular")}
    reach: dict[str, list[float]] = {}
    for one in sizes.values():
        ranges = [one[name] for name in vessels if name in one]
        if not ranges:
            continue
        low, high = min(r["from"] for r in ranges), max(r["to"] for r in ranges)
        for name, size in one.items():
            reach.setdefault(name, []).append(max(low - size["from"], size["to"] - high))
    return tuple(name for name in table.names() if name in reach and median(reach[name]) > beyond)
