"""The paper's self-training: rounds whose members are pairs trained by cross pseudo supervision.

Members differ by their seed alone, that is by their first weights and the slices they see (Pham et al. 2022, 2.2:
"several CPS models"). Each segments every remaining case without labels; see `cps.rounds` for what happens then.
Runs on one device: Lightning starts a process for each GPU, and rounds are the affair of one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cps.journal import replace_file
from cps.labelling import Labelling, Tell
from cps.members import member_opener, validation_score
from cps.round_state import JOURNAL, RoundsState
from cps.rounds import Cases, Task, identity, run_rounds
from cps.self_training_settings import SelfTrainingSettings
from cps.training import CrossSettings, read_whole, train
from networks.configurations import read_config, settings_of, with_overrides
from reference_module.training import new_pair
from reference_module.training_settings import read_sections
from volumes.datasets import DataSet, read_dataset
from volumes.errors import InputError

_SEEDS_OF_A_ROUND = 100


def train_rounds(
    config: str | Path,
    *,
    data: str | Path | DataSet,
    out: str | Path,
    device: str = "cpu",
    resume: bool = True,
    overrides: Mapping[str, Any] | None = None,
    start_from: Sequence[str | Path] = (),
    progress: bool = True,
    tell: Tell = lambda line: None,
) -> RoundsState:
    """Run the rounds of a CPS configuration in the folder `out`, or go on with those that stopped there.

    Args:
        config: a configuration of `configs/cps` by name, or a YAML file.
        data: a data set with labelled and unlabelled cases, or the folder of one.
        device: one device: `cpu`, `cuda:N` or `mps`.
        resume: False refuses a folder with rounds in it.
        overrides: entries of the `training` section to replace, and under `rounds` those of the `rounds` section.
        start_from: weights that members begin with instead of random ones, in turn: the first member with the first,
            and so on. Members that begin with the same are less apart, and agree on more than they should.
        progress: show a bar for each training.
        tell: takes a line for each piece that is done.

    Returns:
        The state: `state.accepted()` has the pseudo-labels, `state.best()` the weights to use, which also lie in `out`
        as `<name>.safetensors`.

    Raises:
        InputError: data or configuration that cannot be used, or rounds in `out` that were begun with others.
    """
    folder, whole = Path(out).resolve(), read_config("cps", config)
    settings = read_rounds_section(config, overrides)
    training = {key: value for key, value in (overrides or {}).items() if key != "rounds"}
    of_members, inputs = read_sections(read_whole(config), CrossSettings, training, str(config))
    if settings.rounds > 1:
        of_members.check_room_for_pseudo_labels(str(config))
    dataset = data if isinstance(data, DataSet) else read_dataset(data)
    starts = [Path(path) for path in start_from]
    for start in dict.fromkeys(starts):  # one that will not do is found before the first member is trained
        new_pair(read_whole(config), dataset.table, inputs, 0, start)
    if starts and len(set(starts)) < settings.members:
        tell(
            f"{settings.members} members begin with {len(set(starts))} weights: those that begin alike agree on more "
            "than they should; better is a --start-from for each, of trainings with different seeds"
        )
    if (folder / JOURNAL).exists() and not resume:
        raise InputError(
            out, found="rounds", expected="an empty folder", fix="choose another --out, or go on with them"
        )
    images = {case.name: case.image for case in dataset.unlabelled}
    structures = {value: label.name for value, label in dataset.table.items()}

    def train_member(task: Task) -> Path:
        seed = int(training.get("seed", whole.training.seed)) + _SEEDS_OF_A_ROUND * task.round + task.member
        start = starts[(task.member - 1) % len(starts)] if starts else None
        return train(
            config,
            data=dataset,
            out=task.folder,
            device=device,
            resume=True,
            overrides={**training, "seed": seed},
            start_from=task.before if settings.fine_tune and task.before is not None else start,
            pseudo=task.pseudo,
            cache=folder / "cases",  # all members train on the same prepared volumes
            progress=progress,
        )

    def validate(weights: Path) -> float | None:
        # Only now is it in the journal that this member is trained. Its checkpoints, optimiser and all, are six times
        # as large as its weights, and there are many members.
        shutil.rmtree(weights.parent / "checkpoints", ignore_errors=True)
        return validation_score(weights, dataset, device)

    state = run_rounds(
        folder,
        Cases([case.name for case in dataset.training], images, structures),
        settings.cycle,
        Labelling(member_opener(images, device), settings.rule, tell),
        train_member=train_member,
        validate=validate,
        origin={
            "configuration": _plain(whole),
            "replaced": training,
            "fine_tune": settings.fine_tune,
            "start_from": [identity(path) for path in starts],
        },
    )
    best = state.best()
    if best is not None:
        replace_file(folder / f"{whole.name}.safetensors", partial(shutil.copyfile, best.weights))
    return state


def read_rounds_section(config: str | Path, overrides: Mapping[str, Any] | None = None) -> SelfTrainingSettings:
    """The `rounds` section of a CPS configuration with what `overrides` replaces under `rounds`; raises InputError."""
    replaced = (overrides or {}).get("rounds")
    if replaced is not None and not isinstance(replaced, Mapping):
        raise InputError(
            f"rounds={replaced}", found="one value", expected="a setting of the section", fix="name it: rounds.rounds=3"
        )
    section = with_overrides(read_config("cps", config).get("rounds"), replaced)
    return settings_of(section, SelfTrainingSettings, f"{config}: rounds")


def _plain(whole: DictConfig) -> dict[str, Any]:
    """What is trained and how, less the rounds, whose settings are kept on their own."""
    content = OmegaConf.to_container(whole, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items() if key != "rounds"}
