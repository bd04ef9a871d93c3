"""Whether to believe what the pair says of one structure on one slice."""

from __future__ import annotations

from dataclasses import dataclass

from reference_module.choices import SelectionSettings
from reference_module.segmented import Segmented

GAP_MM = 15.0


@dataclass(frozen=True)
class Judgement:
    """The evidence for a mask.

    Args:
        agreement: Dice of the two members' masks.
        certainty: mean probability inside the mask.
        overlaps: Dice with the mask on each neighbouring slice that was segmented.
    """

    agreement: float
    certainty: float
    overlaps: tuple[float, ...]

    @property
    def worth(self) -> float:
        """0..1, to compare masks by; neighbours only have a veto, since not every mask has been compared with them."""
        return self.agreement * self.certainty

    def is_sure(self, settings: SelectionSettings) -> bool:
        """Whether the members agree and believe it."""
        return self.agreement >= settings.minimum_agreement and self.certainty >= settings.minimum_certainty

    def flickers(self, settings: SelectionSettings) -> bool:
        """Whether neither neighbour has about the same mask; the last slice of a structure has one that has."""
        return bool(self.overlaps) and max(self.overlaps) < settings.minimum_overlap

    def __str__(self) -> str:
        like = f", Dice with its neighbours {'/'.join(f'{one:.2f}' for one in self.overlaps)}" if self.overlaps else ""
        return f"members agree to Dice {self.agreement:.2f}, mean probability {self.certainty:.2f}{like}"


def judge(seen: Segmented, z: int, label: int) -> Judgement:
    """The evidence for `label` on slice `z`, with as many neighbours as have been segmented."""
    overlaps = tuple(seen.overlap(z, other, label) for other in neighbours(z, seen.depth) if other in seen)
    return Judgement(seen.agreement_of(z, label), seen.certainty_of(z, label), overlaps)


def neighbours(z: int, depth: int) -> list[int]:
    """The slices below and above, within the volume."""
    return [other for other in (z - 1, z + 1) if 0 <= other < depth]


def is_absent(seen: Segmented, z: int, label: int, settings: SelectionSettings) -> bool:
    """Whether the pair is confident that `label` is not on slice `z`."""
    return (
        seen.area_of(z, label) == 0
        and seen.agreement_of(z, label) == 1.0  # neither member has any
        and seen.peak_of(z, label) < settings.absent_below
    )


def is_missing(seen: Segmented, z: int, label: int) -> bool:
    """Whether the pair finds no pixel of `label` on slice `z`, however close it came to it."""
    return seen.area_of(z, label) == 0


def parts(first: Segmented, label: int, settings: SelectionSettings) -> list[list[int]]:
    """The slices that `label` is on, in parts of the volume that lie apart; minor ones are left out.

    A short gap, or one of a single slice among those that were looked at first, is more often what the pair missed
    than what the structure leaves out, so it parts nothing.

    Args:
        first: evenly spread slices.
    """
    found: list[list[int]] = []
    since = 0  # slices without it since the last one with it
    for z in first.slices:
        if first.area_of(z, label) == 0:
            since += 1
            continue
        if not found or (since > 1 and (z - found[-1][-1]) * first.spacing > GAP_MM):
            found.append([])
        found[-1].append(z)
        since = 0
    sizes = [sum(first.area_of(z, label) for z in part) for part in found]
    return [part for part, size in zip(found, sizes, strict=True) if size >= settings.minor_part * max(sizes)]
