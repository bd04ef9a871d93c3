"""The strategy `consistent`: few slices for each structure, along all of it, whose masks stand up to a second look.

A mask is taken if the two members agree on it, believe it, and the slices next to it carry about the same one. The
paper's strategy takes the slice where a structure is largest, which is also where it is too large by mistake.
"""

from __future__ import annotations

from collections.abc import Sequence

from reference_module.choices import Choice, Segment, SelectionSettings
from reference_module.judgement import Judgement, judge, neighbours, parts
from reference_module.segmented import Segmented

ALMOST = 0.95  # of the best worth: nearer to where a slice is wanted counts for more than the rest


def consistent(segmented: Segmented, settings: SelectionSettings, segment: Segment) -> list[Choice]:
    """Key slices by agreement, certainty and their neighbours; a structure that only flickers gets none.

    Each structure's extent is cut into equal stretches, with a slice from each. A structure of which no mask is
    good enough gets the one that is the least doubtful, if it does not flicker. A slice that was chosen also speaks
    for the other structures on it whose masks are good enough.

    Args:
        segmented: evenly spread slices.
        segment: segments the neighbours of slices that are about to be chosen.
    """
    search = _Search(segmented, settings)
    while pending := search.pending():
        wanted = [other for z, _ in pending for other in neighbours(z, segmented.depth)]
        search.look(segment(list(dict.fromkeys(wanted))), pending)
    return search.choices()


class _Search:
    """Masks that were looked at twice, and those that were not yet."""

    def __init__(self, first: Segmented, settings: SelectionSettings) -> None:
        self.first, self.settings, self.seen = first, settings, first
        self.parts = {label: parts(first, label, settings) for label in first.found}
        self.judged: dict[tuple[int, int], Judgement] = {}  # by slice and label, with its neighbours
        self.refused: set[tuple[int, int]] = set()

    def pending(self) -> list[tuple[int, int]]:
        """Slice and label of those that would be chosen now, and have not been looked at twice."""
        return [(z, label) for label, slices in self.chosen().items() for z in slices if (z, label) not in self.judged]

    def look(self, seen: Segmented, pending: Sequence[tuple[int, int]]) -> None:
        """Judge these by their neighbours."""
        self.seen = seen
        for z, label in pending:
            judgement = self.judged[z, label] = judge(seen, z, label)
            alone = not judgement.overlaps and seen.depth > 1  # the budget was spent
            if judgement.flickers(self.settings) or (alone and not judgement.is_sure(self.settings)):
                self.refused.add((z, label))

    def chosen(self) -> dict[int, list[int]]:
        """Slices of each structure, by what is known now."""
        found: dict[int, list[int]] = {}
        taken: set[int] = set()  # for structures before it
        for label, whole in self.parts.items():
            left = [[z for z in part if (z, label) not in self.refused] for part in whole]
            sure = [[z for z in part if self._judgement(z, label).is_sure(self.settings)] for part in left]
            count = max(1, self.settings.per_structure // max(1, sum(map(bool, sure))))
            found[label] = [z for part in sure if part for z in self._spread(part, label, count, taken)]
            if not found[label] and any(left):
                found[label] = [max(sum(left, []), key=lambda z: (self._judgement(z, label).worth, -z))]
            taken.update(found[label])
        return found

    def choices(self) -> list[Choice]:
        """With the other structures that the same slices can speak for."""
        chosen = self.chosen()
        reasons: dict[int, dict[int, str]] = {}
        for label, slices in chosen.items():
            for place, z in enumerate(slices):
                judgement = self.judged[z, label]
                which = f"{place + 1} of {len(slices)}"
                doubt = "" if judgement.is_sure(self.settings) else ", the least doubtful there is"
                reasons.setdefault(z, {})[label] = f"{self._name(label)} ({which}{doubt}): {judgement}"
        for z, by_label in reasons.items():
            for label, found in self.parts.items():
                if label in by_label or not any(z in part for part in found):
                    continue
                judgement = judge(self.seen, z, label)
                if judgement.is_sure(self.settings) and not judgement.flickers(self.settings):
                    by_label[label] = f"{self._name(label)} (as well): {judgement}"
        return [Choice(z, frozenset(reasons[z]), "; ".join(reasons[z].values())) for z in sorted(reasons)]

    def _spread(self, slices: list[int], label: int, at_most: int, taken: set[int]) -> list[int]:
        """One from each equal stretch of their extent, near its middle, better a slice that is taken anyway."""
        low, high = slices[0], slices[-1]
        apart = max(self.settings.apart_mm, self.first.spacing)
        count = min(at_most, 1 + int((high - low) * self.first.spacing / apart))
        length = (high - low + 1) / count
        found = []
        for place in range(count):
            start = low + place * length
            worth = {z: self._judgement(z, label).worth for z in slices if start <= z < start + length}
            good = [z for z in worth if worth[z] >= ALMOST * max(worth.values())]
            if good:
                middle = start + (length - 1) / 2
                found.append(min(good, key=lambda z: (z not in taken, abs(z - middle), z)))
        return found

    def _judgement(self, z: int, label: int) -> Judgement:
        """By its neighbours if they were looked at."""
        if (z, label) in self.judged:
            return self.judged[z, label]
        return Judgement(self.first.agreement_of(z, label), self.first.certainty_of(z, label), ())

    def _name(self, label: int) -> str:
        return self.first.table.name_of(label)
