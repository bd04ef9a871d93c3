"""Who watches a case: a stream of server-sent events to each page, and the one page that may edit.

All of this belongs to the event loop's thread. A watcher that does not keep up is not waited for: what has piled up
for it is dropped, and it gets the whole state anew.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

MOST_WAITING = 64
"""Events that may wait for a watcher: more than a second of a propagation's."""
MOST_BYTES = 8 << 20
"""Bytes of events that may wait for a watcher: a page that sleeps must not hold every slice that was accepted."""
KEEP_ALIVE_SECONDS = 10.0
LEASE_SECONDS = 5.0
"""How long the editing page may be away (a reload, a network that stutters) before another may edit."""

KEEP_ALIVE = b": here\n\n"


def to_event(name: str, data: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode()


class Watcher:
    """One page that follows a case.

    Args:
        client: the name that the page gave itself.
    """

    def __init__(self, client: str) -> None:
        self.client = client
        self.closed = False
        self._waiting: deque[bytes] = deque()
        self._bytes = 0  # of what waits
        self._behind = True  # the first thing to send is the state
        self._news = asyncio.Event()

    def put(self, event: bytes) -> None:
        """Send an event after those that wait."""
        if self._behind:
            return  # the state that comes next holds it
        self._bytes += len(event)
        if len(self._waiting) >= MOST_WAITING or (self._waiting and self._bytes > MOST_BYTES):
            self.renew()
            return
        self._waiting.append(event)
        self._news.set()

    def renew(self) -> None:
        """Send the whole state next, and nothing that was to be sent before it."""
        self._waiting.clear()
        self._bytes = 0
        self._behind = True
        self._news.set()

    def close(self) -> None:
        """End the stream."""
        self.closed = True
        self._news.set()

    async def events(self, state: Callable[[], Mapping[str, Any]]) -> AsyncIterator[bytes]:
        """What to send, without end until `close`; `state` gives the whole state as it is when it is sent."""
        while not self.closed:
            if self._behind:
                self._behind = False
                yield to_event("state", state())
            elif self._waiting:
                event = self._waiting.popleft()
                self._bytes -= len(event)
                yield event
            else:
                self._news.clear()
                try:
                    await asyncio.wait_for(self._news.wait(), KEEP_ALIVE_SECONDS)
                except asyncio.TimeoutError:
                    yield KEEP_ALIVE


class Audience:
    """The watchers of a case, and which of them edits.

    The first to come edits. Another may take over at any time by asking to; if the editor stays away for more than
    `LEASE_SECONDS`, the one that has waited longest edits.

    Args:
        editor_changed: called when another one edits, or nobody.
    """

    def __init__(self, editor_changed: Callable[[], None]) -> None:
        self.editor: str | None = None
        self._watchers: dict[str, Watcher] = {}  # in the order in which they came
        self._lapse: asyncio.TimerHandle | None = None
        self._editor_changed = editor_changed
        self._closed = False

    def __len__(self) -> int:
        return len(self._watchers)

    def __contains__(self, client: object) -> bool:
        return client in self._watchers

    def join(self, client: str) -> Watcher:
        """A page begins to watch; an older stream of the same page ends.

        The stream of a case that was closed meanwhile ends at once, so that the page asks for it anew.
        """
        if self._closed:
            gone = Watcher(client)
            gone.close()
            return gone
        if client in self._watchers:
            self._watchers.pop(client).close()
        watcher = self._watchers[client] = Watcher(client)
        if self.editor is None:
            self._set_editor(client)
        elif self.editor == client:
            self._stop_lapse()
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """A stream has ended."""
        watcher.close()
        if self._watchers.get(watcher.client) is not watcher:
            return  # the page has opened a newer one
        del self._watchers[watcher.client]
        if watcher.client == self.editor:
            self._stop_lapse()
            self._lapse = asyncio.get_running_loop().call_later(LEASE_SECONDS, self._hand_on)

    def take(self, client: str) -> None:
        """A watcher edits from now on."""
        assert client in self._watchers
        self._set_editor(client)

    def publish(self, name: str, data: Mapping[str, Any]) -> None:
        """Tell all."""
        if self._watchers:
            event = to_event(name, data)
            for watcher in self._watchers.values():
                watcher.put(event)

    def publish_each(self, name: str, data: Callable[[str], Mapping[str, Any]]) -> None:
        """Tell each what is meant for it, given its client."""
        for client, watcher in self._watchers.items():
            watcher.put(to_event(name, data(client)))

    def renew(self) -> None:
        """Send all of them the whole state anew."""
        for watcher in self._watchers.values():
            watcher.renew()

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        self._editor_changed = lambda: None  # or the case and this would keep each other
        self._stop_lapse()
        for watcher in self._watchers.values():
            watcher.close()

    def _hand_on(self) -> None:
        self._lapse = None
        self._set_editor(next(iter(self._watchers), None))

    def _set_editor(self, client: str | None) -> None:
        self._stop_lapse()
        if client != self.editor:
            self.editor = client
            self._editor_changed()

    def _stop_lapse(self) -> None:
        if self._lapse is not None:
            self._lapse.cancel()
            self._lapse = None
