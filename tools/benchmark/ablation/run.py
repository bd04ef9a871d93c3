"""`python -m tools.benchmark ablation`: what each part of the mask-propagation paper's method is worth.

Four rows, each with one part more: supervised only; cross pseudo supervision on cases without labels; three windows
and pseudo-labels that were selected by uncertainty; mask propagation between key slices (Pham et al. 2022). Few
training cases keep their labels; the cases of the report take no part in any training, nor in any choice of weights.

A killed run goes on where it stopped: stages whose weights are there are not run again, trainings resume from their
checkpoints, scored cases are kept. Several processes may work in one folder on different rows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from networks.locks import locked
from tools.benchmark.ablation.results import About, print_summary, summarize, write_all
from tools.benchmark.ablation.rows import MASK_PROPAGATION, lines_of, score_row
from tools.benchmark.ablation.settings import ROWS, AblationSettings, read_ablation
from tools.benchmark.ablation.stages import ROUNDS, Plan, run_stage, weights_in
from tools.benchmark.ablation.truth import pseudo_labels
from tools.benchmark.few_labels import data_or_phantoms, draw
from tools.benchmark.stages import live_no_longer_than_parent, seconds_of


def run(
    data: Path | None,
    *,
    config: str,
    out: Path,
    rows: Sequence[int] = ROWS,
    device: str = "cpu",
    jobs: int = 1,
    only_score: bool = False,
    anew: bool = False,
    quiet: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Train and score the rows, print the table, save `results.json`, `.md`, `structures.csv` and `structures.png`.

    Args:
        data: a data set in nnU-Net raw layout; None makes the configuration's phantoms in `out`.
        config: of `configs/ablation`, by name, or a YAML file.
        out: the folder of everything.
        rows: of 1 to 4; the tables show those of other runs too.
        device: a torch device.
        jobs: stages and rows at once, each in its own process, with its part of the cores.
        only_score: train nothing; rows that are not trained are left out.
        anew: score cases again that are scored.
        quiet: say nothing.
        progress: show a bar for each training.

    Returns:
        The summary of `ablation_results.summarize`.

    Raises:
        InputError: data or settings that will not do, or stages in `out` that were begun with others.
    """
    settings = read_ablation(config)
    out.mkdir(parents=True, exist_ok=True)
    plan = make_plan(settings, data, out, device=device, quiet=quiet, progress=progress and jobs == 1)
    plan.tell(
        f"{len(plan.dataset.training)} labelled and {len(plan.dataset.unlabelled)} unlabelled cases, "
        f"{len(plan.report_on)} to report on, {len(plan.dataset.validation)} others to validate on"
    )
    # Beside each other, the longest chain of stages goes first.
    _perform(plan, _tasks(plan, sorted(rows, reverse=jobs > 1), train=not only_score), jobs, anew)
    with locked(out / "rows", plan.tell):  # the last one to write has seen what all others have scored
        scored = {row: lines for row in ROWS if (lines := lines_of(plan, row)) is not None}
        about = _about(plan)
        summary = summarize(scored, about)
        if scored:
            write_all(out, scored, summary, about)
    if not quiet:
        print_summary(summary)
    return summary


def make_plan(
    settings: AblationSettings, data: Path | None, out: Path, *, device: str, quiet: bool, progress: bool
) -> Plan:
    """Draw who has labels and who is reported on, after a look into the data.

    Raises:
        InputError: no data, or too few cases of a kind.
    """
    data = data_or_phantoms(data, settings.phantom, out / "phantom", settings.name)
    drawn = draw(data, settings.data, out)
    return Plan(settings, drawn.dataset, drawn.hidden, drawn.report_on, out, device, progress, quiet)


Task = tuple[str, int | str]
"""A stage by its name, or the scoring of a row."""


def _tasks(plan: Plan, rows: Sequence[int], *, train: bool) -> dict[Task, list[Task]]:
    """What to do, and what must be done before each."""
    found: dict[Task, list[Task]] = {}
    for row in rows:
        if train:
            for stage in plan.stages_of(row):
                found[("stage", stage)] = [("stage", before) for before in plan.needs(stage)]
            found[("row", row)] = [("stage", plan.pair_of(row))]
        elif weights_in(plan.folder(plan.pair_of(row))) is not None:
            found[("row", row)] = []
        else:
            plan.tell(f"row {row}: not trained")
    return found


def _perform(plan: Plan, tasks: dict[Task, list[Task]], jobs: int, anew: bool) -> None:
    """All tasks, each after what it needs, `jobs` at once."""
    if jobs <= 1:
        for task in tasks:  # in an order in which they can be done
            _do(plan, task, anew)
        return
    left, running = dict(tasks), dict[Future[None], Task]()
    done: set[Task] = set()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start, initargs=(jobs,)) as pool:
        try:
            while left or running:
                ready = [task for task, before in left.items() if done.issuperset(before)]
                for task in ready[: jobs - len(running)]:
                    running[pool.submit(_do, plan, task, anew)] = task
                    del left[task]
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                    done.add(running.pop(future))
        except BaseException:
            # What runs beside it would otherwise go on for an hour before the error is seen; it resumes.
            for process in list(pool._processes.values()):
                process.terminate()
            raise


def _start(jobs: int) -> None:
    """A process of its own: its part of the cores, and no longer life than the one that started it."""
    import torch

    live_no_longer_than_parent()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))


def _do(plan: Plan, task: Task, anew: bool) -> None:
    from networks.allocator import keep_freed_memory

    keep_freed_memory()
    kind, what = task
    if kind == "stage":
        run_stage(plan, str(what))
    else:
        score_row(plan, int(what), anew=anew)


def _about(plan: Plan) -> About:
    table, settings = plan.dataset.table, plan.settings
    notes = [settings.note] if settings.note else []
    if settings.propagation.note:
        notes.append(f"Row {MASK_PROPAGATION}: {settings.propagation.note}")
    return About(
        settings.name,
        table,
        [table.resolve(name) for name in settings.data.require] or list(table),
        settings.data.smallest,
        len(plan.dataset.training),
        len(plan.dataset.unlabelled),
        {row: sum(seconds_of(plan.folder(stage)) for stage in plan.stages_of(row)) for row in ROWS},
        pseudo_labels(plan.folder(ROUNDS)) if weights_in(plan.folder(ROUNDS)) is not None else {},
        notes,
    )
