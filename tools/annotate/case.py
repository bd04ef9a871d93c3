"""One open case and what can be done to it. Belongs to the event loop's thread; see `app`."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from tools.annotate import describe
from tools.annotate.automatic_start import available_models
from tools.annotate.changes import Change
from tools.annotate.document import Document
from tools.annotate.events import Audience
from tools.annotate.journal import Asked
from tools.annotate.merging import merge_again
from tools.annotate.opening import Opened
from tools.annotate.refusals import Refusal, closed_just_now
from tools.annotate.runs import Networks, Runs
from tools.annotate.store import NotSaved
from tools.annotate.worklist import Summary, write_summary
from volumes.errors import InputError

if TYPE_CHECKING:
    from propagation_module.suggestion import Suggestion
    from tools.annotate.imports import Imported

Long = Callable[[Document], Change | None]
Action = Callable[[Document], Change | Long | None]
"""Does something to the document; what takes long it leaves to what it returns, which is done to a fork, elsewhere."""

SUMMARY_SECONDS = 2.0
"""After an action, until the work list's row of the case is written."""
MOST_ANSWERS = 8
"""Answers that are remembered, for a page that did not get one and asks again. They may be megabytes each; of earlier
actions is known that they were done (`Store.asked`)."""
MOST_NOTICES = 20
"""Lines for the person that a page is told again when it comes back."""
TOGETHER = 8
"""Slices that are described before other requests get their turn: some 10 ms at 512 x 512."""

_LOG = logging.getLogger(__name__)


