"""Automatic mode: the pair finds and segments key slices, propagation carries them to every slice.

Where a structure was missed, or propagation is not sure of one, the pair looks at more slices, and what it is sure of
there becomes key slices too; in rounds, until nothing is worth asking or a budget is spent. At last the pair sees
every slice, and the mean of what both say decides (`blending`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reference_module.choices import SelectionSettings
from reference_module.keying import Keyed, key_slices, look_again
from reference_module.sampling import sample_slices
from tools.blending import blended
from tools.questions import Question, where_doubtful, where_missed, where_seen, where_unseen
from volumes.errors import InputError
from volumes.key_slices import KeySlices

if TYPE_CHECKING:
    from baseline3d.segmenter import VolumeSegmenter
    from propagation_module.propagator import Propagator
    from propagation_module.session import Session
    from reference_module.referencer import Referencer
    from reference_module.segmented import Segmented
    from volumes.labels import LabelTable
    from volumes.volume import Volume

Progress = Callable[[int, int], None]

LOOKS = 3  # slices that a question costs: the one that it is about and its neighbours
DOUBTFUL = 0.5  # confidence below which a person is told to look


@dataclass(frozen=True)
class AutomaticSettings:
    """How far the machine goes by itself.

    Args:
        strategy: how key slices are chosen, one of `reference_module.selection.STRATEGIES`.
        selection: its settings, and those of the slices that are looked at first.
        requery: slices that may be segmented besides, where structures are missed or in doubt; 0 for none. With a
            made-up pair (truth with misses, shifts and specks, drawn anew on each slice) on 9 head-neck volumes: mean
            Dice .684 without, .747 with 24 in 3 rounds, .774 with 48 in 6.
        rounds: how often, at most.
        confident: confidence from which a slice of a structure needs no second look.
        blend: share of propagation where it and the pair's word on every slice are averaged, below 1; 0 takes
            propagation alone, and has the pair look at key slices only. Mean Dice of 15 head-neck cases, seven
            structures: .675 with 0, .686 with 0.3, no more than .002 between 0.2 and 0.5; the pair alone .679, or
            .686 averaged over neighbouring slices.
    """

    strategy: str = "consistent"
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    requery: int = 48
    rounds: int = 6
    confident: float = 0.8
    blend: float = 0.3

    def __post_init__(self) -> None:
        if self.requery < 0:
            raise InputError(
                "requery", found=str(self.requery), expected="how many slices, 0 or more", fix="use 0 for none"
            )
        if not 0 <= self.blend < 1:
            raise InputError(
                "blend", found=str(self.blend), expected="a share, 0 or more and below 1", fix="use 0 for none"
            )


@dataclass(frozen=True, eq=False)
class Automatic:
    """What `segment_volume` gives back.

    Args:
        labels: (D, H, W) uint8, canonical order.
        confidence: for each label that was found, (D,) float32 in [0, 1]: the Dice to expect on a slice, were the
            key slices right, times the Dice of the pair's two members on the key slices nearest to it and, with
            `blend`, on the slice itself: rank correlation with the true Dice of head-neck slices .35 with that, .31
            without. How far pair and propagation agree would add nothing.
        key_slices: what the pair said, slices where a structure is absent included.
        report: for JSON: `strategy`, `sampled`, `key_slices`, `requery`, `blend`, `missed`, `doubtful`.
        warnings: what a person should know.
    """

    labels: npt.NDArray[np.uint8]
    confidence: dict[int, npt.NDArray[np.float32]]
    key_slices: KeySlices
    report: dict[str, Any]
    warnings: tuple[str, ...]


def segment_volume(
    volume: Volume,
    referencer: Referencer,
    propagator: Propagator,
    settings: AutomaticSettings | None = None,
    progress: Progress | None = None,
) -> Automatic:
    """Label every slice of `volume`, without a person.

    Args:
        progress: called with what is done and all there is, of one stage after the other: slices segmented, then
            steps of propagation, at last slices blended.

    Raises:
        InputError: no such strategy.
    """
    settings = settings or AutomaticSettings()
    dialogue = Dialogue(volume, referencer, propagator, settings, progress)
    dialogue.look_again(progress)
    return dialogue.result(settings.blend, progress)


def segment_alone(volume: Volume, model: Referencer | VolumeSegmenter, progress: Progress | None = None) -> Automatic:
    """Label every slice with the pair or a 3D network, without propagation: no key slices, no confidence."""
    labels = model.segment_all(volume, progress)
    warnings = () if labels.any() else (_nothing_on(volume.shape[0]),)
    return Automatic(labels, {}, KeySlices(volume.shape, where=volume.name), {"key_slices": []}, warnings)


class Dialogue:
    """Between the pair, which is asked about slices, and a session, which carries what it answers.

    Made, it has carried the key slices that the strategy chose.

    Args:
        progress: as in `segment_volume`.
    """

    def __init__(
        self,
        volume: Volume,
        referencer: Referencer,
        propagator: Propagator,
        settings: AutomaticSettings,
        progress: Progress | None = None,
    ) -> None:
        self.referencer, self.settings = referencer, settings
        self.keyed = key_slices(referencer, volume, settings.strategy, settings.selection, progress)
        self.table: LabelTable = referencer.table
        self.session: Session = propagator.open(volume)
        self.sampled = sample_slices(volume.shape[0], settings.selection.every, settings.selection.at_most)
        self.left = settings.requery
        self.asked: dict[int, set[int]] = {}  # labels by slice
        self.log: list[dict[str, Any]] = []
        self._propagate(progress)

    def look_again(self, progress: Progress | None = None) -> None:
        """Have the pair look where it missed something or propagation is in doubt, as often as the settings allow."""
        for _ in range(self.settings.rounds):
            if not self._ask():
                break
            self._propagate(progress)

    def _propagate(self, progress: Progress | None) -> None:
        """Carry what the pair has said so far."""
        self._tell()
        if not self.session.key_slices.labels:
            return
        for update in self.session.propagate(live=False):
            if progress is not None:
                progress(update.done, update.total)

    def _ask(self) -> bool:
        """Have the pair look where it should help most; whether there was anything to ask."""
        wanted = self._questions(most=-(-self.left // (LOOKS * 2)))  # half of what is left: answers raise questions
        if not wanted:
            return False
        before, self.keyed = self.keyed, self._answers(wanted)
        self.left -= len(self.keyed.segmented.slices) - len(before.segmented.slices)
        for question in wanted:
            self.asked.setdefault(question.z, set()).add(question.label)
            self.log.append(self._entry(question))
        return True

    def result(self, blend: float, progress: Progress | None = None) -> Automatic:
        """All that came of it so far; what is asked or carried later may change its arrays.

        Args:
            blend: share of propagation, see `AutomaticSettings`.
        """
        started = time.perf_counter()
        session, seen = self.session, self.keyed.segmented
        share = blend if session.key_slices.labels else 0.0
        labels, confidence, blended_by = session.labels, self._confidence(), None
        if share:
            labels, agreement = blended(session, self.referencer, share, progress)
            for label, one in confidence.items():
                between = np.setdiff1d(np.arange(len(one)), session.key_slices.slices_with(label))
                one[between] *= agreement[label][between]
            blended_by = {"share": share, "seconds": round(time.perf_counter() - started, 3)}
        missed = [self.table.name_of(label) for label in self._missed()]
        doubtful = self._doubtful(labels, confidence)
        report = {
            "strategy": self.settings.strategy,
            "sampled": self.sampled,
            "segmented": list(seen.slices),
            "key_slices": [
                {"slice": one.z, "structures": self._names(_taken(seen, one.z, one.labels)), "reason": one.reason}
                for one in self.keyed.choices
            ],
            "requery": self.log,
            "blend": blended_by,
            "missed": missed,
            "doubtful": doubtful,
        }
        return Automatic(labels, confidence, session.key_slices, report, self._warnings(missed, doubtful))

    # What is told.

    def _tell(self) -> None:
        """The session all that is new."""
        keys, told = self.keyed.key_slices, self.session.key_slices
        for z in keys.slices():
            if new := keys.named(z) - (told.named(z) if z in told else frozenset()):
                self.session.annotate(z, np.where(np.isin(keys.mask(z), sorted(new)), keys.mask(z), 0), new)
        for label, slices in self.keyed.absent.items():
            if not keys.slices_with(label):
                continue
            for z in slices:
                if z not in told or label not in told.named(z):
                    self.session.mark_absent(z, [label])

    # What is asked.

    def _questions(self, most: int) -> list[Question]:
        """At most so many slices to look at: where something hints at a structure that was missed, then where there is
        most doubt, and with what is left where one may have been passed over."""
        if self.left < 1:
            return []
        seen, missed = self.keyed.segmented, self._missed()
        found = where_seen(seen, missed, self.sampled, self.asked)
        nowhere = [label for label in missed if label not in {question.label for question in found}]
        found += where_missed(seen, nowhere, self.settings.selection)
        found = found[: max(1, most // 2)] if self.session.key_slices.labels else found[:most]
        # Key slices on which the members agree well enough shall not be the reason to ask.
        confidence = self._confidence(enough=self.settings.selection.minimum_agreement)
        found += where_doubtful(
            self.session,
            confidence,
            self.asked,
            self.table,
            confident=self.settings.confident,
            most=most - len({question.z for question in found}),
        )
        return found + where_unseen(seen, nowhere, most - len({question.z for question in found}))

    def _answers(self, questions: Sequence[Question]) -> Keyed:
        wanted: dict[int, list[int]] = {}
        for question in questions:
            wanted.setdefault(question.label, []).append(question.z)
        budget = replace(self.settings.selection, more=self.left)
        return look_again(self.referencer, self.session.volume, self.keyed, wanted, budget)

    # What is reported.

    def _confidence(self, enough: float = 1.0) -> dict[int, npt.NDArray[np.float32]]:
        """That of propagation, which takes key slices to be right, times how far the pair's members agree on them.

        Args:
            enough: Dice of the members that counts as full agreement.
        """
        seen, found = self.keyed.segmented, {}
        for label, one in self.session.confidence.items():
            keys = self.session.key_slices.slices_with(label)
            agreement = [min(1.0, seen.agreement_of(z, label) / enough) if enough else 1.0 for z in keys]
            found[label] = (one * np.interp(np.arange(len(one)), keys, agreement)).astype(np.float32)
        return found

    def _entry(self, question: Question) -> dict[str, Any]:
        label, z = question.label, question.z
        if z in self.keyed.key_slices and label in self.keyed.key_slices.named(z):
            answer = "key slice"
        elif z in self.keyed.absent.get(label, ()):
            answer = "absent"
        else:
            answer = "the pair is not sure either" if z in self.keyed.segmented else "budget spent"
        name = self.table.name_of(label)
        return {"slice": z, "structure": name, "reason": question.reason, "answer": answer}

    def _missed(self) -> list[int]:
        """Structures of the pair's without any key slice."""
        return [label for label in self.table if not self.keyed.key_slices.slices_with(label)]

    def _doubtful(
        self, labels: npt.NDArray[np.uint8], confidence: Mapping[int, npt.NDArray[np.float32]]
    ) -> dict[str, list[int]]:
        """Slices to look at, by structure: those that it was found on with little confidence."""
        found = {}
        for label, one in confidence.items():
            slices = [int(z) for z in np.flatnonzero(one < DOUBTFUL) if (labels[z] == label).any()]
            if slices:
                found[self.table.name_of(label)] = slices
        return found

    def _warnings(self, missed: Sequence[str], doubtful: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
        if len(missed) == len(self.table):
            return (_nothing_on(len(self.keyed.segmented.slices)),)
        return tuple(
            f"{name}: in doubt on {len(slices)} of its slices, such as {slices[len(slices) // 2]}"
            for name, slices in doubtful.items()
        )

    def _names(self, labels: Sequence[int]) -> list[str]:
        return [self.table.name_of(label) for label in labels]


def _taken(seen: Segmented, z: int, labels: frozenset[int] | None) -> list[int]:
    return seen.on(z) if labels is None else sorted(labels)


def _nothing_on(slices: int) -> str:
    return f"no structure found on {slices} slice{'' if slices == 1 else 's'}: the label map is empty"
