"""The trainings of the ablation, each in a folder of its own, and which rows need which.

    OUT/stages/supervised-one      labels alone, the abdomen window thrice
    OUT/stages/further-one         row 1: that, going on with labels alone
    OUT/stages/cps-one             row 2: that, going on with CPS
    OUT/stages/supervised-three-N  labels alone, three windows
    OUT/stages/member-N            CPS on three windows: the members whose agreement selects pseudo-labels
    OUT/stages/rounds              row 3: selection, the training with what was selected, and the best pair of both

Rows 1 and 2 differ in nothing but the unlabelled slices: both begin with the same weights and see the same labelled
slices in the same order, so that CPS is not credited with what more steps with labels would have done too.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from networks.locks import locked
from tools.benchmark.ablation.settings import AblationSettings
from tools.benchmark.ablation.truth import write_truth
from tools.benchmark.stages import check_made_with, files_digest, seconds_of, timed
from tools.console import say
from volumes.datasets import DataCase, DataSet
from volumes.errors import InputError

SUPERVISED_ONE, FURTHER_ONE, CPS_ONE, ROUNDS = "supervised-one", "further-one", "cps-one", "rounds"
_PAIR_OF = {1: FURTHER_ONE, 2: CPS_ONE, 3: ROUNDS, 4: ROUNDS}
_SEEDS_OF_A_ROUND = 100


@dataclass(frozen=True)
class Plan:
    """All that a stage or a row needs to know; the same in every process.

    Attributes:
        settings: of `configs/ablation`.
        dataset: labelled, unlabelled and validation cases of the trainings; none of the latter is reported on.
        hidden: the unlabelled cases with the labels that the trainings do not see, those that have them.
        report_on: the cases of the report.
        out: folder of everything.
        device: a torch device.
        progress: show a bar for each training.
        quiet: say nothing.
    """

    settings: AblationSettings
    dataset: DataSet
    hidden: Mapping[str, DataCase]
    report_on: tuple[DataCase, ...]
    out: Path
    device: str
    progress: bool = False
    quiet: bool = False

    def tell(self, line: str) -> None:
        """Say a line, with the time of day."""
        if not self.quiet:
            say(f"{time.strftime('%H:%M:%S')} {line}")

    def folder(self, stage: str) -> Path:
        """Of a stage."""
        return self.out / "stages" / stage

    def weights(self, stage: str) -> Path:
        """What a stage has made; raises InputError if it has not."""
        found = weights_in(self.folder(stage))
        if found is None:
            raise InputError(
                self.folder(stage), found="no weights", expected="those of the stage", fix="train it: no --only-score"
            )
        return found

    def starts(self) -> list[str]:
        """Supervised trainings with three windows."""
        return [f"supervised-three-{number + 1}" for number in range(self.settings.training.starts)]

    def members(self) -> list[str]:
        """Trainings of round 1."""
        return [f"member-{number + 1}" for number in range(self.settings.rounds_settings().members)]

    def start_of(self, member: int) -> str:
        """What member 1, 2, ... begins with."""
        starts = self.starts()
        return starts[(member - 1) % len(starts)]

    def needs(self, stage: str) -> list[str]:
        """Stages that must be there before one."""
        if stage in (FURTHER_ONE, CPS_ONE):
            return [SUPERVISED_ONE]
        if stage.startswith("member-"):
            return [self.start_of(int(stage.removeprefix("member-")))]
        return [*self.starts(), *self.members()] if stage == ROUNDS else []

    def stages_of(self, row: int) -> list[str]:
        """All stages that a row needs, in an order in which they can be run."""
        found: list[str] = []

        def add(stage: str) -> None:
            for before in self.needs(stage):
                add(before)
            if stage not in found:
                found.append(stage)

        add(_PAIR_OF[row])
        return found

    def pair_of(self, row: int) -> str:
        """The stage whose pair a row is scored with."""
        return _PAIR_OF[row]


def weights_in(folder: Path) -> Path | None:
    """Weights that a stage has ended with."""
    found = [path for path in folder.glob("*.safetensors") if not path.name.startswith(".")]
    return found[0] if found else None


def run_stage(plan: Plan, stage: str) -> None:
    """Run a stage, go on with it, or see that it is there, made with these settings.

    Raises:
        InputError: it was begun with other settings, or cannot be trained.
    """
    folder = plan.folder(stage)
    with locked(folder, plan.tell):
        check_made_with(folder, _made_with(plan, stage))
        if weights_in(folder) is not None:
            plan.tell(f"{stage}: there already")
            return
        plan.tell(f"{stage}: {'goes on' if seconds_of(folder) else 'begins'}")
        with timed(folder):
            if stage == ROUNDS:
                _rounds(plan)
            else:
                _train(plan, stage)
        # Six times as large as the weights that came of them.
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        plan.tell(f"{stage}: done, {seconds_of(folder) / 60:.1f} min in all")


def _train(plan: Plan, stage: str) -> None:
    from cps import training as cross
    from reference_module import training as supervised

    settings, before = plan.settings, plan.needs(stage)
    is_cps = stage == CPS_ONE or stage.startswith("member-")
    (cross if is_cps else supervised).train(
        settings.cps if is_cps else settings.reference,
        data=plan.dataset,
        out=plan.folder(stage),
        device=plan.device,
        overrides=_overrides(plan, stage),
        start_from=plan.weights(before[0]) if before else None,
        cache=plan.out / "cases",  # prepared volumes, which all stages share
        progress=plan.progress,
    )


def _overrides(plan: Plan, stage: str) -> dict[str, Any]:
    """What a training replaces in its configuration."""
    settings, seed = plan.settings, plan.settings.training.seed
    steps = settings.training
    kind, _, number = stage.rpartition("-")
    if stage == SUPERVISED_ONE:
        return settings.supervised_overrides("one", seed)
    if stage == FURTHER_ONE:
        return settings.supervised_overrides("one", seed + 1, further=True)
    if stage == CPS_ONE:
        return settings.cps_overrides("one", seed + 1, steps.further_steps)
    if kind == "member":
        return settings.cps_overrides("three", _seed(seed, 1, int(number)), steps.member_steps, member=True)
    # The first has the seed of the training with one window: the same slices, seen otherwise.
    return settings.supervised_overrides("three", seed + 10 * (int(number) - 1))


def _seed(seed: int, round_number: int, member: int) -> int:
    return seed + _SEEDS_OF_A_ROUND * round_number + member


def _last_overrides(plan: Plan, round_number: int, member: int) -> dict[str, Any]:
    one = plan.settings.training
    return plan.settings.cps_overrides("three", _seed(one.seed, round_number, member), one.last_steps, member=True)


def _made_with(plan: Plan, stage: str) -> dict[str, Any]:
    """All that a stage's result depends on, but for the code."""
    from omegaconf import OmegaConf

    from cps.rounds import identity
    from networks.configurations import read_config

    settings, dataset = plan.settings, plan.dataset
    one: dict[str, Any] = {
        "reference": OmegaConf.to_container(read_config("reference", settings.reference), resolve=True),
        "cps": OmegaConf.to_container(read_config("cps", settings.cps), resolve=True),
        "labelled": sorted(case.name for case in dataset.training),
        "unlabelled": sorted(case.name for case in dataset.unlabelled),
        "files": files_digest([*dataset.training, *dataset.unlabelled]),
        "begins_with": [identity(plan.weights(before)).rpartition(" ")[2] for before in plan.needs(stage)],
    }
    if stage == ROUNDS:
        one["validation"] = files_digest(dataset.validation)
        return {**one, "rounds": dict(settings.rounds), "replaced": _last_overrides(plan, 0, 0)}
    if stage in (SUPERVISED_ONE, FURTHER_ONE, *plan.starts()):
        del one["cps"], one["unlabelled"]
        one["files"] = files_digest(dataset.training)
    return {**one, "replaced": _overrides(plan, stage)}


