"""A run over many cases: what is done already stays, the rest is handed to workers, every end is written down.

The order of cases does not matter to their results: nothing passes from one case to the next.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.batch.attempts import MOST, forget, forget_all
from tools.batch.manifest import MANIFEST, Fingerprints, Manifest, fingerprints
from tools.batch.progress import Progress
from tools.batch.tasks import STATE, BatchCase, Outcome
from tools.batch.workers import Workers
from tools.errors import show
from volumes.errors import InputError

_TICK = 1.0
"""Seconds after which a run looks whether workers have come or gone."""


@dataclass
class Finished:
    """What a run has come to.

    Attributes:
        facts: what a worker said of itself; empty where nothing was ever worked on.
        done: by case, what the manifest says of its result.
        failed: by case, why there is none.
        kept: cases that were done before this start.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    kept: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be run.

    Attributes:
        command: its name.
        settings: what results depend on besides the cases' files.
        folder: of the results.
        cases: sorted by name.
        unusable: by name, what is wrong with those that cannot be run.
        check_places: raises InputError where the results of a case cannot be written, or are there already and are not
            to be replaced.
        overwrite: replace results that exist.
        retry: run those again that have failed before.
        quiet: say nothing but errors.
    """

    command: str
    settings: Mapping[str, Any]
    folder: Path
    cases: list[Any]
    unusable: Mapping[str, InputError]
    check_places: Callable[[Any, bool], None]
    overwrite: bool = False
    retry: bool = False
    quiet: bool = False


def run_plan(plan: Plan, workers: Workers) -> Finished:
    """Run what is not done yet.

    Raises:
        InputError: a worker that cannot work, a folder that another run is at or that holds a run with other settings.
    """
    with _at(plan.folder) as state:
        manifest = Manifest(plan.folder)
        anew = manifest.begun is None or (plan.overwrite and manifest.ended)
        if not anew:
            if plan.overwrite and not _same(manifest, plan):
                anew = True
            else:
                manifest.check_same(plan.command, plan.settings, plan.folder)
        finished = Finished(failed={name: str(error) for name, error in plan.unusable.items()})
        run = _Run(plan, manifest, workers, state, finished)
        waiting = run.sort_out({} if anew else manifest.records)
        for name in sorted(plan.unusable):
            show(plan.unusable[name])
        if waiting:
            with workers:
                facts = workers.prepare()
                if anew:
                    manifest.begin(plan.command, plan.settings)
                if facts != manifest.facts:
                    manifest.take_facts(facts)
                forget_all(state)
                _sweep(plan.folder)
                (state / "cases").mkdir(exist_ok=True)
                (state / "thumbnails").mkdir(exist_ok=True)
                run.all_of(waiting)
            _sweep(plan.folder)
            manifest.end()
        elif anew and plan.cases:
            manifest.begin(plan.command, plan.settings)  # all of them failed before anything was begun
            manifest.end()
        finished.facts = manifest.facts
    return finished


class _Run:
    """The cases on their way."""

    def __init__(self, plan: Plan, manifest: Manifest, workers: Workers, state: Path, finished: Finished) -> None:
        self.plan, self.manifest, self.workers, self.state, self.finished = plan, manifest, workers, state, finished
        self.inputs: dict[str, Fingerprints] = {}
        self.progress = Progress(quiet=plan.quiet, bar=not workers.alone)

    def sort_out(self, records: Mapping[str, Any]) -> deque[tuple[Any, str]]:
        """The cases that are to be worked on; what is known of the others is in `finished` from then on."""
        waiting: deque[tuple[Any, str]] = deque()
        for case in self.plan.cases:
            record = records.get(case.name)
            try:
                inputs = self.inputs[case.name] = fingerprints(case)
                if record is not None and record.inputs == inputs:
                    if record.done is not None and (case.output is None or case.output.exists()):
                        self.finished.done[case.name] = record.done
                        self.finished.kept += 1
                        continue
                    if record.failed is not None and not self.plan.retry:
                        self._fails(case.name, record.failed)
                        continue
                if not self.plan.overwrite and record is not None and record.inputs != inputs:
                    _refuse_stale(case)
                # What was begun is the run's own, and so is what lies in its place.
                self.plan.check_places(case, self.plan.overwrite or record is not None)
            except (InputError, OSError) as error:
                self._fails(case.name, str(error), error if isinstance(error, InputError) else None)
                continue
            waiting.append((case, ""))
        return waiting

    def all_of(self, waiting: deque[tuple[Any, str]]) -> None:
        """Hand them out, take what comes back, until there is nothing left."""
        at_work: dict[str, Any] = {}
        with self.progress as progress:
            progress.begin(total=len(waiting), kept=self.finished.kept)
            while waiting or at_work:
                while waiting and len(at_work) < max(1, self.workers.room()):
                    case, avoid = waiting.popleft()
                    self.manifest.started(case.name, self.inputs[case.name])
                    self.workers.submit(case, avoid)
                    at_work[case.name] = case
                outcome = self.workers.next(_TICK)
                progress.workers(self.workers.room())
                if outcome is None:
                    continue
                case = at_work.pop(outcome.case)
                if not self._came_to_an_end(case, outcome):
                    waiting.append((case, outcome.where))

    def _came_to_an_end(self, case: BatchCase, outcome: Outcome) -> bool:
        """Write down what came of a case; whether that is all."""
        if outcome.kind == "died":
            self.manifest.died(outcome)
            if outcome.attempt < MOST:
                self.progress.line(f"{case.name}: {outcome.text}; tried once more")
                return False
        if outcome.kind == "done":
            self.manifest.done(outcome)
            self.finished.done[case.name] = self.manifest.records[case.name].done or {}
            self.progress.done(f"{case.output or case.name}: {outcome.text}")
            for warning in outcome.warnings:
                self.progress.line(f"warning: {case.name}: {warning}")
        else:
            reason = outcome.text if outcome.kind == "failed" else self._set_aside(case)
            self.manifest.failed(case.name, reason)
            self.progress.failed()
            self._fails(case.name, reason)
        forget(self.state, case.name)
        return True

    def _set_aside(self, case: BatchCase) -> str:
        deaths = self.manifest.records[case.name].deaths
        how = ", then ".join(dict.fromkeys(deaths)) or "the cluster lost them"
        error = InputError(
            case.inputs()[0],
            found=f"a volume that ended its worker {MOST} times ({how})",
            expected="one that fits into the memory and time of a worker",
            fix="give more with --memory-limit and --time-limit, look at the volume, and start again with --retry",
        )
        return str(error)

    def _fails(self, name: str, reason: str, error: InputError | None = None) -> None:
        self.finished.failed[name] = reason
        show(error if error is not None else reason)


def _same(manifest: Manifest, plan: Plan) -> bool:
    try:
        manifest.check_same(plan.command, plan.settings, plan.folder)
    except InputError:
        return False
    return True


@contextmanager
def _at(folder: Path) -> Iterator[Path]:
    """Be the only run at a folder, made if need be; the run's own folder in it. Empty ones are taken away again."""
    from networks.locks import locked

    state = folder / STATE
    made = [path for path in (folder, state) if not path.exists()]
    folder.mkdir(exist_ok=True)
    try:
        with locked(state, wait=False):
            yield state
    except BaseException:
        if state in made and not (folder / MANIFEST).exists():
            shutil.rmtree(state)
        if folder in made and not os.listdir(folder):
            folder.rmdir()
        raise


def _sweep(folder: Path) -> None:
    """Remove what killed workers left half-written beside the results; nothing ever looks at such files."""
    for leftover in folder.glob(".keyslice-*"):
        if leftover.is_file():
            leftover.unlink()


def _refuse_stale(case: BatchCase) -> None:
    if case.output is not None and case.output.exists():
        raise InputError(
            case.output,
            found="a result that was made from other files than are there now",
            expected="files that have not changed since",
            fix="pass --overwrite to make it anew, or delete it",
        )
