"""What a recipe does once, before or after its rounds: kept in a journal as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cps.journal import Journal

JOURNAL = "stages.jsonl"


@dataclass(frozen=True)
class Stage:
    """A piece of work that is done once.

    Attributes:
        name: unlike that of any other stage of the recipe.
        run: does it and returns plain values. It is given a folder of its own, which it may make, and which may have
            what a killed process left. Files that the result names must be on the disk by then (`cps.journal.settle`).
    """

    name: str
    run: Callable[[Path], Any]


class Stages:
    """The stages of a recipe in `folder`.

    Attributes:
        results: of the stages that are done, by their names.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._journal = Journal(folder / JOURNAL)
        self.results: dict[str, Any] = {line["stage"]: line["result"] for line in self._journal.lines}

    def run(self, stage: Stage) -> Any:
        """The result of a stage, which is run if that is not done."""
        if stage.name not in self.results:
            result = stage.run(self.folder / "stages" / stage.name)
            self._journal.append({"stage": stage.name, "result": result})
            self.results[stage.name] = self._journal.lines[-1]["result"]  # as it would be read back
        return self.results[stage.name]
