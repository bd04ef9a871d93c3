"""Inference for MONAI Label's clients: propagation, and the automatic start with propagation after it.

Each has an engine of its own, in a thread of its own, so that what the page propagates goes on undisturbed. One runs
at a time; a few more may wait. The network is loaded once. One whose client has hung up ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tools.annotate.engine import Engine
from tools.annotate.engine_updates import Cancelled, EngineUpdate, Failed, Finished, KeySlicesFound, Proposed
from tools.annotate.given import GivenSlice
from tools.annotate.refusals import Refusal

if TYPE_CHECKING:
    from propagation_module.propagator import Propagator
    from propagation_module.suggestion import Suggestion
    from tools.annotate.runs import Networks
    from volumes.key_slices import Extents
    from volumes.labels import LabelTable
    from volumes.volume import Volume

MOST_WAITING = 4
"""Requests that wait for one that runs, each with its image in memory."""
_LOOK_SECONDS = 1.0
"""Between two looks whether the client is still there."""

Gone = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, eq=False)
class Request:
    """What is to be propagated.

    Attributes:
        volume: the CT.
        given: key slices.
        table: of their labels.
        extents: first and last slice of labels.
    """

    volume: Volume
    given: Mapping[int, GivenSlice]
    table: LabelTable
    extents: Extents


@dataclass(frozen=True, eq=False)
class Inferred:
    """What came of it.

    Attributes:
        labels: (D, H, W) uint8, what is given included.
        table: of these labels.
        given: the key slices.
        confidence: of each label that was carried, (D,) in [0, 1].
        suggestion: the slice to look at next, if there is something to gain.
        seconds: that it took, without waiting for others.
    """

    labels: npt.NDArray[np.uint8]
    table: LabelTable
    given: Mapping[int, GivenSlice]
    confidence: dict[int, npt.NDArray[np.float32]]
    suggestion: Suggestion | None
    seconds: float


class Inference:
    """All of it for one server.

    Args:
        networks: how they are loaded.
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._propagator: Propagator | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._ending = False
        self._closing: set[asyncio.Task[bool]] = set()  # of engines that are through

    def end(self) -> None:
        """Answer those who wait within a second: the server is ending, and waits for nobody much longer."""
        self._ending = True

    async def close(self) -> None:
        """End what runs."""
        self.end()
        await asyncio.gather(*self._closing)

    async def propagate(self, request: Request, gone: Gone) -> Inferred:
        """Carry key slices to all slices.

        Args:
            gone: whether the client has hung up.

        Raises:
            Refusal: too many wait, or it failed.
        """
        async with self._engine(request.volume, gone) as run:
            return await self._propagated(run, request, time.monotonic())

    async def automatic(self, model: str, volume: Volume, gone: Gone) -> Inferred:
        """Have a reference model find key slices, and carry them to all slices.

        Raises:
            Refusal: too many wait, it failed, or the model found nothing.
        """
        from volumes.labels import LabelTable

        async with self._engine(volume, gone) as run:
            begun = time.monotonic()
            found = await run.end(run.engine.automatic(model, {}))
            assert isinstance(found, KeySlicesFound)
            table = LabelTable(found.merge.new.values(), name=model)
            given = {z: one for z, one in found.key_slices.items() if not one.says_nothing}
            if not any(one.mask.any() for one in given.values()):
                nothing = np.zeros(volume.shape, np.uint8)
                return Inferred(nothing, table, given, {}, None, time.monotonic() - begun)
            return await self._propagated(run, Request(volume, given, table, {}), begun)

    async def _propagated(self, run: _Run, request: Request, begun: float) -> Inferred:
        names = {value: label.name for value, label in request.table.items()}
        end = await run.end(run.engine.start(request.given, request.extents, 0, names))
        assert isinstance(end, Finished)
        await asyncio.to_thread(_put_given, request.given, run.labels)
        seconds = time.monotonic() - begun
        return Inferred(run.labels, request.table, request.given, end.confidence, end.suggestion, seconds)

    @asynccontextmanager
    async def _engine(self, volume: Volume, gone: Gone) -> AsyncIterator[_Run]:
        """An engine, when it is this request's turn."""
        if self._waiting > MOST_WAITING:
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._waiting} requests before this one",
                f"at most {MOST_WAITING} that wait",
                "try again later",
            )
        self._waiting += 1
        try:
            async with self._turn:
                self._check_ending()
                run = _Run(volume, self._networks, self._load, gone, self._check_ending)
                try:
                    yield run
                finally:
                    # A task of its own: who asked may be cancelled when the server ends, and the thread must not be
                    # left to the end of the interpreter.
                    closing = asyncio.create_task(asyncio.to_thread(run.engine.close))
                    self._closing.add(closing)
                    closing.add_done_callback(self._closing.discard)
                    if not self._ending and not await asyncio.shield(closing):
                        self._propagator = None  # it is still used there; two threads must not share it
        finally:
            self._waiting -= 1

    def _check_ending(self) -> None:
        if self._ending:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "a server that is ending", "one that runs", "start it again")

    def _load(self) -> Propagator:
        """Called in an engine's thread; there is one at a time."""
        if self._propagator is None:
            self._propagator = self._networks.propagator()
        return self._propagator


def _put_given(given: Mapping[int, GivenSlice], labels: npt.NDArray[np.uint8]) -> None:
    """What is given over what is proposed, in place; of hundreds of slices it takes too long for the loop."""
    for z, one in given.items():
        np.copyto(labels[z], one.mask, where=one.mask > 0)


class _Run:
    """An engine for one request.

    Attributes:
        labels: (D, H, W) what it proposed. Written in the engine's thread, and read when that is through.
    """

    def __init__(
        self,
        volume: Volume,
        networks: Networks,
        load: Callable[[], Propagator],
        gone: Gone,
        check_ending: Callable[[], None],
    ) -> None:
        self.labels: npt.NDArray[np.uint8] = np.zeros(volume.shape, np.uint8)
        self._gone, self._check_ending = gone, check_ending
        self._ends: asyncio.Queue[EngineUpdate] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def hear(update: EngineUpdate) -> None:
            if isinstance(update, Proposed):
                self.labels[update.z] = update.mask
            elif isinstance(update, Finished | KeySlicesFound | Cancelled | Failed):
                loop.call_soon_threadsafe(self._ends.put_nowait, update)

        self.engine = Engine(volume, load, hear, networks.referencer)

    async def end(self, run: int) -> EngineUpdate:
        """How a run of the engine ended, if it ended well; raises Refusal if not."""
        while True:
            try:
                update = await asyncio.wait_for(self._ends.get(), _LOOK_SECONDS)
            except asyncio.TimeoutError:
                self._check_ending()
                if await self._gone():
                    self.engine.cancel()
                continue
            assert update.run == run
            if isinstance(update, Failed):
                raise Refusal(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"inference that failed: {update.message}",
                    "one that runs to its end",
                    "do what the message says, or try again",
                )
            if isinstance(update, Cancelled):
                raise Refusal(
                    HTTPStatus.SERVICE_UNAVAILABLE, "inference that was ended", "a client that waits", "ask again"
                )
            return update
