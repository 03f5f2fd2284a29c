"""Callers by their credential, remembered for a moment, so that nearly no request waits for the database."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from django.db import DatabaseError, connections

from orchestrator.core.clock import Clock
from orchestrator.core.errors import BadRequest, Busy, KeysUnavailable, Unauthorized
from orchestrator.core.threads import WorkerThread
from orchestrator.core.types import Caller
from orchestrator.identity.digests import key_digest
from orchestrator.identity.keys import KEY, default_caller, find_key

REMEMBERED_S = 1.0  # how long a key may still work that was revoked where this process cannot see it
MOST_REMEMBERED = 10_000
LONGEST_REMEMBERED = 256  # characters of the headers; a key of ours has 59
LOOKUP_DEADLINE_S = 5.0


class _Known(NamedTuple):
    policy: int  # the count of its changes when this was asked for
    until: float  # monotonic seconds
    caller: Caller | None


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
        self._thread = WorkerThread("identity")
        self._remembered: OrderedDict[str, _Known] = OrderedDict()  # by digest
        self._reading: dict[tuple[int, str], asyncio.Task[_Known]] = {}
        self._shown: OrderedDict[tuple[str, str], _Known] = OrderedDict()  # the same, by headers

    def remembered(self, authorization: str, x_api_key: str) -> Caller | None:
        """Who shows these headers, as far as that is certain without asking; None means: ask `caller`."""
        known = self._shown.get((authorization, x_api_key))
        if known is None or not self._is_fresh(known) or known.caller is None or self._is_expired(known.caller):
            return None
        return known.caller

    def _is_fresh(self, known: _Known) -> bool:
        return known.policy == self._policy() and known.until > self._clock.monotonic()

    def _is_expired(self, caller: Caller) -> bool:
        return caller.expires_at is not None and caller.expires_at <= self._clock.now()

    async def caller(self, authorization: str, x_api_key: str) -> Caller:
        """Return who shows these headers.

        Without a key of ours the caller is the default tenant, unless keys are required. A key of
        ours that does not hold is refused even then: it must not quietly become somebody else.
        Raises Unauthorized; BadRequest when the two headers disagree; KeysUnavailable when the
        database does not answer.
        """
        if known := self.remembered(authorization, x_api_key):
            return known
        shown = {value for value in (_bearer(authorization), x_api_key.strip()) if value}
        if len(shown) > 1 and (self._require_keys or any(map(KEY.fullmatch, shown))):
            raise BadRequest("Authorization and x-api-key hold different credentials; send one.")
        credential = next(iter(shown), "")
        is_ours = KEY.fullmatch(credential) is not None
        if not is_ours and self._require_keys:
            raise Unauthorized
        answer = await self._look_up(key_digest(credential) if is_ours else "", credential if is_ours else "")
        caller = answer.caller
        if caller is None or self._is_expired(caller):
            raise Unauthorized("This API key is unknown, expired or revoked; ask your operator for a new one.")
        if len(authorization) + len(x_api_key) <= LONGEST_REMEMBERED:
            self._shown[authorization, x_api_key] = answer
            if len(self._shown) > MOST_REMEMBERED:
                self._shown.popitem(last=False)
        return caller

    async def _look_up(self, digest: str, credential: str) -> _Known:
        known = self._remembered.get(digest)
        if known and self._is_fresh(known):
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
        caller = await self._thread.run(LOOKUP_DEADLINE_S, _fresh, find, credential)
        known = _Known(policy, self._clock.monotonic() + REMEMBERED_S, caller)
        if caller is not None and caller.key_id is not None:
            self._used(caller.key_id)
        self._remembered[digest] = known
        self._remembered.move_to_end(digest)
        if len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return known

    def close(self) -> None:
        """End the thread that reads keys."""
        self._thread.close(connections.close_all)


def _fresh(find: Callable[[str], Caller | None], credential: str) -> Caller | None:
    try:
        return find(credential)
    except DatabaseError:  # the server may have dropped an idle connection: once more on a new one
        connections.close_all()
        return find(credential)


def _bearer(authorization: str) -> str:
    scheme, _, credential = authorization.partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""
