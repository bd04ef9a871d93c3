"""Propagation beside the server: one session, in one thread of its own.

The server's thread says what holds (`start`) and goes on. The worker has a `Proposer` carry that out and tells of each
slice through `on_update`, in its own thread.

One condition guards what the two threads share: which job is next, which run is under way, whether to end. The
proposer and the networks belong to the worker.

What holds the interpreter lets go of it soon while it propagates, so a shorter switch interval has nothing to gain.
Importing torch and what goes with it takes 4 s of processor time (see `loading`), so `warm_up` is best called before
somebody paints.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.annotate.engine_updates import Cancelled, EngineUpdate, Failed, KeySlicesFound, Working
from tools.annotate.loading import load_torch, loading
from tools.annotate.proposer import Proposer, State
from volumes.errors import InputError

if TYPE_CHECKING:
    from propagation_module.propagator import Propagator
    from reference_module.referencer import Referencer
    from tools.annotate.given import GivenSlice
    from volumes.key_slices import Extents
    from volumes.volume import Volume

_LOG = logging.getLogger(__name__)


class _Stopped(Exception):
    """The run under way shall end: cancelled, or a newer one waits."""


@dataclass(frozen=True, eq=False)
class _Automatic:
    run: int
    model: str
    names: dict[int, str]


@dataclass(frozen=True)
class _WarmUp:
    run: int


_Job = State | _Automatic | _WarmUp


class Engine:
    """Propagates, and finds key slices with a reference model, in a thread of its own.

    Args:
        volume: the case's CT.
        make_propagator: makes the propagator; called in the worker, when it is first needed.
        on_update: called in the worker with each update.
        make_referencer: loads a reference model by its name; called in the worker.
    """

    def __init__(
        self,
        volume: Volume,
        make_propagator: Callable[[], Propagator],
        on_update: Callable[[EngineUpdate], None],
        make_referencer: Callable[[str], Referencer] | None = None,
    ) -> None:
        self._volume, self._on_update = volume, on_update
        self._make_referencer = make_referencer
        self._change = threading.Condition()
        self._next: _Job | None = None
        self._superseded: list[int] = []  # runs that a newer one replaced before they began
        self._newest, self._ended = 0, 0  # run numbers; runs between the two are waiting or under way
        self._stopping, self._closed = 0, False  # runs up to this number shall end
        self._prepared = False
        self._tell_all = False
        self._referencer: tuple[str, Referencer] | None = None
        self._proposer = Proposer(volume, make_propagator, self._tell)
        self._thread = threading.Thread(target=self._work, name=f"engine {volume.name}", daemon=True)
        self._thread.start()

    # Called by the server.

    @property
    def running(self) -> int | None:
        """Number of the newest run, as long as it has not ended."""
        with self._change:
            return self._newest if self._newest > self._ended else None

    def warm_up(self) -> None:
        """Load the network ahead of the first `start`. A failure is told by that one."""
        with self._change:
            if self._next is None and not self._closed:
                self._put(_WarmUp(self._newest))

    def start(
        self,
        given: Mapping[int, GivenSlice],
        extents: Extents,
        revision: int,
        names: Mapping[int, str] | None = None,
    ) -> int:
        """Propagate this state; a run that is under way ends.

        Args:
            given: by slice. The masks are read later, so they must not be written any more.
            extents: first and last slice of labels, both inside.
            revision: of the document, for the updates.
            names: of labels, for the suggestion's reason.

        Returns:
            The run's number, higher than all before.
        """
        return self._begin(lambda run: State(run, revision, dict(given), dict(extents), dict(names or {})))

    def automatic(self, model: str, names: Mapping[int, str]) -> int:
        """Find key slices with a reference model; a run that is under way ends.

        Args:
            model: name of weights that ship, or a path, as `make_referencer` takes it.
            names: of the document's labels.

        Returns:
            The run's number.
        """
        return self._begin(lambda run: _Automatic(run, model, dict(names)))

    def tell_all(self) -> None:
        """Have the next run tell of every slice: proposals were lost. It computes none again."""
        self._tell_all = True

    def cancel(self) -> None:
        """End the run under way, before its next slice. What was proposed stays."""
        with self._change:
            self._stopping = self._newest

    def close(self, timeout: float = 10.0) -> bool:
        """End the run under way and the thread; whether it ended within `timeout` seconds."""
        with self._change:
            self._stopping, self._closed = self._newest, True
            self._change.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _begin(self, make: Callable[[int], _Job]) -> int:
        with self._change:
            assert not self._closed, "closed"
            if isinstance(self._next, State | _Automatic):
                self._superseded.append(self._next.run)
            self._stopping = self._newest
            self._newest += 1
            self._put(make(self._newest))
            return self._newest

    def _put(self, job: _Job) -> None:
        self._next = job
        self._change.notify()

    # In the worker.

    def _work(self) -> None:
        """Jobs as they come, until the engine is closed."""
        while True:
            with self._change:
                while self._next is None and not self._closed:
                    self._change.wait()
                job, self._next = self._next, None
                superseded, self._superseded = self._superseded, []
            for run in superseded:
                self._tell(Cancelled(run))
            if job is None:
                self._referencer = None
                del self._proposer  # which knows this engine: together they would keep the CT and the networks
                return
            self._end(job, self._result(job))

    def _result(self, job: _Job) -> EngineUpdate | None:
        """Do the job; how it ended."""
        try:
            if not self._prepared:
                with loading():
                    _use_spare_cores()
                self._prepared = True
            if isinstance(job, _WarmUp):
                self._proposer.load()
                return None
            self._check(job.run)
            if self._tell_all:  # cleared first: set again meanwhile, it counts for the run after this one
                self._tell_all = False
                self._proposer.tell_all()
            return self._proposer.propagate(job, self._check) if isinstance(job, State) else self._find(job)
        except _Stopped:
            return Cancelled(job.run)
        except Exception as error:  # whatever it was: the person is told, and the thread goes on
            if isinstance(job, State):
                self._proposer.forget()
            if isinstance(error, InputError):
                return Failed(job.run, str(error))
            _LOG.exception("run %d of %s", job.run, self._volume.name)
            reason = " ".join(str(error).split())[:200]
            return Failed(job.run, f"{type(error).__name__}: {reason}" if reason else type(error).__name__)

    def _end(self, job: _Job, update: EngineUpdate | None) -> None:
        if update is None or isinstance(job, _WarmUp):
            return
        with self._change:
            self._ended = job.run
        self._tell(update)

    def _tell(self, update: EngineUpdate) -> None:
        try:
            self._on_update(update)
        except Exception:  # a server that is going away; there is nobody else to tell
            _LOG.exception("update of run %d of %s", update.run, self._volume.name)

    def _check(self, run: int) -> None:
        """Raises _Stopped if the run shall end. Read without the lock: one number, a slice too late at worst."""
        if run <= self._stopping:
            raise _Stopped

    def _find(self, job: _Automatic) -> EngineUpdate:
        from tools.annotate.automatic_start import find_key_slices

        if self._referencer is None or self._referencer[0] != job.model:
            assert self._make_referencer is not None, "an engine without reference models"
            with loading():
                self._referencer = (job.model, self._make_referencer(job.model))

        def progress(done: int, total: int) -> None:
            self._check(job.run)
            self._tell(Working(job.run, done, total))

        found, merge = find_key_slices(self._referencer[1], self._volume, job.names, progress)
        self._check(job.run)
        return KeySlicesFound(job.run, found, merge, job.names)


def _use_spare_cores() -> None:
    """Leave one core to the server where there are two. OpenMP keeps the number for this thread alone."""
    load_torch()
    import torch

    from networks.allocator import keep_freed_memory

    keep_freed_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores - 1)))
