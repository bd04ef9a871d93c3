"""A server on a port of its own for the tests, a page that talks to it, and networks that take no time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import numpy as np
import SimpleITK as sitk
import uvicorn
from numpy.typing import NDArray

from tools.annotate.app import make_app
from tools.annotate.command import _listening
from tools.annotate.protocol import decode_mask
from tools.annotate.runs import Networks
from tools.annotate.worklist import find_worklist
from volumes.errors import InputError
from volumes.key_slices import KeySlices
from volumes.labels import Label, LabelTable

ROOT = Path(__file__).parents[3]
TOKEN = "a-token-for-the-tests"
SHAPE = (12, 32, 40)  # D, H, W
TABLE = LabelTable([Label(1, "liver", (200, 80, 60)), Label(2, "spleen", (90, 60, 200))])


def write_ct(path: Path, shape: tuple[int, int, int] = SHAPE, seed: int = 3) -> Path:
    """A CT with a bright box in noise, whose file runs from superior to inferior and from left to right."""
    rng = np.random.default_rng(seed)
    hu = rng.integers(-120, -80, shape).astype(np.int16)
    hu[:, 8:20, 10:24] = 60
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((1.5, 1.25, 3.0))
    image.SetOrigin((-20.5, 10.25, 100.0))
    image.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, -1))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


class Suggestion(NamedTuple):
    z: int
    labels: tuple[int, ...]
    gain: float
    reason: str


class Update(NamedTuple):
    z: int
    settled: bool
    done: int
    total: int


class NearestSession:
    """Stands in for a propagation session: each slice gets what the nearest key slice shows."""

    def __init__(self, volume: Any, step: Callable[[], None]) -> None:
        self.volume, self._step = volume, step
        self.key_slices = KeySlices(volume.shape)
        self.extents: dict[int, tuple[int, int]] = {}
        self.labels = np.zeros(volume.shape, np.uint8)
        self.confidence: dict[int, NDArray[np.float32]] = {}

    def annotate(self, z: int, mask: NDArray[np.uint8], labels: Any = None, *, complete: bool = False) -> None:
        self.key_slices.add(z, mask, labels, complete)

    def forget(self, z: int, labels: Any = None) -> None:
        if z in self.key_slices:
            self.key_slices.remove(z)

    def set_extent(self, label: int, extent: tuple[int, int] | None) -> None:
        self.extents = (
            {**self.extents, label: extent}
            if extent
            else {one: ends for one, ends in self.extents.items() if one != label}
        )

    def propagate(self, *, live: bool = True) -> Iterator[Update]:
        depth, keys = self.volume.shape[0], self.key_slices.slices()
        self.confidence = {label: np.full(depth, 0.5, np.float32) for label in self.key_slices.labels}
        for z in range(depth):
            self._step()
            self.labels[z] = self.key_slices.mask(min(keys, key=lambda key: abs(key - z)))
            yield Update(z, True, z + 1, depth)

    def suggest(self, names: Mapping[int, str] | None = None) -> Suggestion | None:
        return Suggestion(self.volume.shape[0] // 2, (1,), 0.25, "in the middle")


class NearestPropagator:
    """Opens sessions that stand in for propagation; `step` is called before each slice, in the engine's thread."""

    def __init__(self, step: Callable[[], None] = lambda: None) -> None:
        self._step = step

    def open(self, volume: Any) -> NearestSession:
        return NearestSession(volume, self._step)


def no_referencer(name: str) -> Any:
    raise InputError(name, found="no network in tests", expected="one", fix="none")


@contextlib.contextmanager
def serving(
    path: Path,
    *,
    step: Callable[[], None] = lambda: None,
    table: LabelTable | None = TABLE,
    session: Path | None = None,
    keys: Path | None = None,
    referencer: Callable[[str], Any] = no_referencer,
) -> Iterator[Page]:
    """A page of a server in a thread of this process, over a real socket."""
    listener = _listening("127.0.0.1", 0)
    port = listener.getsockname()[1]
    app = make_app(
        find_worklist(path, session=session, keys=keys),
        token=TOKEN,
        host="127.0.0.1",
        port=port,
        networks=Networks(lambda: NearestPropagator(step), referencer),  # type: ignore[arg-type, return-value]
        table=table,
    )
    server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", log_config=None, timeout_graceful_shutdown=1))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve([listener])))
    thread.start()
    try:
        with Page(f"http://127.0.0.1:{port}", TOKEN) as page:
            page.app, page.loop = app, loop
            yield page
    finally:
        loop.call_soon_threadsafe(app.state.cases.end_streams)
        server.should_exit = True
        thread.join()
        loop.close()


