"""One look at the ledger for everybody who watches and may see the same.

A process has one poller, and only while somebody watches. It reads new records twice a second and
the figures once a second for each reach among the watchers, renders once for each, and puts the result
into the mailboxes of those who have that reach. A mailbox holds the newest of everything and no more,
so a slow watcher misses steps in between, not the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from django.db import DatabaseError
from django.template.loader import render_to_string

from dashboard.board import render_parts
from dashboard.periods import Period
from dashboard.reading import Beside, News, Reader, Snapshot, reader
from dashboard.running import Look, look
from orchestrator.core.errors import Busy, OrchestratorError
from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.models import RequestRecord

log = logging.getLogger(__name__)

ROWS_EVERY_S = 0.5
FIGURES_EVERY_S = 1.0
ROWS_A_SECOND = 5.0
MOST_ROWS = 10  # in one push, after a pause
BACK_OFF_S = 5.0
MOST_REACHES = 50  # that are watched for at once; each is two reads or three a second

Parts = Mapping[str, str]
Rows = Mapping[int, str]  # by the ids of their records


class Watched(NamedTuple):
    """What somebody watches, and whose of it they may see."""

    period: Period
    reach: Reach


@dataclass(slots=True)
class _Tail:
    """How far the newest requests were sent to those of a reach, and how many more may be for now."""

    seen: int
    allowance: float = MOST_ROWS
    at: float = field(default_factory=time.monotonic)


class Mailbox:
    """What one watcher has not been sent yet: the newest of each part, the newest rows."""

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}
        self._rows: dict[int, str] = {}  # by their ids
        self._sent: dict[str, str] = {}
        self._filled = asyncio.Event()

    def put_parts(self, parts: Parts) -> None:
        """Replace what waits; what was sent as it is does not wait."""
        changed = {name: html for name, html in parts.items() if self._sent.get(name) != html}
        self._parts |= changed
        if changed:
            self._filled.set()

    def put_rows(self, rows: Rows) -> None:
        """Add rows; the oldest fall out."""
        self._rows |= rows
        for old in sorted(self._rows)[:-MOST_ROWS]:
            del self._rows[old]
        self._filled.set()

    def wake(self) -> None:
        """Let who waits look around, although nothing came."""
        self._filled.set()

    async def take(self) -> list[str]:
        """Wait for news and return it as messages: the parts, then the rows with the newest first."""
        await self._filled.wait()
        self._filled.clear()
        messages = []
        if self._parts:
            messages.append("".join(self._parts.values()))
            self._sent |= self._parts
            self._parts = {}
        if self._rows:
            rows = "".join(self._rows[newest] for newest in sorted(self._rows, reverse=True))
            messages.append(f'<tbody id="rows" hx-swap-oob="afterbegin">{rows}</tbody>')
            self._rows = {}
        return messages


class Live:
    """The poller, and who watches it."""

    def __init__(self, reader: Reader, look: Callable[[], Awaitable[Look]]) -> None:
        self._reader = reader
        self._look = look
        self._watchers: dict[Mailbox, Watched] = {}
        self._tails: dict[Reach, _Tail] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False

    @property
    def is_polling(self) -> bool:
        """Whether the poller runs."""
        return self._task is not None and not self._task.done()

    @contextlib.asynccontextmanager
    async def watch(self, period: Period, reach: Reach, after: int | None = None) -> AsyncIterator[Mailbox]:
        """Have a mailbox filled with what is in `reach`. The first watcher starts the poller, the last one ends it.

        after  the newest record that the watcher has, 0 for none: what came between then and now is in the mailbox,
               too. None where it has none to go on from.

        Raises Busy when too many watch who may all see something else.
        """
        reaches = {watched.reach for watched in self._watchers.values()}
        if reach not in reaches and len(reaches) >= MOST_REACHES:
            raise Busy("Too many watch for too many tenants.")
        tail = None
        if reach not in self._tails:
            with self._told("the newest requests"):
                tail = _Tail(await self._reader.newest_id())
        mailbox = Mailbox()
        self._watchers[mailbox] = Watched(period, reach)
        if tail is not None:
            self._tails.setdefault(reach, tail)
        if not self.is_polling:
            self._task = asyncio.create_task(self._poll(), name="dashboard poller")
            self._task.add_done_callback(self._ended)
        try:
            if after is not None:
                await self._put_missed(mailbox, reach, after)
            yield mailbox
        finally:
            del self._watchers[mailbox]
            if not self._watchers and self._task is not None:
                self._tails.clear()
                task, self._task = self._task, None
                task.cancel()
                await asyncio.wait([task])

    async def _put_missed(self, mailbox: Mailbox, reach: Reach, after: int) -> None:
        with self._told("the newest requests"):
            missed = [row for row in await self._reader.rows(reach, MOST_ROWS) if row.pk > after]
            if missed:
                mailbox.put_rows(_rendered(missed))

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the dashboard's poller ended; watchers will reconnect", exc_info=error)
        for mailbox in self._watchers:
            mailbox.wake()

    async def _poll(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rows())
            group.create_task(self._figures())

    async def _rows(self) -> None:
        while True:
            reaches = {watched.reach for watched in self._watchers.values()}
            self._tails = {reach: tail for reach, tail in self._tails.items() if reach in reaches}
            with self._told("the newest requests"):
                for reach in reaches:
                    tail = self._tails.get(reach)
                    if tail is None:
                        tail = self._tails[reach] = _Tail(await self._reader.newest_id())
                    await self._send_newest(reach, tail)
            await asyncio.sleep(BACK_OFF_S if self._is_failing else ROWS_EVERY_S)

    async def _send_newest(self, reach: Reach, tail: _Tail) -> None:
        now = time.monotonic()
        tail.allowance, tail.at = min(MOST_ROWS, tail.allowance + ROWS_A_SECOND * (now - tail.at)), now
        if tail.allowance < 1:
            return
        news = await self._reader.news(reach, tail.seen, int(tail.allowance))
        tail.seen = news.newest_id
        tail.allowance -= len(news.rows)
        if news.rows:
            await self._send_rows(reach, news)

    async def _send_rows(self, reach: Reach, news: News) -> None:
        rows = _rendered(news.rows)
        note = {"tail-note": render_to_string("dashboard/_tail-note.html", {"news": news, "live": True})}
        for mailbox, watched in self._watchers.items():
            if watched.reach == reach:
                mailbox.put_rows(rows)
                mailbox.put_parts(note)

    async def _figures(self) -> None:
        while True:
            began = time.monotonic()
            wanted = set(self._watchers.values())
            seen = await self._look()
            for watched in wanted:
                snapshot = beside = None
                with self._told("the figures"):
                    snapshot = await self._reader.snapshot(watched.period, watched.reach)
                    beside = await self._reader.beside(watched.period, watched.reach)
                shown = seen if watched.reach == EVERYBODY else seen.for_one_tenant()
                await self._send_parts(watched, snapshot, shown, beside)
            pause = BACK_OFF_S if self._is_failing else FIGURES_EVERY_S - (time.monotonic() - began)
            await asyncio.sleep(max(0.1, pause))

    async def _send_parts(self, of: Watched, snapshot: Snapshot | None, seen: Look, beside: Beside | None) -> None:
        parts = await asyncio.to_thread(render_parts, snapshot, seen, beside)
        for mailbox, watched in self._watchers.items():
            if watched == of:
                mailbox.put_parts(parts)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Outlive a ledger that cannot be read; one line when that begins, and when it ends."""
        try:
            yield
        except (TimeoutError, OrchestratorError, DatabaseError) as error:
            if not self._is_failing:
                log.warning("the dashboard cannot read %s: %s", what, str(error) or type(error).__name__)
            self._is_failing = True
        else:
            if self._is_failing:
                log.warning("the dashboard can read %s again", what)
            self._is_failing = False


def _rendered(rows: Iterable[RequestRecord]) -> Rows:
    return {row.pk: render_to_string("dashboard/_request_row.html", {"record": row}) for row in rows}


live = Live(reader, look)