class OpenCase:
    """One open case: the document, what is proposed beside it, who watches, and what runs.

    Args:
        opened: what it is made of.
        networks: for what runs.
        writer: the one thread that waits for the disk.

    Attributes:
        serial: counts whatever is shown otherwise than before, so that a page can tell old news from new.
        suggestion: the slice to look at next.
        notices: lines for the person.
    """

    def __init__(self, opened: Opened, networks: Networks, writer: ThreadPoolExecutor) -> None:
        self.entry, self.volume, self.hu_range = opened.entry, opened.volume, opened.hu_range
        self.document, self.proposals = opened.document, opened.proposals
        self.store = opened.store
        self.serial = 0
        self.suggestion: Suggestion | None = None
        self.notices = deque(opened.store.notices, MOST_NOTICES)
        self.summary = opened.summary
        self.audience = Audience(self._tell_editor)
        self.runs = Runs(self, networks)
        self._writer = writer
        self._changes = asyncio.Lock()  # held from an action on the document until it is on the disk, and told
        self._saving = asyncio.Lock()  # one file, one writer
        self._saves_wanted = self._saves_done = 0
        self._under_way: set[asyncio.Task[Any]] = set()
        self._held: list[Iterable[int]] | None = None  # news of proposals, while longer news are put together
        self._answered: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()
        self._closed = False
        self._summary_timer: asyncio.TimerHandle | None = None
        self._told_notices = len(self.store.notices)
        self._told = self._lists()

    # Actions.

    def check_editor(self, client: str) -> None:
        """Raise Refusal unless this page edits the case."""
        if client != self.audience.editor:
            raise Refusal(
                HTTPStatus.CONFLICT,
                "another page edits this case; nothing was changed" if self.audience.editor else "no page edits yet",
                "the page that edits this case",
                "take over first",
                "watching",
            )

    async def commit(
        self,
        act: Action,
        move: Literal["change", "undo", "redo"] = "change",
        *,
        once: tuple[str, str] | None = None,
        client: str | None = None,
    ) -> dict[str, Any]:
        """Do an action, have it on the disk, tell all; returns what the one who asked is answered.

        Args:
            act: does it to the document.
            move: what the journal keeps of it.
            once: page and name of the action. One of a name that was done is not done again, also not after a restart:
                it is answered as the first was, or with how things stand now.
            client: the page that asks, which must edit the case when its turn comes; None for the server itself.

        Raises:
            Refusal: it is not allowed, or the disk does not take it. Nothing has changed then.
        """

        async def whole() -> dict[str, Any]:
            if once is not None and once in self._answered:
                return self._answered[once]
            if once is not None and once in self.store.asked:
                return self._answer(self.store.asked[once], describe.changed(self, []))
            if client is not None:
                self.check_editor(client)
            answer = await self._commit(act, move, once)
            if once is not None and answer["title"] is not None:
                self._answered[once] = answer
                if len(self._answered) > MOST_ANSWERS:
                    self._answered.popitem(last=False)
            return answer

        return await self._in_turn(whole)

    async def take_proposals(
        self, imported: Imported, names: Mapping[int, str], slices: Iterable[int], client: str
    ) -> dict[str, Any]:
        """Propose what a label map says, until propagation says something else; answers as `commit`.

        Args:
            names: of the document's labels when it was read.
            slices: those that count.
            client: the page that asks, which must edit the case when its turn comes.
        """

        async def whole() -> dict[str, Any]:
            self.check_editor(client)
            merge = merge_again(imported.merge, names, self.document.names, "import")
            array = await asyncio.to_thread(merge.applied, imported.array)
            answer = await self._commit(lambda document: document.put_slices({}, "labels of an import", merge.colors))
            labels = set(merge.values.values())
            taken = [z for z in slices if self.proposals.take_in(z, array[z], labels)]
            changed = await self._tell_changed(taken)
            return {**answer, "title": f"import of {len(taken)} slices as proposals", "changed": changed}

        answer = await self._in_turn(whole)
        await self.keep_proposals()
        return answer

    async def write(self, work: Callable[..., None], *arguments: Any) -> None:
        """Have the writer's thread do something."""
        await asyncio.get_running_loop().run_in_executor(self._writer, work, *arguments)

    async def set_done(self, done: bool) -> None:
        """Say whether the person is through with the case; on the disk when this returns."""
        async with self._changes:
            if self._closed:
                raise closed_just_now()
            summary = replace(self.current_summary, done=done)
            await self.write(write_summary, self.entry.session, summary)
            self.summary = summary

    # News.

    def tell_proposals(self, slices: Iterable[int]) -> None:
        """Proposals of these slices are others."""
        if self._held is not None:
            self._held.append(slices)
            return
        self.serial += 1
        self.audience.publish("changed", describe.changed(self, slices))

    def suggest(self, suggestion: Suggestion | None) -> None:
        """A propagation has ended: another slice is to be looked at next."""
        self.suggestion = suggestion
        self.audience.publish("suggestion", {"suggestion": describe.suggestion(self)})
        self.tell_proposals([])  # how sure propagation is of each label

    def notice(self, text: str, level: Literal["info", "error"]) -> None:
        """Tell the person something."""
        self.notices.append(text)
        self.audience.publish("notice", {"text": text, "level": level})

    def news(self) -> dict[str, Any]:
        """Those of the lists in the state that are others than when this was asked last."""
        lists = self._lists()
        fresh = {name: rows for name, rows in lists.items() if rows != self._told[name]}
        self._told = lists
        return fresh

    async def keep_proposals(self) -> None:
        """Write down what is proposed, so that it is there when the case is opened again."""
        try:
            await self._save_proposals()
        except NotSaved as error:
            self.notice(f"The proposals were not saved: {error.found}; {error.fix}.", "error")

    # The end.

    async def close(self) -> None:
        """End what runs and let go of the session folder; what is under way is done first."""
        self.audience.close()
        await self.runs.close()
        async with self._changes, self._saving:
            self._closed = True
            if self._summary_timer is not None:
                self._summary_timer.cancel()
                await self._keep_summary()
            await self.write(self.store.close)

    # How it is done.

    async def _in_turn(self, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Do something to the document after what came before, and wholly, even if who asked no longer waits."""

        async def locked() -> dict[str, Any]:
            async with self._changes:
                if self._closed:
                    raise closed_just_now()
                return await work()

        task = asyncio.get_running_loop().create_task(locked())
        self._under_way.add(task)  # an event loop alone would forget it
        task.add_done_callback(self._done_with)
        return await asyncio.shield(task)

    def _done_with(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Refusal):  # who asked may be gone, and then nobody else tells
            _LOG.error("an action on %s: %s", self.entry.key, error, exc_info=error)

    async def _commit(
        self,
        act: Action,
        move: Literal["change", "undo", "redo"] = "change",
        once: tuple[str, str] | None = None,
    ) -> dict[str, Any]:
        labels_before = set(self.document.labels)
        try:
            change = act(self.document)
            if callable(change):
                fork = self.document.fork()
                change = await asyncio.to_thread(change, fork)
                change = change and self.document.adopt(fork, change)
        except InputError as error:
            raise Refusal.of(error, HTTPStatus.CONFLICT) from error
        if change is None:
            return self._answer(None, describe.changed(self, []))
        try:
            asked = None if once is None else Asked(*once, change.title)
            await self.write(self.store.append, change if move == "change" else move, asked)
        except Exception as error:
            self.document.take_back()
            self.serial += 1
            self.audience.renew()  # who asked meanwhile has seen what is not to be
            if isinstance(error, NotSaved):
                raise Refusal.of(error, HTTPStatus.INSUFFICIENT_STORAGE) from error
            raise
        finally:
            self._tell_store_notices()
        labels = set(self.document.labels)
        gone, come = labels_before - labels, labels - labels_before
        slices = self.proposals.slices_with(gone | come | set(change.touched("extent")))
        self.runs.forget(self.proposals.hand_over(self.document))
        changed = await self._tell_changed({*slices, *change.touched("rejected")}, change)
        self._edited()
        return self._answer(change.title, changed)

    async def _tell_changed(self, slices: Iterable[int], change: Change | None = None) -> dict[str, Any]:
        """Tell all what is shown otherwise. What propagation says meanwhile is told after it: it is newer."""
        self.serial += 1
        told: dict[str, Any] = {}
        self._held = []
        try:
            for count, part in enumerate(describe.changed_in_parts(self, slices, change)):
                told = part
                await _let_others(count)
            self.audience.publish("changed", told)
        finally:
            held, self._held = self._held, None
            if held:
                self.tell_proposals({z for some in held for z in some})
        return told

    async def _save_proposals(self) -> None:
        # Not in the writer's thread: packing takes a second, in which strokes are to be acknowledged.
        self._saves_wanted += 1
        mine = self._saves_wanted
        async with self._saving:
            if self._saves_done >= mine:
                return  # one that was begun later has them
            begun = self._saves_wanted
            await asyncio.to_thread(self.store.save_proposals, self.proposals.saved(self.document.revision))
            self._saves_done = begun

    def _lists(self) -> dict[str, Any]:
        rejected = self.proposals.rejected(self.document)
        return {"labels": describe.label_rows(self), "rejected": rejected, "models": self.models}

    def _answer(self, title: str | None, changed: dict[str, Any]) -> dict[str, Any]:
        return {"revision": self.document.revision, "title": title, "changed": changed}

    def _tell_editor(self) -> None:
        editor = self.audience.editor
        self.audience.publish_each("editor", lambda client: {"editor": editor, "you_edit": client == editor})

    def _tell_store_notices(self) -> None:
        for text in self.store.notices[self._told_notices :]:
            self._told_notices += 1
            self.notice(text, "error")

    def _edited(self) -> None:
        """Keep the work list's row up to date, some time after the last action."""
        self.summary = replace(self.summary, edited=datetime.now(timezone.utc).isoformat(timespec="seconds"))
        if self._summary_timer is None:
            loop = asyncio.get_running_loop()
            self._summary_timer = loop.call_later(SUMMARY_SECONDS, lambda: self.runs.begin(self._keep_summary()))

    async def _keep_summary(self) -> None:
        self._summary_timer = None
        self.summary = self.current_summary
        try:
            await self.write(write_summary, self.entry.session, self.summary)
        except OSError as error:  # it only saves opening the case for the list; the next action tries again
            _LOG.warning("summary of %s: %s", self.entry.key, error)

    @property
    def models(self) -> list[str]:
        """Names of the reference models that fit the labels."""
        return [model.name for model in available_models(self.document.names.values())]

    @property
    def current_summary(self) -> Summary:
        """The work list's row of the case, as it is now."""
        document = self.document
        return replace(self.summary, key_slices=len(document.slices), labels=len(document.labels))


async def _let_others(count: int) -> None:
    """Between slices of a long piece of work: other requests get their turn now and then."""
    if count % TOGETHER == TOGETHER - 1:
        await asyncio.sleep(0)
