"""Routes to look at cases: the work list, a case's state, its pixels, and the stream of what happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse

from tools.annotate import describe
from tools.annotate.bodies import Client, Done, TakeOver
from tools.annotate.case import OpenCase
from tools.annotate.cases import Cases
from tools.annotate.events import Watcher
from tools.annotate.protocol import CASE, MOST_SLICES, mask_block
from tools.annotate.refusals import Refusal, invalid

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

router = APIRouter()


def _cases(request: Request) -> Cases:
    cases: Cases = request.app.state.cases
    return cases


Registry = Annotated[Cases, Depends(_cases)]


async def _opened(case: str, cases: Registry) -> OpenCase:
    return await cases.get(case)


Case = Annotated[OpenCase, Depends(_opened)]


async def _slab(case: Case, first: Annotated[int, Query(ge=0)], count: Annotated[int, Query(ge=1)]) -> range:
    depth = case.volume.shape[0]
    if count > MOST_SLICES or first + count > depth:
        found = f"{count} slices from {first}" if first < depth else "slices beyond the volume"
        raise invalid(found, f"at most {MOST_SLICES} of slices 0 to {depth - 1}", "ask for fewer")
    return range(first, first + count)


Slab = Annotated[range, Depends(_slab)]


@router.get("/api/worklist")
async def worklist(cases: Registry) -> JSONResponse:
    """All cases and how far they are."""
    rows = await cases.rows()
    return JSONResponse({"cases": rows, "current": cases.current(rows)})


@router.post(CASE + "/done")
async def done(body: Done, case: Case) -> JSONResponse:
    """The person is through with a case, or is not after all."""
    await case.set_done(body.done)
    return JSONResponse(case.current_summary.row(case.entry.key))


@router.get(CASE)
async def state(case: Case, client: Annotated[Client | None, Query()] = None) -> JSONResponse:
    """Everything about a case but pixels."""
    return JSONResponse(describe.state(case, client))


@router.get(CASE + "/image")
async def image(case: Case, slab: Slab) -> StreamingResponse:
    """Slices of the CT: int16, little endian, row by row."""
    height, width = case.volume.shape[1:]

    async def slices() -> AsyncIterator[bytes]:
        for z in slab:
            yield case.volume.array[z].astype("<i2", copy=False).tobytes()

    size = len(slab) * height * width * 2
    return StreamingResponse(slices(), media_type="application/octet-stream", headers={"Content-Length": str(size)})


@router.get(CASE + "/pixels")
async def pixels(case: Case, slab: Slab) -> StreamingResponse:
    """What is given and what is proposed on slices, as run-length codes."""
    nothing = mask_block(np.zeros(case.volume.shape[1:], np.uint8))

    async def slices() -> AsyncIterator[bytes]:
        for z in slab:
            given, proposal = case.document.slices.get(z), case.proposals.visible(z, case.document)
            masks = (None if given is None else given.mask, proposal)
            yield b"".join(nothing if mask is None else mask_block(mask) for mask in masks)
            await asyncio.sleep(0)

    # The serial of the beginning: what is newer in the stream may count as older, never the other way round.
    headers = {"X-Keyslice-Serial": str(case.serial)}
    return StreamingResponse(slices(), media_type="application/octet-stream", headers=headers)


@router.get(CASE + "/events")
async def events(case: Case, client: Annotated[Client, Query()]) -> StreamingResponse:
    """What happens to the case, as server-sent events; the first of them is the whole state."""
    case.runs.warm_up()
    return _Events(case, case.audience.join(client))


@router.post(CASE + "/editor")
async def editor(body: TakeOver, case: Case) -> JSONResponse:
    """Edit from this page from now on."""
    if body.client not in case.audience:
        raise Refusal(409, "a page that does not watch the case", "one that does", "open its events first")
    case.audience.take(body.client)
    return JSONResponse({"editor": case.audience.editor, "you_edit": True})


class _Events(StreamingResponse):
    """A watcher's stream; the watcher leaves when the connection ends, however."""

    def __init__(self, case: OpenCase, watcher: Watcher) -> None:
        stream = watcher.events(lambda: describe.state(case, watcher.client))
        super().__init__(stream, media_type="text/event-stream")
        self._audience, self._watcher = case.audience, watcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._audience.leave(self._watcher)
