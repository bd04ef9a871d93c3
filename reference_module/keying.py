"""From a volume to key slices without a person: sample, segment, choose, and mark where structures end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reference_module.choices import Choice, SelectionSettings
from reference_module.ends import absent_slices
from reference_module.judgement import is_absent, judge, neighbours
from reference_module.referencer import Progress, Referencer
from reference_module.sampling import sample_slices
from reference_module.segmented import Segmented
from reference_module.selection import strategy_named
from volumes.key_slices import KeySlices
from volumes.volume import Volume


@dataclass(frozen=True, eq=False)
class Keyed:
    """What the pair has to say to the propagation module.

    Args:
        key_slices: the chosen masks; each slice speaks for the labels that it shows. Empty if nothing was found.
        choices: why each of them was chosen.
        absent: for each label on a key slice, slices just beyond its ends where the pair finds none of it, and for
            each that was asked about again, those where it is confident that it is not. They are kept apart from the
            key slices, which a report lists and these would flood.
        segmented: all slices that were segmented.
    """

    key_slices: KeySlices
    choices: tuple[Choice, ...]
    absent: dict[int, list[int]]
    segmented: Segmented


class OnDemand:
    """Segments slices of one volume as they are asked for, each once, `more` of them in all.

    Attributes:
        seen: all that have been segmented.
    """

    def __init__(self, referencer: Referencer, volume: Volume, seen: Segmented, more: int) -> None:
        self.seen, self.left = seen, more
        self._referencer, self._volume = referencer, volume

    def __call__(self, slices: Sequence[int]) -> Segmented:
        """All that have been segmented, with as many of `slices` as are left, the first ones first."""
        new = [z for z in dict.fromkeys(slices) if z not in self.seen][: self.left]
        if new:
            self.left -= len(new)
            self.seen = self.seen.with_more(self._referencer.segment(self._volume, new))
        return self.seen


def key_slices(
    referencer: Referencer,
    volume: Volume,
    strategy: str,
    settings: SelectionSettings | None = None,
    progress: Progress | None = None,
) -> Keyed:
    """Key slices for a volume, chosen by a strategy.

    Args:
        strategy: one of `selection.STRATEGIES`.
        progress: called with slices done and slices in all, of those that are looked at first.

    Returns:
        No key slices where the pair finds nothing.

    Raises:
        InputError: no such strategy, or a pair that does not fit its label table.
    """
    choose, settings = strategy_named(strategy), settings or SelectionSettings()
    sampled = sample_slices(volume.shape[0], settings.every, settings.at_most)
    first = referencer.segment(volume, sampled, progress)
    segment = OnDemand(referencer, volume, first, settings.more)
    choices = choose(first, settings, segment)
    keys = _painted(volume, segment.seen, choices)
    present = {label: keys.slices_with(label) for label in keys.labels}
    absent = absent_slices(first, segment.seen, present, settings, segment)
    return Keyed(keys, tuple(choices), absent, segment.seen)


def look_again(
    referencer: Referencer,
    volume: Volume,
    keyed: Keyed,
    wanted: Mapping[int, Sequence[int]],
    settings: SelectionSettings | None = None,
) -> Keyed:
    """More key slices where a structure was missed, or where propagation is not confident of it.

    Args:
        keyed: what is known so far; what it says stays, whatever is found now.
        wanted: slices to look at, by label, those most in need first. At most `settings.more` slices are segmented in
            all, their neighbours included. A label is taken from a slice by the rules of `consistent`; it is absent
            where the pair is confident that it is not, on the neighbours neither.
    """
    settings = settings or SelectionSettings()
    segment = OnDemand(referencer, volume, keyed.segmented, settings.more)
    asked = [z for slices in wanted.values() for z in slices]
    segment(asked)
    seen = segment([other for z in asked for other in neighbours(z, volume.shape[0])])
    found: dict[int, dict[int, str]] = {}
    absent = {label: set(slices) for label, slices in keyed.absent.items()}
    for label, slices in wanted.items():
        for z in slices:
            if z not in seen:
                continue
            judgement = judge(seen, z, label)
            around = [z, *(other for other in neighbours(z, seen.depth) if other in seen)]
            if all(is_absent(seen, other, label, settings) for other in around):
                absent.setdefault(label, set()).add(z)
            elif seen.area_of(z, label) and judgement.is_sure(settings) and not judgement.flickers(settings):
                found.setdefault(z, {})[label] = f"{seen.table.name_of(label)} (looked at again): {judgement}"
    choices = [*keyed.choices]
    for z, reasons in found.items():
        choices.append(Choice(z, frozenset(reasons), "; ".join(reasons.values())))
    keys = _painted(volume, seen, choices)
    new = {label: keys.slices_with(label) for label in keys.labels if label not in keyed.key_slices.labels}
    for label, slices in absent_slices(seen, seen, new, settings, segment).items():
        absent.setdefault(label, set()).update(slices)
    marks = {label: sorted(slices) for label, slices in sorted(absent.items())}
    return Keyed(keys, tuple(sorted(choices, key=lambda choice: choice.z)), marks, segment.seen)


def _painted(volume: Volume, seen: Segmented, choices: Sequence[Choice]) -> KeySlices:
    """The chosen masks; several choices of one slice add up."""
    labels: dict[int, set[int]] = {}
    for choice in choices:
        labels.setdefault(choice.z, set()).update(seen.on(choice.z) if choice.labels is None else choice.labels)
    keys = KeySlices(volume.shape, where=volume.name)
    for z, some in labels.items():
        mask = seen.mask(z)
        keys.add(z, np.where(np.isin(mask, sorted(some)), mask, 0))
    return keys
