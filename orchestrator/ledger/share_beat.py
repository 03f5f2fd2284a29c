"""Shares of budgets, told of and given back. One process of a machine does so, in a steady beat.

It says that this machine is there, writes down which others are, tells what is spent here, and gives back what is
wanted elsewhere and not needed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import math
import os
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from django.db import connections, transaction

from orchestrator.core.clock import Clock
from orchestrator.core.ids import hex_id
from orchestrator.core.redis_scripts import Word
from orchestrator.core.tasks import end
from orchestrator.core.threads import WorkerThread
from orchestrator.ledger import accounts, machines, shares
from orchestrator.ledger.accounts import Account
from orchestrator.ledger.machines import Own, Peer
from orchestrator.ledger.rows import ALIAS
from orchestrator.ledger.share_scripts import BEQUEATHS, FORGETS, HELLOS
from orchestrator.ledger.shares import Elsewhere, Grant, Told
from orchestrator.ledger.sharing import AT_ONCE, Teller
from orchestrator.ledger.sql import Cursor, moment

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)

BEAT_S = 0.5
LOOK_BEATS = 4  # between looks at what is spent here, while nobody wants anything
SEEN_EVERY_S = 60.0  # it is written down that other machines are there
SILENT_S = 10.0  # it is said that a machine holds up the others
MOST_UNCHANGED = 200  # accounts that are told of in a look though nothing has changed here: others may have
DEADLINE_S = 10.0  # of the thread, which may have to wait for its turn to write
LEAVE_S = 1.0


class _Hello(NamedTuple):
    """What Redis says to one who is there."""

    life: str
    wanted: list[str]  # pots
    machines: list[Peer]
    is_told: bool  # this machine has told of all its shares in this life


class ShareBeat:
    """Has the beat, or waits for whoever has it to end."""

    def __init__(self, teller: Teller, clock: Clock, *, file: str, label: str, lock: Path) -> None:
        """Who this is.

        file   the ledger is in.    label  what people call this machine.    lock  of the process that has the beat.
        """
        self._teller = teller
        self._clock = clock
        self._file = file
        self._label = label
        self._lock = lock
        self._locked: int | None = None
        self._thread = WorkerThread("shares", most_waiting=16)
        self._work: asyncio.Task[None] | None = None
        self._forget()
        self._met: dict[str, Peer] = {}
        self._met_at = -math.inf
        self._beats = 0
        self._silent: set[str] = set()
        self._silent_at = 0.0

    def start(self) -> None:
        """Begin, on the event loop."""
        self._work = asyncio.create_task(self._go_on(), name="share beat")

    async def aclose(self) -> None:
        """Give back what is not needed here: it is asked for again when it is."""
        if self._work is not None:
            await end([self._work])
        if self._locked is not None:
            with contextlib.suppress(Exception):  # then it stays this machine's
                async with asyncio.timeout(LEAVE_S):
                    await self._give_back(await self._read(machines.own, self._file), None)
            os.close(self._locked)
        self._thread.close(connections.close_all)

    async def beat(self) -> None:
        """Do it once. Raises DatabaseError and TimeoutError of the ledger; while Redis is away nothing is done."""
        who = await self._read(machines.own, self._file)
        if not who.name:
            who = await self._write(machines.be, self._file, self._label)
        peers = await self._read(machines.peers)
        await self._bequeath(who, peers)
        hello = await self._hello(who, peers, is_told=False)
        if hello is None:
            return
        self._beats += 1
        if any(one.name == who.name and one.gone for one in hello.machines):
            log.error("This machine was said to be gone: it goes on under a new name, and without its shares.")
            await self._write(machines.be_another, self._file, self._label)
            self._forget()
            return
        has_met = await self._meet(who, hello.machines)
        if hello.life != who.life:
            if who.life:
                log.warning("Budgets: Redis has forgotten who may spend what; this machine tells of all that it has.")
            self._forget()
            who = await self._write(machines.enter, who, hello.life)
        is_told = hello.is_told
        if not is_told:
            await self._bequeath(who, await self._read(machines.peers))
            is_told = await self._tell_all(who, most_unchanged=None)
        elif hello.wanted:
            await self._give_back(who, hello.wanted)
        elif self._beats % LOOK_BEATS == 0:
            await self._tell_all(who, most_unchanged=MOST_UNCHANGED)
            await self._clear(who)
        if has_met or is_told != hello.is_told:
            await self._hello(who, await self._read(machines.peers), is_told=is_told)

    async def _go_on(self) -> None:
        while True:
            try:
                if self._has_lock():
                    await self.beat()
            except Exception:  # whatever it is: nothing is granted or given back meanwhile, and it is tried again
                log.exception("Other machines could not be told what is spent of budgets here.")
                self._forget()
            await asyncio.sleep(BEAT_S)

    def _has_lock(self) -> bool:
        if self._locked is None:
            self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                return False
            self._locked = file
        return True

    async def _hello(self, who: Own, peers: Sequence[Peer], *, is_told: bool) -> _Hello | None:
        names = [peer.name for peer in peers]
        gone = [word for peer in peers if peer.gone for word in (peer.name, peer.gone)]
        words: list[Word] = [who.name, hex_id(16), who.life, self._label, int(is_told), len(names), *names, *gone]
        answer = await self._teller.ask(HELLOS, words)
        if answer is None:
            return None
        life, _, wanted, *table = answer
        found = [Peer(name, label, gone, _moment(seen)) for name, label, seen, gone, *_ in table]
        self._wait_for(
            [peer for peer, (*_, waits) in zip(found, table, strict=True) if waits and peer.name != who.name]
        )
        return _Hello(life, wanted, found, any(name == who.name and told for name, _, _, _, told, _ in table))

    def _wait_for(self, silent: Sequence[Peer]) -> None:
        """Say in the log who holds up everybody, where that goes on for a while."""
        names = {peer.name for peer in silent}
        now = self._clock.monotonic()
        if names != self._silent:
            self._silent, self._silent_at = names, now
        elif silent and self._silent_at < now - SILENT_S:
            self._silent_at = math.inf  # once
            log.error(
                "Budgets: nothing more is granted to this machine before %s is heard of; what is gone for good can be"
                " released: `manage.py budgets machines`",
                ", ".join(f"{peer.label} ({peer.name})" for peer in silent),
            )

    async def _meet(self, who: Own, found: Sequence[Peer]) -> bool:
        """Write down who is there, where that is news; return whether it was."""
        others = {one.name: one for one in found if one.name != who.name}
        news = {name: one._replace(seen_at=None) for name, one in others.items()}
        is_new = news != self._met
        now = self._clock.monotonic()
        if is_new or now - self._met_at > SEEN_EVERY_S:
            await self._write(machines.meet, list(others.values()))
            self._met, self._met_at = news, now
        return is_new

    async def _bequeath(self, who: Own, peers: Sequence[Peer]) -> None:
        """Tell what machines had spent that are gone, before it is said that they are."""
        lost = {peer.name for peer in peers if peer.gone}
        if not who.life or lost <= self._bequeathed:
            return
        rows = await self._read(shares.bequeathed)
        for start in range(0, len(rows), AT_ONCE):
            words = [word for row in rows[start : start + AT_ONCE] for word in row]
            answer = await self._teller.ask(BEQUEATHS, [who.life, *words])
            if answer is None or answer[0] != who.life:
                return
        self._bequeathed |= lost

    async def _tell_all(self, who: Own, most_unchanged: int | None) -> bool:
        """Tell how everything stands that has changed here, and some of the rest; return whether Redis took it."""
        every = sorted(await self._read(shares.standing, self._today(), also_over=most_unchanged is None))
        self._forget_but({one.account for one in every})
        changed = [one for one in every if self._said.get(one.account) != one]
        rest = [one for one in every if self._said.get(one.account) == one]
        if most_unchanged is not None:
            first = self._turn % len(rest) if rest else 0
            rest = [*rest[first:], *rest[:first]][:most_unchanged]
            self._turn += len(rest)
        return await self._tell(who, [*changed, *rest])

    async def _tell(self, who: Own, some: Sequence[Told]) -> bool:
        for start in range(0, len(some), AT_ONCE):
            part = some[start : start + AT_ONCE]
            said = await self._teller.tell(who, part)
            if said is None:
                return False
            grants = [
                grant
                for one, (grant, _) in zip(part, said, strict=True)
                if (grant.number, grant.granted) != (one.number, one.held)
            ]
            news = [there for _, others in said for there in others if self._heard.get(there[:2]) != there]
            if grants or news:
                at = moment(datetime.fromtimestamp(self._clock.now(), UTC))
                await self._write(_take, who, grants, news, at)
            self._heard.update((there[:2], there) for there in news)
            self._said.update((one.account, one) for one in part)
        return True

    async def _give_back(self, who: Own, wanted: Collection[str] | None) -> None:
        """What is not needed here; None: of everything. It is not this machine's any more before Redis hears of it."""
        found = await self._read(shares.wanted, self._today(), wanted)
        if any(one.held > one.used for one in found):
            found = await self._write(shares.give_back, [one.account for one in found])
        await self._tell(who, found)

    async def _clear(self, who: Own) -> None:
        """Forget what is long over."""
        over = await self._read(shares.long_over, (self._today() - shares.KEPT).date(), AT_ONCE)
        if not over:
            return
        answer = await self._teller.ask(FORGETS, [who.name, who.life, *filter(None, over.values())])
        if answer is not None and answer[0] == who.life:
            await self._write(shares.forget, list(over))

    def _forget(self) -> None:
        self._said: dict[Account, Told] = {}
        self._heard: dict[Any, Elsewhere] = {}
        self._bequeathed: set[str] = set()
        self._turn = 0  # of those that have not changed

    def _forget_but(self, there: Collection[Account]) -> None:
        """Of what was said and heard, only what there is of those goes on being known."""
        self._said = {account: one for account, one in self._said.items() if account in there}
        self._heard = {key: one for key, one in self._heard.items() if one.account in there}

    def _today(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)

    async def _read(self, part: Callable[Concatenate[Cursor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._thread.run(DEADLINE_S, lambda: _with_cursor(part, *args, **kwargs))

    async def _write(self, part: Callable[Concatenate[Cursor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._thread.run(DEADLINE_S, lambda: _in_a_transaction(part, *args, **kwargs))


def _with_cursor(part: Callable[Concatenate[Cursor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    with connections[ALIAS].cursor() as cursor:
        return part(cursor, *args, **kwargs)


def _in_a_transaction(part: Callable[Concatenate[Cursor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    with transaction.atomic(using=ALIAS):
        return _with_cursor(part, *args, **kwargs)


def _take(cursor: Cursor, who: Own, grants: Sequence[Grant], news: Sequence[Elsewhere], at: str) -> None:
    """Write what Redis said."""
    shares.adopt(cursor, who, grants)
    shares.heard(cursor, news)
    if news:
        accounts.tell_of_shares(cursor, {there.account for there in news}, at)


def _moment(seen: str) -> datetime | None:
    return datetime.fromtimestamp(int(seen), UTC) if seen else None
