"""The engine of all recipes: stages before, rounds of members and pseudo-labels (`cps.rounds`), the weights to ship.

    OUT/run.json                      what it was begun with
    OUT/stages.jsonl, OUT/stages/     what is done once, before the rounds or after them
    OUT/rounds/                       the rounds, as of `keyslice train rounds` (cps.round_state)
    OUT/cases/                        prepared volumes, of all trainings
    OUT/report.md, report.json        which cases, why, and what it gained (baseline3d.recipes.report)
    OUT/<name>.safetensors            the weights of the last round, with post-processing

A process that dies, however, loses the piece in flight and nothing else; started again, it ends with the same weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from baseline3d.postprocess import as_plain, from_plain
from baseline3d.recipes.recipe import Recipe, Work
from baseline3d.recipes.registry import read_recipe
from baseline3d.recipes.report import write_recipe_report
from baseline3d.recipes.stages import Stage, Stages
from baseline3d.training_settings import Configuration, checked, merged_settings, read_whole
from cps.journal import replace_file, settle
from cps.labelling import JointLabelling, LabelCase, Tell
from cps.round_state import RoundsState
from cps.rounds import Cases, check_cases, run_rounds
from cps.validation import Segment, validation_dice
from networks.locks import locked
from networks.run_record import RECORD, check_record, keep_record
from networks.training.made_with import made_with
from volumes.datasets import DataSet, read_dataset
from volumes.errors import InputError
from volumes.formats import read_volume

LOCK = "recipe.lock"
"""In the folder: held by the process that is at the recipe."""

ROUNDS = "rounds"
"""Folder of the rounds, within that of the recipe."""


def train_recipe(
    config: str | Path,
    *,
    data: str | Path | DataSet,
    out: str | Path,
    device: str = "cpu",
    resume: bool = True,
    overrides: Mapping[str, Any] | None = None,
    start_from: str | Path | None = None,
    progress: bool = True,
    tell: Tell = lambda line: None,
) -> Path:
    """Run the recipe of a 3D configuration in the folder `out`, or go on with the one that stopped there.

    Args:
        config: a configuration with a `recipe` section, by name or path.
        data: a data set with labelled and unlabelled cases, or the folder of one.
        device: one device: `cpu`, `cuda:N` or `mps`.
        resume: False refuses a folder with a recipe in it.
        overrides: as of `baseline3d.training.train`, and under `recipe` entries of that section.
        start_from: weights that the members of the first round begin with instead of random ones.
        progress: show a bar for each training.
        tell: takes a line for each piece that is done.

    Returns:
        The path of the weights that it ends with.

    Raises:
        InputError: data or configuration that cannot be used, a run in `out` that was begun with something else, or
            another process that is at it.
    """
    folder, overrides = Path(out).resolve(), dict(overrides or {})
    recipe = check_recipe(config, overrides)
    section = read_whole(config, overrides)
    whole = checked(section, str(config))
    dataset = data if isinstance(data, DataSet) else read_dataset(data)
    check_cases(_cases(dataset), folder)
    if (folder / RECORD).exists() and not resume:
        raise InputError(out, found="a run", expected="an empty folder", fix="choose another --out, or go on with it")
    record = {
        **made_with(section, whole.training, whole.input, dataset, start_from=start_from, with_unlabelled=True),
        "inference": asdict(whole.inference),
        "recipe": whole.recipe,
    }
    work = Work(
        config=config,
        overrides=_of_training(overrides),
        whole=whole,
        dataset=dataset,
        folder=folder,
        device=device,
        start_from=None if start_from is None else Path(start_from),
        progress=progress,
        tell=tell,
        results={},
    )
    if start_from is not None:
        from baseline3d.training import start_weights

        of_first = _of_round(recipe, 1, config, overrides)
        start_weights(start_from, checked(of_first, str(config)), of_first, dataset.table)
    recipe.check(work)
    with locked(folder, name=LOCK, wait=False):
        _same(folder, record)
        stages = Stages(folder)
        return _run(recipe, replace(work, results=stages.results), stages)


def check_recipe(config: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a configuration, whose settings will do in every round: a typo shall not cost those before.

    Raises:
        InputError: no recipe, or settings that cannot be used.
    """
    recipe = read_recipe(checked(read_whole(config, overrides), str(config)).recipe, str(config))
    before: Configuration | None = None
    for number in range(1, recipe.rounds + 1):
        where = f"{config}, round {number}"
        whole = checked(_of_round(recipe, number, config, overrides or {}), where)
        if before is not None:
            whole.training.check_room_for_pseudo_labels(where, "set them in recipe.later")
            if recipe.goes_on(number):
                _check_alike(before, whole, where)
        before = whole
    return recipe