@contextlib.contextmanager
def command(*arguments: object, token: str = TOKEN, wait: float = 30.0) -> Iterator[tuple[subprocess.Popen[str], Page]]:
    """The command itself in a process of its own; killed at the end if it lives."""
    words = [sys.executable, "-m", "tools.cli", "annotate", *map(str, arguments), "--no-browser", "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*words, "--token", token], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), (line, process.communicate(timeout=wait))
        with Page(line.partition("/?")[0], token) as page:
            yield process, page
    finally:
        process.kill()
        process.communicate()


class Page:
    """What the page in the browser does, without the browser."""

    def __init__(self, address: str, token: str, client: str = "page-1") -> None:
        self.address, self.token, self.client = address, token, client
        self.app: Any = None  # of a server in this process
        self.loop: Any = None
        self.headers = {"Authorization": f"Bearer {token}"}
        self.http = httpx.Client(base_url=address, headers=self.headers, timeout=30)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._news = threading.Condition()
        self._case = ""
        self._stream: socket.socket | None = None

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *error: object) -> None:
        self.leave()
        self.http.close()

    def other(self, client: str) -> Page:
        """Another page of the same server."""
        return Page(self.address, self.token, client)

    def watch(self, case: str | None = None) -> dict[str, Any]:
        """Follow a case; returns the state that comes first."""
        self._case = case or self.http.get("/api/worklist").json()["current"]
        begun = len(self.events)
        threading.Thread(target=self._listen, daemon=True).start()
        return self.event("state", begun)

    def leave(self) -> None:
        """End the stream of events, as a page that is closed does."""
        if self._stream is not None:
            with contextlib.suppress(OSError):  # the server has ended it already
                self._stream.shutdown(socket.SHUT_RDWR)
            self._stream = None

    def _listen(self) -> None:
        connection = http.client.HTTPConnection(self.address.removeprefix("http://"))
        connection.request("GET", self.url(f"events?client={self.client}"), headers=self.headers)
        self._stream = connection.sock
        name = ""
        with contextlib.suppress(OSError, http.client.HTTPException):  # it ends in the middle, from here or from there
            for line in connection.getresponse():
                text = line.decode().rstrip("\n")
                if text.startswith("event: "):
                    name = text[7:]
                elif text.startswith("data: "):
                    with self._news:
                        self.events.append((name, json.loads(text[6:])))
                        self._news.notify_all()
        connection.close()

    def event(
        self, name: str, begun: int = 0, wait: float = 20.0, such: Callable[[dict[str, Any]], bool] = lambda data: True
    ) -> dict[str, Any]:
        """The first event of this name from number `begun` on that is `such`, once it is there."""
        end = time.monotonic() + wait
        with self._news:
            while True:
                for told, data in self.events[begun:]:
                    if told == name and such(data):
                        return data
                left = end - time.monotonic()
                assert left > 0, f"no such event '{name}' among {[told for told, _ in self.events[begun:]]}"
                self._news.wait(left)

    def url(self, path: str = "") -> str:
        base = f"/api/cases/{quote(self._case)}"
        return f"{base}/{path}" if path else base

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.http.post(self.url(path), json={"client": self.client, **body})

    def edit(self, action: str, **body: Any) -> dict[str, Any]:
        """An action that is to be acknowledged."""
        answer = self.post("edit", action=action, **body)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def propagate(self) -> None:
        """Propagate, and wait for the end."""
        begun = len(self.events)
        assert self.post("propagate").status_code == 200
        self.event("progress", begun, such=lambda data: data["running"] is None)

    def state(self) -> dict[str, Any]:
        told: dict[str, Any] = self.http.get(self.url(), params={"client": self.client}).json()
        return told

    def masks(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(D, H, W) what is given, and what is proposed beside it."""
        depth, height, width = self.state()["shape"]
        planes = []
        for first in range(0, depth, 64):
            parameters = {"first": first, "count": min(64, depth - first)}
            content = self.http.get(self.url("pixels"), params=parameters).content
            while content:
                size = int.from_bytes(content[:4], "little")
                planes.append(decode_mask(content[4 : 4 + size], (height, width)))
                content = content[4 + size :]
        assert len(planes) == 2 * depth
        return np.stack(planes[0::2]), np.stack(planes[1::2])

    def digest(self) -> str:
        """Of everything that is kept: what the state tells, without what only holds for now, and all masks."""
        state = self.state()
        for passing in ("serial", "suggestion", "running", "progress", "editor", "you_edit", "notices"):
            del state[passing]
        hashed = hashlib.sha256(json.dumps(state, sort_keys=True).encode())
        for masks in self.masks():
            hashed.update(masks.tobytes())
        return hashed.hexdigest()


def runs(top: int, left: int, height: int, width: int, across: int = SHAPE[2]) -> list[int]:
    """The pixels of a box, as an edit names them."""
    return [number for y in range(top, top + height) for number in (y * across + left, width)]


def case_of(page: Page) -> Any:
    """The open case named `case`, of the server's own thread."""
    return page.app.state.cases._open["case"]


def on_loop(page: Page, work: Any) -> Any:
    """What a coroutine returns that runs in the server's thread."""
    return asyncio.run_coroutine_threadsafe(work, page.loop).result(20)
