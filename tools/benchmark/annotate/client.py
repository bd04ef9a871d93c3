"""The annotation server in a process of its own, and a page without a browser that talks to it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote

import psutil

PATIENCE_SECONDS = 600.0
"""For an answer, on a machine that does a lot else."""
IDLE_SECONDS = 30.0
"""After which a connection is opened anew: the server closes idle ones after a minute."""


class Server:
    """`keyslice annotate CT --no-browser`, from its start to the printed address.

    Args:
        ct: a CT, or nothing for the demo.
        session: the folder of its sessions.
        options: more words of the command.

    Attributes:
        link: what it printed, with the token.
        seconds, cpu_seconds: until then.
    """

    def __init__(self, ct: Path | None, session: Path, *options: str) -> None:
        subject = ["--demo"] if ct is None else [str(ct)]
        words = [sys.executable, "-m", "tools.cli", "annotate", *subject, "--session", str(session), "--no-browser"]
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [*words, *options], cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.link = self._process.stdout.readline().strip()
        self.seconds = time.perf_counter() - begun
        if not self.link.startswith("http://"):
            raise RuntimeError(f"keyslice annotate ended with status {self._process.wait()}")
        self._seen = psutil.Process(self._process.pid)
        self.cpu_seconds = self.cpu()
        self.address, _, self.token = self.link.partition("/?token=")

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def cpu(self) -> float:
        """Processor seconds so far."""
        times = self._seen.cpu_times()
        return times.user + times.system

    def memory(self) -> int:
        """Bytes that it holds now."""
        return int(self._seen.memory_info().rss)

    def peak(self) -> int:
        """Bytes that it held at most; those of now where the system does not tell."""
        with suppress(OSError):
            for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return self.memory()


class Event(NamedTuple):
    """A server-sent event, and when it came (`time.perf_counter`)."""

    time: float
    name: str
    data: dict[str, Any]


class Client:
    """A connection to one case that is kept open, as a browser keeps it; one thread uses it.

    Args:
        name: what it calls itself. Clients of one name are one page.
    """

    def __init__(self, server: Server, case: str, name: str = "benchmark") -> None:
        self._server, self._case, self.name = server, case, name
        self._http = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=PATIENCE_SECONDS)
        self._headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
        self._used = time.monotonic()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def read(self, path: str) -> bytes:
        """What is at a path of the server; raises RuntimeError unless it answers 200."""
        return self._ask("GET", path)

    def get(self, path: str = "") -> bytes:
        """What is at a path of the case."""
        return self.read(self._path(path))

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """The answer to a request; raises RuntimeError unless it is 200."""
        content = json.dumps({"client": self.name, **body}).encode()
        told: dict[str, Any] = json.loads(self._ask("POST", self._path(path), content))
        return told

    def edit(self, action: str, **body: Any) -> dict[str, Any]:
        """An action; it is on the disk when this returns."""
        return self.post("edit", action=action, **body)

    def _path(self, path: str) -> str:
        return f"/api/cases/{quote(self._case)}" + (f"/{path}" if path else "")

    def _ask(self, method: str, path: str, content: bytes | None = None) -> bytes:
        if time.monotonic() - self._used > IDLE_SECONDS:
            self._http.close()  # opened by the next request
        self._http.request(method, path, body=content, headers=self._headers)
        answer = self._http.getresponse()
        told = answer.read()
        self._used = time.monotonic()
        if answer.status != 200:
            raise RuntimeError(f"the server answered {answer.status}: {told[:300]!r}")
        return told


class Events:
    """What the server tells of a case, with the times at which it came."""

    def __init__(self, server: Server, case: str, name: str = "benchmark") -> None:
        self._list: list[Event] = []
        self._news = threading.Condition()
        self._http = http.client.HTTPConnection(server.address.removeprefix("http://"))
        path = f"/api/cases/{quote(case)}/events?client={name}"
        self._http.request("GET", path, headers={"Authorization": f"Bearer {server.token}"})
        self._socket: socket.socket = self._http.sock
        threading.Thread(target=self._listen, daemon=True).start()
        self.wait("state")

    def __len__(self) -> int:
        return len(self._list)

    def wait(self, name: str, begun: int = 0, such: Callable[[dict[str, Any]], bool] = lambda data: True) -> Event:
        """The first event of a name, from number `begun` on, that is `such`.

        Raises:
            RuntimeError: the server tells of an error, or of nothing.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        with self._news:
            while True:
                for event in self._list[begun:]:
                    if event.name == "notice" and event.data["level"] == "error":
                        raise RuntimeError(f"the server says: {event.data['text']}")
                    if event.name == name and such(event.data):
                        return event
                begun = len(self._list)
                if not self._news.wait(end - time.monotonic()):
                    raise RuntimeError(f"no event '{name}' within {PATIENCE_SECONDS:.0f} s")

    def close(self) -> None:
        """End the stream."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._http.close()

    def _listen(self) -> None:
        name = ""
        with suppress(OSError, http.client.HTTPException, AttributeError):  # closed from here or from there
            for line in self._http.getresponse():
                text = line.decode().rstrip("\n")
                if text.startswith("event: "):
                    name = text[7:]
                elif text.startswith("data: "):
                    event = Event(time.perf_counter(), name, json.loads(text[6:]))
                    with self._news:
                        self._list.append(event)
                        self._news.notify_all()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