def _of_round(recipe: Recipe, number: int, config: str | Path, overrides: Mapping[str, Any]) -> DictConfig:
    """The configuration of a round's trainings."""
    return read_whole(config, merged_settings(_of_training(overrides), recipe.overrides(number)))


def _check_alike(before: Configuration, whole: Configuration, where: str) -> None:
    for what, old, new in (
        ("network", before.network, whole.network),
        ("intensity rule", before.input.intensity, whole.input.intensity),
    ):
        if old != new:
            raise InputError(
                where,
                found=f"another {what} than in the round before",
                expected="the same, since recipe.fine_tune goes on with its weights",
                fix="take it out of recipe.later, or set recipe.fine_tune=false",
            )


def _of_training(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What is replaced in the configuration but for its recipe."""
    return {name: value for name, value in overrides.items() if name != "recipe"}


def _same(folder: Path, record: Mapping[str, Any]) -> None:
    """Raise InputError if the folder's recipe was begun with something else; keep what a new one is begun with."""
    if (folder / RECORD).exists():
        check_record(folder, record)
    else:
        keep_record(folder, record)


def _run(recipe: Recipe, work: Work, stages: Stages) -> Path:
    for stage in recipe.before(work):
        stages.run(stage)
    plain = stages.run(Stage("postprocessing", lambda place: as_plain(recipe.postprocessing(work))))
    postprocessing = from_plain(plain, "postprocessing")
    skipped = [] if postprocessing is None else postprocessing.skipped(work.dataset.table)
    for line in skipped:
        work.tell(f"post-processing: {line}")
    state = _rounds(recipe, work)
    last = state.rounds[max(state.rounds)]
    chosen = max(last.members.values(), key=lambda one: -1.0 if one.score is None else one.score).weights
    shipped = work.folder / f"{work.whole.name}.safetensors"
    replace_file(shipped, partial(recipe.ship, work, chosen, postprocessing))
    settle(shipped, work.folder)
    first = [member.weights for _, member in sorted(state.rounds[1].members.items())]
    loaders: dict[str, Callable[[], Segment]] = {
        "start": lambda: recipe.start(work, first),
        "trained": lambda: recipe.segment(work, chosen),
    }
    if postprocessing is not None:
        loaders["shipped"] = lambda: Recipe.segment(recipe, work, shipped)
    scores = {name: stages.run(Stage(f"score-{name}", partial(_score, work, load))) for name, load in loaders.items()}
    write_recipe_report(work, recipe, state, chosen, scores, skipped)
    return shipped


def _rounds(recipe: Recipe, work: Work) -> RoundsState:
    dataset, cases = work.dataset, _cases(work.dataset)

    def open_members(weights: Sequence[Path]) -> LabelCase:
        label = recipe.labeller(work, weights)
        return lambda case: label(replace(read_volume(cases.unlabelled[case]), name=case))

    def validate(weights: Path) -> float | None:
        # Only now is it in the journal that this member is trained. Its checkpoints, optimiser and all, are three
        # times as large as its weights, and there are many members.
        shutil.rmtree(weights.parent / "checkpoints", ignore_errors=True)
        if not dataset.validation:
            return None
        return validation_dice(recipe.segment(work, weights), dataset).get("mean")

    return run_rounds(
        work.folder / ROUNDS,
        cases,
        recipe.cycle(),
        JointLabelling(open_members, recipe.rule(work), work.tell),
        train_member=lambda task: recipe.train(work, task),
        validate=validate,
        anew=recipe.anew,
    )


def _cases(dataset: DataSet) -> Cases:
    images = {case.name: case.image for case in dataset.unlabelled}
    structures = {value: label.name for value, label in dataset.table.items()}
    return Cases([case.name for case in dataset.training], images, structures)


def _score(work: Work, load: Callable[[], Segment], place: Path) -> dict[str, float]:
    """Dice of each structure on the validation cases; empty without such cases."""
    found = validation_dice(load(), work.dataset) if work.dataset.validation else {}
    return {name: round(value, 6) for name, value in found.items()}
