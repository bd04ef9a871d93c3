"""Zhang, Wang and Yang 2022: selective re-training, from coarse to fine, and at the end a small student.

A coarse network finds the region of the structures in each case (2.1; `baseline3d.coarse_to_fine`); all others work in
it. A round's network labels from several views of a case (3.2; `baseline3d.views`); cases are selected by how stable
they were while it was trained (2.2; `baseline3d.stability`). Students of the middle rounds are as large as the
teacher. The last one is small and learns from the last teacher's answers besides (2.2; `baseline3d.student`): it is
the configuration's own network, the others have what `teacher` replaces in it. Dropout, weak augmentation of people's
labels and strong one of pseudo-labels are the configuration's, half precision in use the segmenter's.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from baseline3d.boxes import Box, overhang, with_margin
from baseline3d.coarse_to_fine import region
from baseline3d.components import occupied, without_small
from baseline3d.postprocess_single_label import SmallPartsRemoved
from baseline3d.recipes.recipe import LabelVolume, MemberTraining, Recipe, Work
from baseline3d.recipes.stages import Stage
from baseline3d.snapshots import snapshot_of
from baseline3d.stability import CHECKPOINTS, StabilityRule, stability
from baseline3d.student import check_alike
from baseline3d.training_settings import checked, merged_settings, read_whole
from baseline3d.views import AugmentedSegmenter, ViewSettings
from cps.journal import Journal
from cps.labelling import Labelled
from cps.rounds import Task
from networks.classes import mirrored_classes
from volumes.errors import InputError
from volumes.formats import read_label_map, read_volume
from volumes.label_map import LabelMap
from volumes.labels import LabelTable
from volumes.volume import Volume


@dataclass(frozen=True, kw_only=True)
class Zhang(Recipe):
    """The recipe's settings.

    Attributes:
        rounds: the supervised start, re-trainings, and the student: the paper's five times after the start.
        coarse: training settings that are replaced for the coarse network.
        teacher: the same for all networks but the student of the last round.
        first: the same for the second round, the first re-training.
        share: of the cases, which the first re-training takes at the most. threshold: the stability that exceeds it.
        views: that pseudo-labels are made from.
        small: components below this share of their structure are removed.
    """

    rounds: int = 6
    coarse: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)
    first: Mapping[str, Any] = field(default_factory=dict)
    share: float = 0.5
    threshold: float = 0.9
    views: ViewSettings = ViewSettings()
    small: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = StabilityRule(self.threshold, share=self.share), SmallPartsRemoved(self.small)  # they check what they get

    def overrides(self, number: int) -> dict[str, Any]:
        found = super().overrides(number)
        if number == 2:
            found = merged_settings(found, self.first)
        return found if self._is_student(number) else merged_settings(self.teacher, found)

    def goes_on(self, number: int) -> bool:
        return super().goes_on(number) and not self._is_student(number)  # which is of another size

    def _is_student(self, number: int) -> bool:
        return 1 < number == self.rounds

    def check(self, work: Work) -> None:
        left_out = [flip for flip in self.views.flips if flip not in self.views_of(work.dataset.table).flips]
        if left_out:
            work.tell(f"views mirrored along {', '.join(left_out)} are left out: a structure has one side alone")
        checked(read_whole(work.config, merged_settings(work.overrides, self.coarse)), f"{work.config}: coarse network")
        teacher, student = (
            checked(read_whole(work.config, merged_settings(work.overrides, self.overrides(number))), str(work.config))
            for number in (1, max(2, self.rounds))
        )
        check_alike(teacher.network["head"], student.network["head"], teacher.input, student.input)

    def views_of(self, table: LabelTable) -> ViewSettings:
        """The views that apply to these structures: none is mirrored where one of them has one side alone."""
        try:
            mirrored_classes(table)
        except InputError:
            return replace(self.views, flips=tuple(flip for flip in self.views.flips if "x" not in flip))
        return self.views

    def before(self, work: Work) -> Sequence[Stage]:
        return (
            Stage("coarse", lambda place: self._train_coarse(work, place)),
            Stage("boxes", lambda place: _boxes(work, place)),
        )

    def _train_coarse(self, work: Work, place: Path) -> str:
        """Train the coarse network on the labelled cases; returns where its weights are, in the recipe's folder."""
        training = MemberTraining(seed=work.whole.training.seed, overrides=self.coarse)
        return work.train(training, place).relative_to(work.folder).as_posix()

    def rule(self, work: Work) -> StabilityRule:
        return StabilityRule(self.threshold, share=self.share)

    def training(self, work: Work, task: Task) -> MemberTraining:
        training, student = super().training(work, task), self._is_student(task.round)
        found = work.results["boxes"]
        boxes = {name: _box(sides) for name, sides in found["boxes"].items()}
        more: dict[str, Any] = {"coarse": work.folder / work.results["coarse"], "boxes": boxes}
        overrides = merged_settings(training.overrides, {"input": {"margin": found["margin"]}})
        if student:
            more["teacher"] = task.before
            return replace(training, overrides=overrides, more=more)
        return replace(training, overrides=overrides, more={**more, "snapshots": CHECKPOINTS})

    def labeller(self, work: Work, weights: Sequence[Path]) -> LabelVolume:
        last = work.segmenter(weights[0])
        earlier = [work.segmenter(snapshot_of(weights[0], share)) for share in CHECKPOINTS]
        augmented = AugmentedSegmenter(last, self.views_of(last.table))

        def label(volume: Volume) -> Labelled:
            box = last.find_box(volume)
            plain = [one.segment_all(volume, box=box) for one in (*earlier, last)]
            made = without_small(augmented.segment_all(volume, box=box), self.small)
            work.warn(last, volume)
            found = LabelMap(made, volume.geometry, last.table, volume.name)
            return Labelled(found, stability(plain[:-1], plain[-1], made))

        return label

    def postprocessing(self, work: Work) -> SmallPartsRemoved:
        return SmallPartsRemoved(self.small)