def _rounds(plan: Plan) -> None:
    """Select pseudo-labels by the members' agreement, train with them, and end with the best model of all rounds.

    Where no pseudo-label is accepted, the last training comes all the same, without any: row 2 has had it too.
    """
    from cps.journal import replace_file
    from cps.labelling import Labelling
    from cps.members import member_opener, validation_score
    from cps.round_report import write_report
    from cps.rounds import Cases, Task, run_rounds, train_one
    from cps.training import train

    settings, dataset, folder = plan.settings.rounds_settings(), plan.dataset, plan.folder(ROUNDS).resolve()
    images = {case.name: case.image for case in dataset.unlabelled}

    def train_member(task: Task) -> Path:
        if task.round == 1:  # a stage, so that members can be trained beside each other
            return plan.weights(f"member-{task.member}").resolve()
        goes_on = settings.fine_tune and task.before is not None
        return train(
            plan.settings.cps,
            data=dataset,
            out=task.folder,
            device=plan.device,
            overrides=_last_overrides(plan, task.round, task.member),
            start_from=task.before if goes_on else plan.weights(plan.start_of(task.member)),
            pseudo=task.pseudo,
            cache=plan.out / "cases",
            progress=plan.progress,
        )

    def validate(weights: Path) -> float | None:
        return validation_score(weights, dataset, plan.device)

    state = run_rounds(
        folder,
        Cases([case.name for case in dataset.training], images, {v: one.name for v, one in dataset.table.items()}),
        settings.cycle,
        Labelling(member_opener(images, plan.device), settings.rule, plan.tell),
        train_member=train_member,
        validate=validate,
    )
    if not state.accepted() and settings.rounds > 1:
        for number in range(1, settings.cycle.members_of(labels=False) + 1):
            train_one(state, 2, number, plan.tell, train_member, validate)
        write_report(state)
    write_truth(state, plan.hidden, dataset.table)
    for member in (one for each in state.rounds.values() for one in each.members.values()):
        shutil.rmtree(member.weights.parent / "checkpoints", ignore_errors=True)
    best = state.best()
    assert best is not None
    replace_file(folder / "best.safetensors", partial(shutil.copyfile, best.weights))
