"""The manifest of a run over many cases: an append-only journal from which a run that was stopped goes on.

`OUT/manifest.jsonl`, a JSON object a line, on the disk before what it speaks of goes on:

    {"event": "begun", "command": ..., "settings": {...}}        a run with these settings; what came before is void
    {"event": "facts", "facts": {...}}                           what a worker said of itself
    {"event": "started", "case": ..., "inputs": {path: [bytes, time]}}
    {"event": "died", "case": ..., "reason": ...}                a worker ended while it was at the case
    {"event": "done", "case": ..., "text": ..., ...}             the result is whole, on the disk
    {"event": "failed", "case": ..., "reason": ...}
    {"event": "ended"}                                           every case has come to an end
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cps.journal import Journal
from tools.batch.tasks import BatchCase, Outcome
from volumes.errors import InputError

MANIFEST = "manifest.jsonl"

Fingerprints = dict[str, list[int]]


@dataclass
class Record:
    """What is known of a case.

    Attributes:
        inputs: fingerprints of the files when it was begun last.
        done: the line of its result, None if there is none.
        failed: why there is none, None if that is not known.
        deaths: what ended the workers that were at it.
    """

    inputs: Fingerprints = field(default_factory=dict)
    done: dict[str, Any] | None = None
    failed: str | None = None
    deaths: list[str] = field(default_factory=list)


class Manifest:
    """The journal, and what it says.

    Args:
        folder: of the results; it is there.

    Attributes:
        begun: command and settings of the run, None before the first.
        ended: whether all of its cases have come to an end.
        facts: what a worker said of itself.
        records: by case, of those that were begun.

    Raises:
        InputError: a journal that is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / MANIFEST)
        self.begun: dict[str, Any] | None = None
        self.ended = False
        self.facts: dict[str, Any] = {}
        self.records: dict[str, Record] = {}
        for line in self._journal.lines:
            self._take(line)
        self._journal.lines.clear()  # 30,000 of them are not needed twice

    def begin(self, command: str, settings: Mapping[str, Any]) -> None:
        """A new run: what was known of cases is void, their results are the next ones to be replaced."""
        self._add({"event": "begun", "command": command, "settings": dict(settings), "time": _now()})

    def take_facts(self, facts: Mapping[str, Any]) -> None:
        """What a worker says of itself."""
        self._add({"event": "facts", "facts": dict(facts)})

    def started(self, case: str, inputs: Fingerprints) -> None:
        """From now on what lies in the place of its result is the run's own."""
        self._add({"event": "started", "case": case, "inputs": inputs, "time": _now()})

    def died(self, outcome: Outcome) -> None:
        """A worker has ended while it was at a case."""
        self._add({"event": "died", "case": outcome.case, "reason": outcome.text, "where": outcome.where})

    def done(self, outcome: Outcome) -> None:
        """A result is on the disk."""
        self._add(
            {
                "event": "done",
                "case": outcome.case,
                "text": outcome.text,
                "warnings": list(outcome.warnings),
                "brief": outcome.brief,
                "attempt": outcome.attempt,
                "where": outcome.where,
                "seconds": outcome.seconds,
                "memory": outcome.memory,
                "time": _now(),
            }
        )

    def failed(self, case: str, reason: str) -> None:
        """There will be no result, as long as its files stay as they are."""
        self._add({"event": "failed", "case": case, "reason": reason, "time": _now()})

    def end(self) -> None:
        """All cases have come to an end."""
        self._add({"event": "ended", "time": _now()})

    def check_same(self, command: str, settings: Mapping[str, Any], folder: Path) -> None:
        """Raise InputError unless the run that is here was begun with the same settings."""
        assert self.begun is not None
        now = {"command": command, **settings}
        then = {"command": self.begun["command"], **self.begun["settings"]}
        for name in [*then, *(name for name in now if name not in then)]:
            if then.get(name) != now.get(name):
                raise InputError(
                    folder,
                    found=f"results of a run with {name} {then.get(name)}, now {now.get(name)}",
                    expected="the settings that the run was begun with",
                    fix="go on with those, pass --overwrite to begin anew, or choose another folder",
                )

    def _add(self, line: dict[str, Any]) -> None:
        self._journal.append(line)
        self._take(self._journal.lines.pop())

    def _take(self, line: dict[str, Any]) -> None:
        """Follow one line of the journal."""
        event = line["event"]
        if event == "begun":
            self.begun, self.ended, self.facts, self.records = line, False, {}, {}
        elif event == "facts":
            self.facts = line["facts"]
        elif event == "ended":
            self.ended = True
        else:
            self.ended = False
            record = self.records.setdefault(line["case"], Record())
            if event == "started":
                record.inputs, record.done, record.failed = line["inputs"], None, None
            elif event == "died":
                record.deaths.append(line["reason"])
            elif event == "done":
                record.done = line
            elif event == "failed":
                record.failed, record.deaths = line["reason"], []


def fingerprints(case: BatchCase) -> Fingerprints:
    """Size and time of change of each file that a result is made from; the result is stale when they differ.

    Raises:
        InputError: one of them is not there.
    """
    found = {}
    for path in case.inputs():
        try:
            status = path.stat()
        except FileNotFoundError:
            raise InputError(
                path, found="nothing there", expected="a file of this case", fix="check the path, or leave the case out"
            ) from None
        found[str(path.resolve())] = [status.st_size, status.st_mtime_ns]
    return found


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
