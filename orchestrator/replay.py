"""Ahead of everything: a question that was answered from memory is answered again without asking anybody.

What goes the whole way and is found in memory is kept here as bytes, under everything in the request
that steers an answer. The same request again is answered from here, with no Django and no JSON
between: its caller is still checked and its limits charged, its record still written; its age, id and
durations are its own.

While more is asked than can be done, what cannot be answered so waits here for its turn, or is sent away: half of
what a call costs is spent before it begins.

    What ends it                              is noticed
    a purge, a change of keys or policy       at once: two counters that all processes share
    the latter on another machine             within a second, when the key is read again
    the end of the key, answer or price       at its moment
    a later answer to the same question       at once, where this process made or met it
    a model or price that comes or changes    within two seconds
    the need of room                          as S3-FIFO chooses, among those of the tenant that keeps most

Whoever is not certain to be served from here goes the whole way, and is told there what is wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from cache.bounded import Bounded
from cache.entries import CacheKey
from cache.replacement import Fair
from orchestrator.admission.gate import Arrival, Gone, Waiting
from orchestrator.api.anthropic import anthropic_id, is_anthropic
from orchestrator.api.calls import REQUEST_ID, STEERING
from orchestrator.api.offers import SLOT, Offer, Slot
from orchestrator.api.policy import dialect_of
from orchestrator.api.stamps import Template
from orchestrator.api.table import RECORDED
from orchestrator.core.errors import Busy, OrchestratorError, TooMany
from orchestrator.core.exchange import EXCHANGE, Exchange
from orchestrator.core.headers import DATA
from orchestrator.core.ids import hex_id
from orchestrator.core.types import Caller
from orchestrator.ledger.rows import Line, Repeat
from orchestrator.parts import Parts
from orchestrator.refusals import Refusals

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]
Key = tuple[object, ...]

LARGEST_QUESTION = 64 * 1024  # bytes; of a larger one the work that is spared is a small part
LARGEST_ANSWER = 256 * 1024
MODELS_S = 1.0  # how long a change of models may go unnoticed here; their list may be as old itself
LOOK_S = 0.02  # how long a request waits to learn which models there are, before it goes the whole way

_ANSWER = 6000  # bytes a kept answer takes besides its question and its text; a test measures
_NONE: dict[str, Any] = {}
VISIT = "orchestrator.visit"  # in the scope of a request that was looked at before it got a task
_OWN_HEADERS = frozenset(
    {b"age", b"x-request-id", b"request-id", b"server-timing", b"content-length", b"ratelimit", b"ratelimit-policy"}
)


@dataclass(frozen=True, slots=True)
class Replayable:
    """An answer as bytes, and how long it holds."""

    template: Template
    head: bytes  # headers that are the same each time, as lines
    is_streamed: bool
    kept_under: CacheKey  # in the cache
    created_at: float  # seconds since the epoch
    life_s: float
    line: Line
    model: str  # whose limits it counts against
    caller: Caller  # as it was then: another object when anything about it has changed, wherever that was done


class Asked(NamedTuple):
    """What of a request matters here."""

    path: str
    query: bytes
    body: bytes
    authorization: str
    x_api_key: str
    request_id: str
    address: str  # where it comes from
    steering: dict[bytes, bytes]  # the other headers that have a say in the answer

    def key(self, tenant_id: int, key_id: int | None) -> Key:
        """What makes it the same request: the tenant decides on the answer, the key is recorded."""
        return (tenant_id, self.path, self.query, key_id, self.body, *self.steering.items())

    def known_id(self) -> str:
        """The request's id: the caller's, where it is one."""
        given = self.request_id
        return given if given and REQUEST_ID.fullmatch(given) else hex_id(32)

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.query) + len(self.body) + sum(map(len, self.steering.values()))


@dataclass(slots=True, eq=False)
class Visit:
    """A request on its way through here."""

    asked: Asked
    exchange: Exchange
    parts: Parts
    began: float  # monotonic seconds
    is_seen: bool = False  # it was looked for
    stood: tuple[int, int, int] | None = None  # what an answer to it depends on; None while that is not known
    waiting: Waiting | None = None


class ReplayFront:
    """Wraps an ASGI application.

    parts       those of this process; asked for at each request, since they are made after this.
    most_bytes  what the kept answers may take; 0 keeps none.
    guards      what every answer says to browsers, and so do the refusals that are made here.
    """

    def __init__(self, app: App, parts: Callable[[], Parts], most_bytes: int, guards: Mapping[str, str] = DATA) -> None:
        self._app = app
        self._parts = parts
        self._most_bytes = most_bytes
        self._refusals = Refusals(guards)
        self._kept: Bounded[Key, Replayable] = Bounded(most_bytes, lambda: Fair(itemgetter(0)))
        self._purges = self._policy = -1
        self._models: int | None = None  # a hash over all of them; None while they are not known
        self._models_at = self._looked_at = -MODELS_S  # monotonic seconds: what is known is from then; last look
        self._looking: asyncio.Task[None] | None = None

    def at_once(self, scope: Any, exchange: Exchange) -> bool:
        """As `orchestrator.core.exchange.AtOnce` has it: answer from here, or send away."""
        visit = self._visit(scope, exchange)
        if visit is None:
            return False
        models = self._models_at_once(visit)
        if models is not None and self._is_settled(visit, models):
            return True
        scope[VISIT] = visit
        return False

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer from here, or pass on."""
        visit = scope.pop(VISIT, None) or self._visit(scope, scope.get("extensions", _NONE).get(EXCHANGE))
        if visit is None:
            await self._app(scope, receive, send)
            return
        if not visit.is_seen and self._is_settled(visit, await self._models_now(visit)):
            return
        arrival: Arrival | None = None
        if visit.waiting is not None:
            try:
                arrival = await visit.parts.gate.arrive(visit.waiting)
            except Gone:
                return
            except (TooMany, Busy) as error:
                if self._is_sent_away(error, visit):
                    return
        slot = scope[SLOT] = Slot()
        head: list[bytes] = []
        await self._passed_on(scope, receive, _noting(head, send), arrival)
        # What came in between may be about this answer, too.
        now = visit.parts.generation.current(), visit.parts.generation.policy(), self._models
        if slot.offer and visit.stood == now:
            self._keep(slot.offer, visit.asked, b"".join(head))

    def _visit(self, scope: Any, exchange: Exchange | None) -> Visit | None:
        """The request, if it may be for here."""
        if exchange is None or scope["path"] not in RECORDED or not self._most_bytes:
            return None
        asked = _read(scope, exchange)
        if asked is None:
            return None
        parts = self._parts()
        return Visit(asked, exchange, parts, parts.clock.monotonic())

    def _is_settled(self, visit: Visit, models: int | None) -> bool:
        """Whether it was answered or refused; else it goes on, when `visit.waiting` has had its turn.

        models  as they are now; None while they are not known.
        """
        asked, parts = visit.asked, visit.parts
        visit.is_seen = True
        purges, policy = parts.generation.current(), parts.generation.policy()
        if purges != self._purges or policy != self._policy:
            self._purges, self._policy = purges, policy
            self._kept.clear()
        visit.stood = None if models is None else (purges, policy, models)
        caller = parts.identity.remembered(asked.authorization, asked.x_api_key, asked.address)
        # Every second it is asked again who a caller is, and a flood would pass meanwhile.
        comer = caller or parts.identity.lately(asked.authorization, asked.x_api_key)
        if comer is None:
            return False
        key = asked.key(comer.tenant_id, comer.key_id)
        known = self._kept.get(key)
        if known is not None:
            return caller is not None and visit.stood is not None and self._is_replayed(known, key, caller, visit)
        try:
            visit.waiting = parts.gate.knock(comer.turn("", asked.address), visit.exchange.is_gone)
        except (TooMany, Busy) as error:
            return self._is_sent_away(error, visit)
        return False

    def _is_replayed(self, known: Replayable, key: Key, caller: Caller, visit: Visit) -> bool:
        """Whether it was answered."""
        asked, parts = visit.asked, visit.parts
        now = parts.clock.now()
        age_s = now - known.created_at
        is_over = abs(age_s) >= known.life_s  # as `cache.entries.Entry.is_fresh` has it
        if is_over or known.caller is not caller or parts.cache.has_newer(known.kept_under, known.created_at):
            self._kept.drop(key)
            return False
        standing = parts.limiter.charge_at_once(caller, known.model, asked.address)
        if standing is None:
            return False
        took_s = parts.clock.monotonic() - visit.began
        request_id = asked.known_id()
        head = b"%bage: %d\r\nx-request-id: %b\r\nserver-timing: total;dur=%.3f\r\n%b" % (
            known.head,
            max(age_s, 0),
            request_id.encode(),
            took_s * 1e3,
            standing.lines,
        )
        if is_anthropic(asked.path):
            head += b"request-id: %b\r\n" % anthropic_id(request_id).encode()
        body = known.template.fill(int(now * 1e9), max(int(took_s * 1e9), 1))
        if not visit.exchange.reply(head, body, is_streamed=known.is_streamed):
            parts.limiter.put_back(caller, known.model, asked.address)  # it is charged on the whole way
            return False
        self._kept.used(key)
        parts.ledger.repeat(Repeat(known.line, request_id, int(now * 1e6), int(took_s * 1e6)))
        return True

    async def _passed_on(self, scope: Any, receive: Receive, send: Send, arrival: Arrival | None) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            if arrival is not None:
                arrival.over()

    def _is_sent_away(self, error: OrchestratorError, visit: Visit) -> bool:
        """Whether that is all. There is no record of it: a flood would fill the ledger, and cost what is short."""
        asked, parts = visit.asked, visit.parts
        if visit.exchange.is_gone():
            return True
        if b"origin" in asked.steering:  # a page may read no answer without headers that are not made here
            return False
        head, body = self._refusals.form(asked.path, error, asked.known_id())
        if not visit.exchange.reply(head, body, is_streamed=False, status=error.status):
            return False
        parts.metrics.sent_away(dialect_of(asked.path), error.kind)
        return True

    def _keep(self, offer: Offer, asked: Asked, head: bytes) -> None:
        entry, kept = offer.entry, offer.kept
        if entry.outcome not in {"done", "cut"} or offer.template.size > LARGEST_ANSWER:
            return
        life_s = kept.expires_at - kept.created_at
        if entry.request.control.max_age_s is not None:
            life_s = min(life_s, entry.request.control.max_age_s)
        if entry.saved is not None and entry.saved.until is not None:  # a copy claims what this one does
            life_s = min(life_s, entry.saved.until - kept.created_at)
        if entry.same_until is not None:
            life_s = min(life_s, entry.same_until - kept.created_at)
        if life_s <= 0:
            return
        replayable = Replayable(
            template=offer.template,
            head=head,
            is_streamed=entry.request.stream,
            kept_under=kept.key,
            created_at=kept.created_at,
            life_s=life_s,
            line=Line(entry.row()),
            model=entry.charged,
            caller=entry.caller,
        )
        key = asked.key(entry.caller.tenant_id, entry.caller.key_id)
        self._kept.put(key, replayable, _ANSWER + asked.size + offer.template.size + len(head))

    def _models_at_once(self, visit: Visit) -> int | None:
        """What tells a change of models; None while they are not known, and nothing is answered from here.

        While requests come they are looked at in time, so that none has to wait.
        """
        now = visit.began
        if now >= max(self._models_at, self._looked_at) + MODELS_S / 2 and (
            self._looking is None or self._looking.done()
        ):
            self._looked_at = now
            self._looking = asyncio.create_task(self._look(visit.parts, now), name="replay models")
        return self._models if now < self._models_at + MODELS_S else None

    async def _models_now(self, visit: Visit) -> int | None:
        """As `_models_at_once`; who comes first after a pause waits for it a moment."""
        models = self._models_at_once(visit)
        if models is None and self._looking is not None and self._looked_at == visit.began:
            await asyncio.wait({self._looking}, timeout=LOOK_S)
            models = self._models_at_once(visit)
        return models

    async def _look(self, parts: Parts, now: float) -> None:
        try:
            async with asyncio.timeout(MODELS_S):
                models = hash(
                    tuple(
                        (model.name, model.digest, model.edition, model.price)
                        for model in await parts.catalogue.models()
                    )
                )
        except (OrchestratorError, OSError, TimeoutError) as error:
            if self._models is not None:
                log.warning(
                    "Nothing is replayed while the models cannot be listed: %s", str(error) or "no answer in time"
                )
            self._models = None
            return
        self._models_at = now
        if models != self._models:
            self._models = models
            self._kept.clear()


def _read(scope: Any, exchange: Exchange) -> Asked | None:
    """The request; None when it is too large, not here yet, or says the same thing twice."""
    body = exchange.body()
    if body is None or len(body) > LARGEST_QUESTION or scope["method"] != "POST":
        return None
    given = [header for header in scope["headers"] if header[0] in STEERING]
    steering = dict(given)
    if len(steering) != len(given):
        return None
    return Asked(
        scope["path"],
        scope["query_string"],
        body,
        steering.pop(b"authorization", b"").decode("latin-1"),
        steering.pop(b"x-api-key", b"").decode("latin-1"),
        steering.pop(b"x-request-id", b"").decode("latin-1"),
        (scope.get("client") or ("",))[0],
        steering,
    )


def _noting(head: list[bytes], send: Send) -> Send:
    """Pass messages on, and note the headers that are no copy's own."""

    async def send_noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            for name, value in message["headers"]:
                if name.lower() not in _OWN_HEADERS:
                    head.append(b"%b: %b\r\n" % (name.lower(), value))
        await send(message)

    return send_noting