def _boxes(work: Work, place: Path) -> dict[str, Any]:
    """Where the fine networks look: `boxes` of the cases in which the coarse one finds something, with a `margin`.

    The margin is the configuration's, or what it takes to hold all labels of the labelled cases: a coarse network that
    misses structures shall not hide them from the fine ones.
    """
    place.mkdir(parents=True, exist_ok=True)
    journal = Journal(place / "boxes.jsonl")
    _look(work, journal)
    looked_at = {line["case"]: line for line in journal.lines if line["found"] is not None}
    beyond = {
        case: overhang(_box(one["labels"]), _box(one["found"]), one["spacing"])
        for case, one in looked_at.items()
        if one["labels"] is not None
    }
    wanted = work.whole.input.margin
    margin = max([wanted, *beyond.values()])
    if margin > wanted:
        cut = sum(one > wanted for one in beyond.values())
        work.tell(
            f"boxes: {wanted:g} mm about what the coarse network finds would cut off labels of {cut} of {len(beyond)} "
            f"labelled cases; {margin:g} mm hold all"
        )
    boxes = {
        case: with_margin(_box(one["found"]), one["shape"], one["spacing"], margin) for case, one in looked_at.items()
    }
    return {"margin": margin, "boxes": {case: _sides(box) for case, box in boxes.items()}}


def _look(work: Work, journal: Journal) -> None:
    """Write down for each case what the coarse network finds, and what people labelled, less those that are there."""
    weights, dataset = work.folder / work.results["coarse"], work.dataset
    shutil.rmtree(weights.parent / "checkpoints", ignore_errors=True)  # the journal says that it is trained
    coarse, done = work.segmenter(weights), {line["case"] for line in journal.lines}
    for case in (*dataset.training, *dataset.unlabelled, *dataset.validation):
        if case.name in done:
            continue
        try:
            volume = read_volume(case.image)
        except InputError as error:
            if case.label is not None:
                raise
            work.tell(f"boxes: {case.name} is left out: {error}")
            continue
        found, labels = region(coarse, volume), None
        if case in dataset.training and case.label is not None:
            labels = occupied(read_label_map(case.label, like=volume).array)
        journal.append(
            {
                "case": case.name,
                "shape": volume.shape,
                "spacing": volume.spacing,
                "found": None if found is None else _sides(found),
                "labels": None if labels is None or not labels[0].stop else _sides(labels),
            }
        )


def _sides(box: Box) -> list[list[int]]:
    return [[side.start, side.stop] for side in box]


def _box(sides: Sequence[Sequence[int]]) -> Box:
    depth, height, width = (slice(*side) for side in sides)
    return depth, height, width
