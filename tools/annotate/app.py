"""The application: who may do what in which thread, and what is answered when something is wrong.

Concurrency
-----------
- The event loop's thread alone touches documents, proposals, audiences and work-list rows: all of `case`, `cases`,
  `proposals`, `describe`, `events`, `runs` and the routes. Nothing in it takes longer than some 25 ms without an
  `await` (but undo and redo of a step that changed 300 slices, 0.1 s).
- What takes longer (reading a CT, packing proposals, exports, imports, assisted painting) runs in a thread of its own
  on arrays that nobody writes to: a CT, given and proposed slices, which are replaced and never changed. A change of
  many slices is worked out there on a fork of the document, under the case's lock, so that the document is still the
  same when the change is taken over. No full garbage collection looks through the networks while others wait for the
  interpreter: see `loading`.
- One writer thread, of the whole server, waits for the disk: journal records, snapshots, summaries. For a snapshot it
  reads the document, which nobody changes meanwhile.
- One engine thread a case owns the propagation session and the networks. It gets what is given as immutable slices and
  posts updates to the loop with `call_soon_threadsafe`.
- Locks: each case has one asyncio lock, held from an action until its journal record is on the disk and all watchers
  are told; those who wait get it in the order in which they came. What propagation says while a long change is put
  into words is told after it. Another lock of the case lets one at a time write the file of proposals; it is taken
  last. The registry of cases has one, held while a case is opened or closed; closing takes the case's lock inside it,
  and nobody takes the two the other way round. The engine's condition is held for a few instructions, and nothing is
  called under it.
- An action is answered after its record is on the disk. If the disk refuses, the document goes back to where it was,
  the answer is 507 and all watchers get the state anew.
- Who edits is looked at when an action's turn comes. One that is refused since another page edits has done nothing, and
  the page keeps it; one that was done under an id before is told so, whoever edits and whatever process did it: ids
  stand in the journal.
- An action that has begun is done wholly: it is a task of its own, which goes on when the one who asked hangs up.
- A case that is being closed takes no more actions, and nothing is written into its folder afterwards: an engine that
  is still at a slice is not listened to, and its store refuses.
- Labels are numbers, and a number may become another label's. What was worked out beside the document (a reference
  model's slices, an import) is given the numbers that hold when it is taken in; what propagation says late of a number
  that is another label's by then is dropped.
- A page that is slow to read its events is not waited for: see `events`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tools.annotate import routes, routes_edit, routes_files, routes_page
from tools.annotate.cases import Cases
from tools.annotate.monai_label import refused as monai_refused
from tools.annotate.monai_label import routes as monai_routes
from tools.annotate.monai_label import routes_datastore as monai_datastore
from tools.annotate.monai_label.service import MonaiLabel
from tools.annotate.opening import Opened
from tools.annotate.refusals import Refusal, invalid
from tools.annotate.runs import Networks
from tools.annotate.security import Guard
from tools.annotate.worklist import Worklist
from volumes.errors import InputError

if TYPE_CHECKING:
    from volumes.labels import LabelTable

_SAID: Mapping[int, tuple[str, str, str]] = {
    400: ("a request that cannot be read", "JSON in UTF-8", "correct the request"),
    404: ("nothing at this address", "one of the addresses that the page uses", "check the address"),
    405: ("a method that this address does not take", "GET or POST", "use the other one"),
    413: ("a request that is too large", "a smaller one", "send less at once"),
}


def make_app(
    worklist: Worklist,
    *,
    token: str,
    host: str,
    port: int,
    networks: Networks,
    table: LabelTable | None = None,
    opened: Opened | None = None,
) -> FastAPI:
    """The application for a work list.

    Args:
        token: what every request must show.
        host, port: where it is reached.
        networks: how they are loaded.
        table: labels that new cases begin with.
        opened: a case that is open already.

    Returns:
        An application whose `state.cases` is the registry of cases.
    """
    writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
    cases = Cases(worklist, table, networks, writer)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if opened is not None:
            cases.add(opened)
        yield
        await app.state.monai_label.close()
        await cases.close()
        writer.shutdown()

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    app.state.cases = cases
    app.state.monai_label = MonaiLabel(cases, networks)
    app.state.page = routes_page.page_files()
    own = (routes_page, routes, routes_edit, routes_files)
    for module in (*own, monai_routes, monai_datastore, monai_refused):
        app.include_router(module.router)
    app.add_middleware(Guard, token=token, host=host, port=port)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(InputError, _refused)
    app.add_exception_handler(OSError, _refused)
    app.add_exception_handler(MemoryError, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(ClientDisconnect, _refused)
    app.add_exception_handler(HTTPException, _refused)
    return app


def refusal_of(error: Exception) -> Refusal:
    """What is answered for an error that is the request's, the files' or the machine's."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, InputError):
        return Refusal.of(error, HTTPStatus.UNPROCESSABLE_ENTITY)
    if isinstance(error, RequestValidationError):
        return _of_fields(error)
    if isinstance(error, ClientDisconnect):  # nobody is there to read it
        return Refusal(HTTPStatus.BAD_REQUEST, *_SAID[400])
    if isinstance(error, HTTPException):
        return Refusal(error.status_code, *_SAID.get(error.status_code, _SAID[400]))
    assert isinstance(error, OSError | MemoryError)
    return Refusal.of_machine(error)


def _of_fields(error: RequestValidationError) -> Refusal:
    """The first field that is wrong. What was sent is not repeated: it may be megabytes."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return Refusal(HTTPStatus.BAD_REQUEST, *_SAID[400])
    place = ".".join(str(part) for part in first["loc"][1:])[:100]
    return invalid(f"{place or 'a request'} that does not fit", str(first["msg"])[:200], "correct the request")


async def _refused(request: Request, error: Exception) -> JSONResponse:
    refusal = refusal_of(error)
    return JSONResponse(refusal.body(), refusal.status)
