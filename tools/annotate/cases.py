"""The work list, and those of its cases that are held open. Belongs to the event loop's thread; see `app`."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tools.annotate.case import OpenCase
from tools.annotate.opening import Opened, open_case
from tools.annotate.refusals import Refusal
from tools.annotate.runs import Networks
from tools.annotate.worklist import Worklist, read_summary

if TYPE_CHECKING:
    from volumes.labels import LabelTable

MOST_OPEN = 2
"""Cases held in memory at a time: a CT of 512 x 512 x 300 and its proposals take 240 MB."""


class Cases:
    """The work list, and those of its cases that are open.

    Args:
        worklist: all cases.
        table: labels of new cases, None for one without a name.
        networks: for what runs.
        writer: the one thread that waits for the disk.
    """

    def __init__(
        self, worklist: Worklist, table: LabelTable | None, networks: Networks, writer: ThreadPoolExecutor
    ) -> None:
        self.worklist, self._table, self._networks, self._writer = worklist, table, networks, writer
        self._open: OrderedDict[str, OpenCase] = OrderedDict()  # the one used last comes last
        self._opening = asyncio.Lock()

    def current(self, rows: list[dict[str, Any]]) -> str:
        """The case of a work list to show first: the one used last, else the first that is not done."""
        if self._open:
            return next(reversed(self._open))
        unfinished: list[str] = [row["case"] for row in rows if row["state"] != "done"]
        return (unfinished or [row["case"] for row in rows])[0]

    def held(self, key: str) -> OpenCase | None:
        """The case of this key if it is open, without opening it."""
        return self._open.get(key)

    def add(self, opened: Opened) -> OpenCase:
        """Take in a case that was opened already."""
        case = self._open[opened.entry.key] = OpenCase(opened, self._networks, self._writer)
        return case

    async def get(self, key: str) -> OpenCase:
        """The case of this key, opened if need be.

        Raises:
            Refusal: no such case, or no room for it.
            InputError: it cannot be opened.
        """
        if key not in self.worklist.entries:
            raise Refusal(
                HTTPStatus.NOT_FOUND, "a case that is not in the work list", "one of the list", "choose from the list"
            )
        if key not in self._open:
            async with self._opening:
                if key not in self._open:
                    await self._make_room()
                    entry = self.worklist.entries[key]
                    self.add(await asyncio.to_thread(open_case, entry, self._table))
        self._open.move_to_end(key)
        return self._open[key]

    async def rows(self) -> list[dict[str, Any]]:
        """The work list for the page."""
        held = dict(self._open)  # one of them may be closed while the disk is read
        closed = [entry for entry in self.worklist if entry.key not in held]
        read = await asyncio.to_thread(lambda: [read_summary(entry.session) for entry in closed])
        summaries = {entry.key: summary for entry, summary in zip(closed, read, strict=True)}
        return [
            (held[entry.key].current_summary if entry.key in held else summaries[entry.key]).row(entry.key)
            for entry in self.worklist
        ]

    def end_streams(self) -> None:
        """End all streams of events, so that no connection keeps the server from ending."""
        for case in self._open.values():
            case.audience.close()

    async def close(self) -> None:
        """Close all."""
        async with self._opening:
            while self._open:
                await self._open.popitem()[1].close()

    async def _make_room(self) -> None:
        while len(self._open) >= MOST_OPEN:
            idle = [key for key, case in self._open.items() if not len(case.audience)]
            if not idle:
                raise Refusal(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"{len(self._open)} cases open in pages",
                    f"at most {MOST_OPEN}",
                    "close one of the pages first",
                )
            quiet = [key for key in idle if self._open[key].runs.running is None]  # closing ends what runs
            await self._open.pop((quiet or idle)[0]).close()
