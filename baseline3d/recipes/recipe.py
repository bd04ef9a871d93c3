"""What makes one recipe of self-training differ from another: settings, and a few answers to the engine's questions.

The engine (`baseline3d.recipes.run`) trains members, labels what has no labels, selects, and trains again, in rounds
(`cps.rounds`). A recipe is a dataclass whose fields are the settings of a configuration's `recipe` section; what it
does not answer in its own way is answered here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baseline3d.recipes.stages import Stage
from baseline3d.training_settings import Configuration, merged_settings
from cps.journal import settle
from cps.labelling import Labelled, Tell
from cps.rounds import RoundSettings, Task
from cps.selection import SelectionRule
from cps.validation import Segment
from networks.configurations import check_values
from networks.metadata import read_metadata
from networks.training.pseudo_label import PseudoLabel
from volumes.datasets import DataCase, DataSet
from volumes.label_map import LabelMap
from volumes.volume import Volume

if TYPE_CHECKING:
    from baseline3d.postprocess import Postprocessing
    from baseline3d.segmenter import VolumeSegmenter

LabelVolume = Callable[[Volume], Labelled]
"""From a CT to its pseudo-label, and how far those that made it agree."""

_SEEDS_OF_A_ROUND = 100


@dataclass(frozen=True, kw_only=True)
class MemberTraining:
    """What one member is trained with.

    Attributes:
        seed: of its first weights and of the patches that it sees.
        overrides: of the configuration's training settings, as `baseline3d.training.train` takes them.
        pseudo: pseudo-labels, by case.
        start_from: weights that it begins with; None: random ones.
        labelled: labelled cases; None: all of the data set.
        config: another configuration than the recipe's, such as that of a smaller student.
        more: what else `baseline3d.training.train` takes, such as `snapshots`.
    """

    seed: int
    overrides: Mapping[str, Any] = field(default_factory=dict)
    pseudo: Mapping[str, PseudoLabel] = field(default_factory=dict)
    start_from: Path | None = None
    labelled: Sequence[DataCase] | None = None
    config: str | Path | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a recipe works on.

    Attributes:
        config: the configuration, by name or path; overrides: what the person replaces in it.
        whole: the same, as its sections' settings.
        folder: of the run.
        device: one device: `cpu`, `cuda:N` or `mps`.
        start_from: weights that the person gives to begin with.
        progress: show a bar for each training.
        tell: takes a line for each piece that is done.
        results: of the stages that are done, by their names.
    """

    config: str | Path
    overrides: Mapping[str, Any]
    whole: Configuration
    dataset: DataSet
    folder: Path
    device: str
    start_from: Path | None
    progress: bool
    tell: Tell
    results: Mapping[str, Any]

    def train(self, training: MemberTraining, folder: Path) -> Path:
        """Train one network in `folder`, or go on with the run that stopped there; returns its weights, on the disk."""
        from baseline3d.training import train

        labelled = self.dataset.training if training.labelled is None else tuple(training.labelled)
        weights = train(
            self.config if training.config is None else training.config,
            data=replace(self.dataset, training=labelled),
            out=folder,
            device=self.device,
            overrides={**merged_settings(self.overrides, training.overrides), "seed": training.seed},
            start_from=training.start_from,
            pseudo=training.pseudo,
            cache=self.folder / "cases",  # all networks of one spacing train on the same prepared volumes
            progress=self.progress,
            **training.more,
        )
        settle(weights, self.folder)
        return weights

    def segmenter(self, weights: Path) -> VolumeSegmenter:
        """A trained network at work."""
        from baseline3d.models import load_model
        from baseline3d.segmenter import VolumeSegmenter

        return VolumeSegmenter(load_model(weights), self.device)

    def warn(self, segmenter: VolumeSegmenter, volume: Volume) -> None:
        """Tell what a person should know of how `volume` was segmented, such as on coarser voxels."""
        for warning in segmenter.warnings:
            self.tell(f"{volume.name}: {warning}")


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """A recipe with its settings.

    Attributes:
        rounds: trainings one after the other, the supervised start among them. The last one labels nothing.
        later: training settings that are replaced from the second round on, as `--set` would.
        last: the same, of the last round alone.
        fine_tune: members begin with their weights of the round before, not anew.
    """

    rounds: int
    later: Mapping[str, Any] = field(default_factory=dict)
    last: Mapping[str, Any] = field(default_factory=dict)
    fine_tune: bool = False

    def __post_init__(self) -> None:
        check_values(self, "recipe", ("rounds", self.rounds >= 1, "1, the supervised start alone, or more"))

    def cycle(self) -> RoundSettings:
        """How many rounds of how many members. They go on whatever the validation cases say, as in the papers."""
        return RoundSettings(members=1, rounds=self.rounds, minimum_gain=-1.0)

    @property
    def anew(self) -> bool:
        """Whether each round labels all cases anew, those too that were accepted before."""
        return True

    def check(self, work: Work) -> None:  # noqa: B027 - most take any data
        """Raise InputError for data that the recipe cannot work on, before anything is trained."""

    def before(self, work: Work) -> Sequence[Stage]:
        """What is done before the rounds."""
        return ()

    @abstractmethod
    def rule(self, work: Work) -> SelectionRule:
        """Which pseudo-labels are trained on."""

    def overrides(self, number: int) -> dict[str, Any]:
        """Training settings that are replaced in round `number`."""
        later = self.later if number > 1 else {}
        return merged_settings(later, self.last if 1 < number == self.rounds else {})

    def goes_on(self, number: int) -> bool:
        """Whether members of round `number` begin with the weights of the round before."""
        return self.fine_tune and number > 1

    def training(self, work: Work, task: Task) -> MemberTraining:
        """What a member of a round is trained with."""
        before = task.before if self.goes_on(task.round) else None
        return MemberTraining(
            seed=work.whole.training.seed + _SEEDS_OF_A_ROUND * (task.round - 1) + task.member - 1,
            overrides=self.overrides(task.round),
            pseudo=task.pseudo,
            start_from=work.start_from if task.round == 1 else before,
        )

    def train(self, work: Work, task: Task) -> Path:
        """Train a member of a round; returns its weights. Called again for a task that was killed."""
        return work.train(self.training(work, task), task.folder)

    def segment(self, work: Work, weights: Path) -> Segment:
        """How one member segments."""
        segmenter = work.segmenter(weights)

        def segment(volume: Volume) -> LabelMap:
            made = LabelMap(segmenter.segment_all(volume), volume.geometry, segmenter.table, volume.name)
            work.warn(segmenter, volume)
            return made

        return segment

    def labeller(self, work: Work, weights: Sequence[Path]) -> LabelVolume:
        """What makes pseudo-labels, from the weights of a round's members. Here: the first one's label maps."""
        segment = self.segment(work, weights[0])

        def label(volume: Volume) -> Labelled:
            made = segment(volume)
            return Labelled(made, {value: (1.0,) for value in made.present()})

        return label

    def start(self, work: Work, weights: Sequence[Path]) -> Segment:
        """What the gain is measured from: how the members of the first round segment, which saw labels alone."""
        return self.segment(work, weights[0])

    def postprocessing(self, work: Work) -> Postprocessing | None:
        """What is done to label maps of the weights that the recipe ends with, learnt from the labelled cases."""
        return None

    def ship(self, work: Work, weights: Path, postprocessing: Postprocessing | None, target: Path) -> None:
        """Write the weights that the recipe ends with: those of a member, with what else a file of them says."""
        from baseline3d.models import load_model, save_model

        loaded = load_model(weights)
        described = replace(loaded.described, postprocessing=postprocessing)
        save_model(loaded.network, described, target, read_metadata(weights), loaded.coarse)
