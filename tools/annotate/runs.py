"""What runs beside the server for one case: propagation, and the automatic start.

The engine tells of it in its own thread; everything here happens in the event loop's, to which updates are handed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tools.annotate.engine import Engine
from tools.annotate.engine_updates import (
    Cancelled,
    EngineUpdate,
    Failed,
    Finished,
    KeySlicesFound,
    Proposed,
    Working,
)
from tools.annotate.refusals import Refusal

if TYPE_CHECKING:
    from propagation_module.propagator import Propagator
    from reference_module.referencer import Referencer
    from tools.annotate.case import OpenCase

PROPAGATION, AUTOMATIC = "propagation", "automatic"


@dataclass(frozen=True)
class Networks:
    """How the networks are loaded; called in the engine's thread, when one is first needed.

    Args:
        propagator: makes the propagator.
        referencer: loads the reference model of a name.
    """

    propagator: Callable[[], Propagator]
    referencer: Callable[[str], Referencer]


class Runs:
    """The runs of one case, one at a time.

    Attributes:
        running: `propagation`, `automatic` or None.
        progress: `{done, total}` of what runs.
    """

    def __init__(self, case: OpenCase, networks: Networks) -> None:
        self.running: str | None = None
        self.progress = {"done": 0, "total": 0}
        self._case, self._networks = case, networks
        self._engine: Engine | None = None
        self._run = 0
        self._tasks: set[asyncio.Task[Any]] = set()  # an event loop alone would forget them

    def propagate(self) -> None:
        """Propagate what is given now; a run that is under way ends."""
        document = self._case.document
        names = {value: label.name for value, label in document.labels.items()}
        engine = self._opened()
        self._run = engine.start(document.slices, document.extents, document.revision, names)
        self._tell_progress(PROPAGATION, 0, 0)

    def automatic(self, model: str) -> None:
        """Let a reference model find key slices; a run that is under way ends."""
        names = {value: label.name for value, label in self._case.document.labels.items()}
        self._run = self._opened().automatic(model, names)
        self._tell_progress(AUTOMATIC, 0, 0)

    def cancel(self) -> None:
        """End what runs, if anything does."""
        if self._engine is not None:
            self._engine.cancel()

    async def close(self) -> None:
        """End what runs, and the engine's thread."""
        if self._engine is not None:
            await asyncio.to_thread(self._engine.close)
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _opened(self) -> Engine:
        if self._engine is None:
            loop = asyncio.get_running_loop()

            def hand_on(update: EngineUpdate) -> None:
                loop.call_soon_threadsafe(self._receive, update)

            networks = self._networks
            self._engine = Engine(self._case.volume, networks.propagator, hand_on, networks.referencer)
        return self._engine

    def _receive(self, update: EngineUpdate) -> None:
        case, current = self._case, update.run == self._run
        if isinstance(update, Proposed):
            if case.proposals.put(update.z, update.mask, update.confidence):
                case.tell_proposals([update.z])
            if current:
                self._tell_progress(PROPAGATION, update.done, update.total)
        elif isinstance(update, Finished):
            case.suggest(update.suggestion)
            self._keep_proposals()
            if current:
                self._tell_progress(None, self.progress["total"], self.progress["total"])
        elif isinstance(update, Working):
            if current:
                self._tell_progress(AUTOMATIC, update.done, update.total)
        elif isinstance(update, KeySlicesFound):
            if current:
                self._tell_progress(None, 0, 0)
            self.begin(self._take(update))
        elif isinstance(update, Cancelled):
            self._keep_proposals()
            if current:
                self._tell_progress(None, 0, 0)
        elif isinstance(update, Failed):
            case.notice(update.message, "error")
            if current:
                self._tell_progress(None, 0, 0)

    async def _take(self, found: KeySlicesFound) -> None:
        """Key slices of the reference model become the document's, like an action of the person."""
        case = self._case
        if not found.key_slices:
            case.notice("the model found none of its structures", "info")
            return
        labels = {value: (label.name, label.color) for value, label in found.merge.new.items()}
        title = f"automatic start, {len(found.key_slices)} slices"
        try:
            await case.commit(lambda document: document.put_slices(found.key_slices, title, labels))
        except Refusal as refusal:
            case.notice("automatic start: {found}; {fix}".format(**refusal.parts), "error")

    def _keep_proposals(self) -> None:
        self.begin(self._case.keep_proposals())

    def _tell_progress(self, running: str | None, done: int, total: int) -> None:
        progress = {"done": done, "total": total}
        if (running, progress) != (self.running, self.progress):
            self.running, self.progress = running, progress
            self._case.audience.publish("progress", {**progress, "running": running})

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something of the case beside the requests; `close` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
