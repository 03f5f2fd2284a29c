"""Callers by their credential, remembered for a moment, so that nearly no request waits for the database."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from django.db import DatabaseError, connections

from orchestrator.core.clock import Clock
from orchestrator.core.errors import BadRequest, Busy, KeysUnavailable, Unauthorized
from orchestrator.core.scopes import check_address
from orchestrator.core.threads import WorkerThread
from orchestrator.core.types import Caller
from orchestrator.identity.digests import key_digest
from orchestrator.identity.guesses import Guesses
from orchestrator.identity.keys import KEY, OURS, default_caller, find_key, now_of

A = TypeVar("A")
R = TypeVar("R")
REMEMBERED_S = 1.0  # how long a key may still work that was revoked where this process cannot see it
MOST_REMEMBERED = 10_000
LONGEST_REMEMBERED = 256  # characters of the headers; a key of ours has 59
LOOKUP_DEADLINE_S = 5.0
MOST_STRANGERS = 100  # credentials never seen that may wait to be looked up
MOST_SEEN = 256  # addresses a key that is kept to some was shown from, within the second it is remembered
WRONG = "This API key is unknown, expired or revoked; ask your operator for a new one."


@dataclass(frozen=True, slots=True)
class _Known:
    policy: int  # the count of its changes when this was asked for
    until: float  # monotonic seconds
    caller: Caller | None
    seen: set[str] = field(default_factory=set)  # addresses from which it may be shown, as far as it was


class Identity:
    """Knows callers by their credential. A key's state is remembered for a second, or until policy changes."""

    def __init__(
        self,
        clock: Clock,
        policy: Callable[[], int],
        *,
        require_keys: bool,
        used: Callable[[int], None] = lambda key_id: None,
    ) -> None:
        """Who else has a say.

        policy  returns a number that is another one after any change of keys and tenants.
        used    hears of each key that was read and holds, by number: once a second at most while it is in use,
                which spares those who show a key that is remembered.
        """
        self._clock = clock
        self._policy = policy
        self._require_keys = require_keys
        self._used = used
        self.guesses = Guesses(clock)
        self._thread = WorkerThread("identity")
        # Of their own, so that a flood of wrong keys holds up nobody whose key is known.
        self._strangers = WorkerThread("strangers", most_waiting=MOST_STRANGERS)
        self._remembered: OrderedDict[str, _Known] = OrderedDict()  # by digest, those that hold
        self._wrong: OrderedDict[str, _Known] = OrderedDict()  # by digest, those that do not
        self._reading: dict[tuple[int, str], asyncio.Task[_Known]] = {}
        self._shown: OrderedDict[tuple[str, str], _Known] = OrderedDict()  # the same, by headers

    def remembered(self, authorization: str, x_api_key: str, address: str = "") -> Caller | None:
        """Who shows these headers from there, as far as that is certain without asking; None means: ask `caller`."""
        known = self._shown.get((authorization, x_api_key))
        if known is None or not self._is_fresh(known) or known.caller is None or self._is_expired(known.caller):
            return None
        if known.caller.networks and address not in known.seen:
            return None
        return known.caller

    def lately(self, authorization: str, x_api_key: str) -> Caller | None:
        """Who showed these headers when they were last looked at: enough to send somebody away, not to let them in."""
        known = self._shown.get((authorization, x_api_key))
        return known.caller if known else None

    @property
    def requires_keys(self) -> bool:
        """Whether nobody comes in without a key."""
        return self._require_keys

    def _is_fresh(self, known: _Known) -> bool:
        return known.policy == self._policy() and known.until > self._clock.monotonic()

    def _is_expired(self, caller: Caller) -> bool:
        return caller.expires_at is not None and caller.expires_at <= self._clock.now()

    async def caller(self, authorization: str, x_api_key: str, address: str = "") -> Caller:
        """Return who shows these headers, from an address that may be unknown, hence empty.

        Without a key of ours the caller is the default tenant, unless keys are required. A key of
        ours that does not hold, or lacks a piece, is refused even then: it must not quietly become somebody else.
        Raises Unauthorized; BadRequest when the two headers disagree; Forbidden when the key may not be
        shown from there; TooMany when wrong ones were, many times; KeysUnavailable when the database
        does not answer.
        """
        if remembered := self.remembered(authorization, x_api_key, address):
            return remembered
        shown = {value for value in (_bearer(authorization), x_api_key.strip()) if value}
        if len(shown) > 1 and (self._require_keys or any(one.startswith(OURS) for one in shown)):
            raise BadRequest("Authorization and x-api-key hold different credentials; send one.")
        answer, caller = await self._found(next(iter(shown), ""), address)
        check_address(caller, address)
        if caller.networks:
            if len(answer.seen) >= MOST_SEEN:
                answer.seen.clear()
            answer.seen.add(address)
        if len(authorization) + len(x_api_key) <= LONGEST_REMEMBERED:
            self._shown[authorization, x_api_key] = answer
            if len(self._shown) > MOST_REMEMBERED:
                self._shown.popitem(last=False)
        return caller

    async def _found(self, credential: str, address: str) -> tuple[_Known, Caller]:
        is_ours = KEY.fullmatch(credential) is not None
        is_damaged = not is_ours and credential.startswith(OURS)
        if is_damaged or (not is_ours and self._require_keys):
            if credential:
                self.guesses.check(address)
                self.guesses.wrong(address)
            raise Unauthorized(WRONG) if is_damaged else Unauthorized
        digest = key_digest(credential) if is_ours else ""
        answer = await self._look_up(digest, credential if is_ours else "", address)
        if answer.caller is None or self._is_expired(answer.caller):
            if not is_ours:
                raise Unauthorized  # the default tenant is suspended
            self.guesses.wrong(address)
            raise Unauthorized(WRONG)
        return answer, answer.caller

    async def now_of(self, key_ids: Collection[int | None]) -> Mapping[int | None, Caller]:
        """What these keys are kept to now, without their limits; those that hold no longer are not in it.

        None stands for who shows no key. Raises KeysUnavailable.
        """
        try:
            return await self._thread.run(LOOKUP_DEADLINE_S, _fresh, now_of, key_ids)
        except (TimeoutError, DatabaseError, Busy) as error:
            raise KeysUnavailable from error

    async def _look_up(self, digest: str, credential: str, address: str) -> _Known:
        known = self._remembered.get(digest)
        if known and self._is_fresh(known):
            return known
        if known is None and credential:
            known = self._wrong.get(digest)
            if known is not None and known.policy == self._policy():
                self.guesses.check(address)
            else:
                self.guesses.check_new(address)
            if known is not None and self._is_fresh(known):
                return known
        policy = self._policy()
        reading = self._reading.get((policy, digest))
        if reading is None:  # else somebody asks already, and what is read is no older than the last change
            reading = asyncio.create_task(self._read(policy, digest, credential))
            self._reading[policy, digest] = reading
            reading.add_done_callback(lambda _: self._reading.pop((policy, digest), None))
        try:
            return await asyncio.shield(reading)
        except (TimeoutError, DatabaseError, Busy) as error:
            if known and not credential:  # the default tenant is who it was
                return known
            raise KeysUnavailable from error

    async def _read(self, policy: int, digest: str, credential: str) -> _Known:
        find = find_key if credential else default_caller
        before = self._remembered.get(digest)
        thread = self._thread if before or not credential else self._strangers
        caller = await thread.run(LOOKUP_DEADLINE_S, _fresh, find, credential)
        if before and before.caller == caller:
            caller = before.caller  # the same object for as long as nothing about it has changed
        known = _Known(policy, self._clock.monotonic() + REMEMBERED_S, caller)
        if caller is not None and caller.key_id is not None:
            self._used(caller.key_id)
        there, other = self._remembered, self._wrong
        if caller is None:
            there, other = other, there
        other.pop(digest, None)
        there[digest] = known
        there.move_to_end(digest)
        if len(there) > MOST_REMEMBERED:
            there.popitem(last=False)
        return known

    def close(self) -> None:
        """End the threads that read keys."""
        self._thread.close(connections.close_all)
        self._strangers.close(connections.close_all)


def _fresh(find: Callable[[A], R], about: A) -> R:
    try:
        return find(about)
    except DatabaseError:  # the server may have dropped an idle connection: once more on a new one
        connections.close_all()
        return find(about)


def _bearer(authorization: str) -> str:
    scheme, _, credential = authorization.partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""
