"""What runs beside the server for one case: propagation, and the automatic start.

The engine tells of it in its own thread; everything here happens in the event loop's, to which updates are handed on.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

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
from tools.annotate.loading import load_tools
from tools.annotate.merging import merge_again
from tools.annotate.refusals import Refusal, closed_just_now
from tools.annotate.taking_in import allowed, renumbered

if TYPE_CHECKING:
    from propagation_module.propagator import Propagator
    from reference_module.referencer import Referencer
    from tools.annotate.case import OpenCase
    from tools.annotate.changes import Change
    from tools.annotate.document import Document

PROPAGATION, AUTOMATIC = "propagation", "automatic"
WARM_UP_SECONDS = 3.0
"""After a page has come, until networks and tools are loaded: it gets the CT first."""


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
        # Not in a circle: a case that was closed goes at once, with its CT, and waits for no garbage collection.
        self._case: OpenCase = weakref.proxy(case)
        self._networks = networks
        self._engine: Engine | None = None
        self._closed = self._deaf = False
        self._warm_up: asyncio.TimerHandle | None = None
        self._run = 0
        self._stale: dict[int, int] = {}  # label -> last run that means another label by its number
        self._tasks: set[asyncio.Task[Any]] = set()  # an event loop alone would forget them

    def propagate(self) -> None:
        """Propagate what is given now; a run that is under way ends."""
        engine = self._opened()
        document = self._case.document
        self._run = engine.start(document.slices, document.extents, document.revision, document.names)
        self._tell_progress(PROPAGATION, 0, 0)

    def automatic(self, model: str) -> None:
        """Let a reference model find key slices; a run that is under way ends."""
        engine = self._opened()
        self._run = engine.automatic(model, self._case.document.names)
        self._tell_progress(AUTOMATIC, 0, 0)

    def cancel(self) -> None:
        """End what runs, if anything does."""
        if self._engine is not None:
            self._engine.cancel()

    def warm_up(self) -> None:
        """Load soon what the first run and the first tool need, so that nobody waits for it with a stroke."""
        if self._warm_up is None and not self._closed:
            self._warm_up = asyncio.get_running_loop().call_later(WARM_UP_SECONDS, self._load)

    def forget(self, labels: AbstractSet[int]) -> None:
        """These numbers are other labels' now: what runs does not speak of them, and proposals were dropped."""
        self._stale.update(dict.fromkeys(labels, self._run))
        if labels and self._engine is not None:
            self._engine.tell_all()

    async def close(self) -> None:
        """End what runs, and the engine's thread. One that does not end soon is not listened to any more."""
        self._closed = True
        if self._warm_up is not None:
            self._warm_up.cancel()
        if self._engine is not None and not await asyncio.to_thread(self._engine.close):
            self._keep_proposals()  # which it did not tell the end of
        self._deaf, self._engine = True, None
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _load(self) -> None:
        self._opened().warm_up()
        self.begin(asyncio.to_thread(load_tools))

    def _opened(self) -> Engine:
        if self._closed:
            raise closed_just_now()
        if self._engine is None:
            loop = asyncio.get_running_loop()

            def hand_on(update: EngineUpdate) -> None:
                loop.call_soon_threadsafe(self._receive, update)

            networks = self._networks
            self._engine = Engine(self._case.volume, networks.propagator, hand_on, networks.referencer)
        return self._engine

    def _receive(self, update: EngineUpdate) -> None:
        if self._deaf:
            return
        case, current = self._case, update.run == self._run
        if isinstance(update, Proposed):
            if case.proposals.follow(update.z, *self._not_stale(update)):
                case.tell_proposals([update.z])
            if current:
                self._tell_progress(PROPAGATION, update.done, update.total)
        elif isinstance(update, Finished):
            case.suggest(update.suggestion)
            self._keep_proposals()
            if current:
                self._tell_end("done")
        elif isinstance(update, Working):
            if current:
                self._tell_progress(AUTOMATIC, update.done, update.total)
        elif isinstance(update, KeySlicesFound):
            if current:
                self._tell_end("done")
            self.begin(self._take(update))
        elif isinstance(update, Cancelled):
            self._keep_proposals()
            if current:
                self._tell_end("stopped")
        elif isinstance(update, Failed):
            case.notice(update.message, "error")
            if current:
                self._tell_end("failed")

    def _not_stale(self, update: Proposed) -> tuple[npt.NDArray[np.uint8], dict[int, float]]:
        """Mask and confidence without labels whose numbers are others' by now."""
        stale = [label for label, run in self._stale.items() if update.run <= run]
        if not stale:
            return update.mask, update.confidence
        mask = np.where(np.isin(update.mask, stale), np.uint8(0), update.mask)
        return mask, {label: value for label, value in update.confidence.items() if label not in stale}

    async def _take(self, found: KeySlicesFound) -> None:
        """Key slices of the reference model become the document's, like an action of the person."""
        case = self._case
        if not found.key_slices:
            case.notice("the model found none of its structures", "info")
            return
        title = f"automatic start, {len(found.key_slices)} slices"
        left_out: list[str] = []

        def act(document: Document) -> Change | None:
            merge = merge_again(found.merge, found.names, document.names, "reference model")
            kept, refused = allowed(document, renumbered(found.key_slices, merge))
            left_out.extend(refused)
            return document.put_slices(kept, title, merge.colors)

        try:
            await case.commit(lambda _: act)
            if left_out:
                text = f"automatic start: {', '.join(left_out)} left out where locked or beyond the marks"
                case.notice(text, "info")
        except Refusal as refusal:
            case.notice("automatic start: {found}; {fix}".format(**refusal.parts), "error")

    def _keep_proposals(self) -> None:
        self.begin(self._case.keep_proposals())

    def _tell_progress(self, running: str, done: int, total: int) -> None:
        progress = {"done": done, "total": total}
        if (running, progress) != (self.running, self.progress):
            self.running, self.progress = running, progress
            self._case.audience.publish("progress", {**progress, "running": running})

    def _tell_end(self, how: Literal["done", "stopped", "failed"]) -> None:
        """What ran has ended; of one that was stopped it stays known how far it came."""
        if how == "done":
            self.progress = {**self.progress, "done": self.progress["total"]}
        self.running = None
        self._case.audience.publish("progress", {**self.progress, "running": None, "ended": how})

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something of the case beside the requests; `close` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
