"""What passes between a run and those who work for it: tasks out, outcomes back; plain JSON, never pickle."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tools.errors import as_input_error
from tools.files import write_json
from volumes.errors import InputError

if TYPE_CHECKING:
    from tools.case_runs import Work

COMMANDS = {
    "propagate": "tools.propagate",
    "segment": "tools.segment",
    "evaluate": "tools.evaluate_cases",
    "pseudo-label": "tools.pseudo_label_work",
}
"""The modules whose `Job` and `make_work` a worker takes; a message can name no other."""

STATE = ".keyslice-run"
"""Folder within the output folder for what is the run's own; hidden, so that nothing takes it for a case."""

Kind = Literal["done", "failed", "died", "set aside", "refused"]


class BatchCase(Protocol):
    """What a run needs to know of a case; a dataclass of paths and plain values."""

    @property
    def name(self) -> str: ...

    @property
    def output(self) -> Path | None: ...

    @property
    def thumbnail(self) -> Path | None: ...

    def inputs(self) -> list[Path]:
        """The files that the result is made from."""

    def annotate_arguments(self) -> list[str]:
        """Arguments of `keyslice annotate` that open the result; none where there is no CT to open."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all tasks of a run share; a worker makes its `Work` from it, once.

    Attributes:
        command: one of COMMANDS.
        job: its `Job`, as plain values.
        folder: the run's own folder (STATE), which all workers see.
        cwd: where relative paths start.
        version: of Keyslice; a worker of another one is refused.
        memory, seconds: limits of a case, None for none.
        threads: of a worker for its computations; None leaves it to the worker's environment.
    """

    command: str
    job: dict[str, Any]
    folder: str
    cwd: str
    version: str
    memory: int | None = None
    seconds: float | None = None
    threads: int | None = None

    def key(self) -> str:
        """The same for equal setups."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a task.

    Attributes:
        case: its name.
        kind: `done`; `failed`: the case is at fault; `died`: the worker's process ended while it was at the case;
            `set aside`: that has happened too often; `refused`: the worker cannot work at all.
        text: one line: what was made, or what is wrong.
        error: with `refused`, the parts of an InputError: where, found, expected, fix.
        warnings: lines for the person.
        brief: what the report's table says of the case.
        attempt: how many workers were at it, this one included.
        where: worker, as `host:pid`.
        seconds: that it took.
        memory: most bytes that were seen in the worker's process meanwhile; None where nobody looked.
    """

    case: str
    kind: Kind
    text: str
    error: tuple[str, str, str, str] | None = None
    warnings: tuple[str, ...] = ()
    brief: dict[str, Any] = field(default_factory=dict)
    attempt: int = 1
    where: str = ""
    seconds: float = 0.0
    memory: int | None = None


def refused(error: InputError, case: str = "") -> Outcome:
    """The outcome where a worker cannot work."""
    return Outcome(
        case=case, kind="refused", text=str(error), error=(error.where, error.found, error.expected, error.fix)
    )


def outcome_from(content: dict[str, Any]) -> Outcome:
    """An outcome that came as JSON."""
    error = content["error"]
    where, found, expected, fix = error or ("", "", "", "")
    parts = None if error is None else (where, found, expected, fix)
    return Outcome(**{**content, "warnings": tuple(content["warnings"]), "error": parts})


def raise_refused(outcome: Outcome) -> None:
    """Raise the InputError of a worker that cannot work."""
    if outcome.kind == "refused" and outcome.error is not None:
        where, found, expected, fix = outcome.error
        raise InputError(where, found=found, expected=expected, fix=fix)


def details_path(folder: Path, name: str) -> Path:
    """Where the full report of a case lies."""
    return folder / "cases" / f"{name}.json"


def work_on(work: Work, case: Any, folder: Path) -> Outcome:
    """Work on one case, and write its full report.

    Raises:
        RuntimeError and others: a fault that is not the input's or the machine's.
    """
    started = time.perf_counter()
    try:
        entry = work.run(case)
        write_json(details_path(folder, case.name), entry)
    except (InputError, OSError, MemoryError, RuntimeError) as error:
        known = as_input_error(error, where=case.inputs()[0])
        if known is None:
            raise
        return Outcome(case=case.name, kind="failed", text=str(known), seconds=_since(started))
    return Outcome(
        case=case.name,
        kind="done",
        text=f"{work.summary(entry)} on {work.device}",
        warnings=tuple(entry.get("warnings", ())),
        brief=work.brief(entry),
        seconds=_since(started),
    )


def make_work(setup: Setup) -> Work:
    """The `Work` of a setup; networks are loaded by then or with the first case.

    Raises:
        InputError: what was asked for cannot be done here.
    """
    from pydantic import TypeAdapter

    from tools.info import versions

    if setup.version != (here := str(versions()["keyslice"])):
        raise InputError(
            "worker",
            found=f"keyslice {here}",
            expected=f"keyslice {setup.version}, as where the run was started",
            fix="install the same version for the workers",
        )
    module = import_module(COMMANDS[setup.command])
    work: Work = module.make_work(TypeAdapter(module.Job).validate_python(setup.job))
    return work


def plain(value: Any) -> dict[str, Any]:
    """A dataclass of paths, numbers and text as JSON takes it."""
    from pydantic import TypeAdapter

    content: dict[str, Any] = TypeAdapter(type(value)).dump_python(value, mode="json")
    return content


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
