"""Who works on the cases of a run: this process, or engines on this machine; a cluster is in `dask_workers`."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tools.batch.slot import Slot
from tools.batch.tasks import BatchCase, Outcome, Setup, plain, raise_refused, work_on

if TYPE_CHECKING:
    from tools.case_runs import Work


class Workers(ABC):
    """Takes cases, gives outcomes. To be used in a `with` block by one thread."""

    alone = False
    """Whether the cases are worked on by this process: then each shows its own progress."""

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def prepare(self) -> dict[str, Any]:
        """Have one worker ready, and return what it says of itself (`Work.facts`).

        Raises:
            InputError: it cannot work.
        """

    @abstractmethod
    def room(self) -> int:
        """How many cases can be worked on at once; it may change."""

    @abstractmethod
    def submit(self, case: BatchCase, avoid: str = "") -> None:
        """Hand a case over.

        Args:
            avoid: a worker (`Outcome.where`) that shall not have it if there are others.
        """

    @abstractmethod
    def next(self, timeout: float) -> Outcome | None:
        """The next outcome; None if there was none within so many seconds."""

    @abstractmethod
    def close(self) -> None:
        """End all that is still at work."""


class InThisProcess(Workers):
    """One case after the other, here.

    Args:
        make: makes the `Work`.
        folder: the run's own folder.
    """

    alone = True

    def __init__(self, make: Callable[[], Work], folder: Path) -> None:
        self._make, self._folder = make, folder
        self._work: Work | None = None
        self._waiting: deque[BatchCase] = deque()

    def prepare(self) -> dict[str, Any]:
        self._work = self._make()
        return self._work.facts()

    def room(self) -> int:
        return 1

    def submit(self, case: BatchCase, avoid: str = "") -> None:
        self._waiting.append(case)

    def next(self, timeout: float) -> Outcome | None:
        assert self._work is not None
        return work_on(self._work, self._waiting.popleft(), self._folder)

    def close(self) -> None:
        self._waiting.clear()


class OnThisMachine(Workers):
    """Engines on this machine, a thread for each.

    Args:
        setup: what they do.
        environments: variables of each; as many engines as there are.
    """

    def __init__(self, setup: Setup, environments: Sequence[dict[str, str]]) -> None:
        self._slots = [Slot(setup, environment) for environment in environments]
        self._tasks: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome | Exception] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def prepare(self) -> dict[str, Any]:
        facts = self._slots[0].prepare()
        for slot in self._slots:
            thread = threading.Thread(target=self._serve, args=(slot,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return facts

    def room(self) -> int:
        return len(self._slots)

    def submit(self, case: BatchCase, avoid: str = "") -> None:
        self._tasks.put(plain(case))

    def next(self, timeout: float) -> Outcome | None:
        try:
            outcome = self._outcomes.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(outcome, Exception):
            raise outcome
        raise_refused(outcome)
        return outcome

    def close(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        for slot in self._slots:
            slot.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def _serve(self, slot: Slot) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                self._outcomes.put(slot.run(task))
            except Exception as error:  # raised again by the thread that waits for outcomes
                self._outcomes.put(error)
