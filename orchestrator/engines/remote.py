"""A provider as it is reached over HTTP: what goes wrong on the way, and what it refuses, told in words of ours."""

from __future__ import annotations

import re
from asyncio import timeout
from collections.abc import Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import inf, isfinite
from typing import Protocol

from orchestrator.core.errors import (
    BadRequest,
    ContextTooLong,
    EngineError,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
    EngineUnreachable,
    GenerationFailed,
    KeyRefused,
    ModelNotFound,
    OrchestratorError,
    ParameterRefused,
    RateLimited,
)
from orchestrator.engines.lines import bounded
from orchestrator.engines.wires.base import Said, Wire
from orchestrator.outbound.answers import (
    ConnectError,
    ConnectTimeout,
    HTTPError,
    RemoteProtocolError,
    Response,
    TimeoutException,
)
from orchestrator.outbound.connection import Connection

NOBODY = "The provider"  # what a wire's errors begin with
MOST_LISTING_BYTES = 16 * 1024**2
LONGEST_RETRY_S = 3600.0
REFUSAL_S = 2.0
MOST_REFUSAL_BYTES = 64 * 1024
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")


class Account(Protocol):
    """What there is to know of our standing with a provider."""

    @property
    def is_paid(self) -> bool:
        """Whether it charges."""

    @property
    def key_from(self) -> str:
        """Where an operator puts right what is wrong with its key."""

    @property
    def address_from(self) -> str:
        """And with its address."""


class Remote:
    """One provider, whatever protocol it speaks. Key and address live in the connection."""

    def __init__(self, name: str, connection: Connection, wire: Wire, account: Account) -> None:
        """`name` is what it is called in errors."""
        self.name = name
        self.connection = connection
        self.wire = wire
        self.account = account

    async def get(self, path: str, wanted: str) -> bytes:
        """What it has there. Raises as `raise_for_status` does, and what a call that left raises."""
        async with aclosing(await self.connection.send("GET", path)) as response:
            await self.raise_for_status(response, wanted)
            return b"".join([part async for part in bounded(response, MOST_LISTING_BYTES)])

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Errors of the way there become EngineError or EngineTimeout; and no error passes that holds our key."""
        try:
            yield
        except OrchestratorError as known:
            words = self.connection.shown(str(known))
            if words.startswith(NOBODY):  # a wire does not know whose words it reads
                words = self.name + words.removeprefix(NOBODY)
            known.args = (words,)
            raise
        except (ConnectError, ConnectTimeout):  # the transport says timeout for a refusal, too
            advice = f"is {self.account.address_from} right, and is it running?"
            error = EngineUnreachable(f"{self.name} could not be reached: {advice}")
            error.has_made = False
            raise error from None
        except (TimeoutException, TimeoutError):
            raise EngineTimeout(f"{self.name} did not answer in time.") from None
        except RemoteProtocolError:
            raise EngineError(f"{self.name} sent what is no HTTP; {self._advice}") from None
        except HTTPError as broken:
            raise EngineError(f"The connection to {self.name} broke off: {type(broken).__name__}.") from None

    async def raise_for_status(self, response: Response, wanted: str, left_s: float = REFUSAL_S) -> None:
        """Raises what another status than 200 means: nothing was made, then."""
        if response.status_code == 200:
            if _is_packed(response):
                raise EngineError(f"{self.name} packed its answer, which it was asked not to.")
            if response.headers.get("Content-Type", "").lower().startswith("text/html"):
                raise EngineError(f"{self.name} sent a page in place of an answer; {self._advice}")
            return
        error = self._refused(response, self.wire.said(await self._refusal(response, left_s)), wanted)
        error.has_made = False
        raise error

    def _refused(self, response: Response, said: Said, wanted: str) -> OrchestratorError:
        status = response.status_code
        if status == 401 or said.is_about_key:
            advice = f"ask your operator to check {self.account.key_from}"
            return KeyRefused(f"{self.name} refused our key (HTTP {status}); {advice}.")
        words = f": {said.words}" if said.words else "."
        retry_after_s = retry_after(response.headers) or _bounded(said.retry_after_s)
        is_passing = status == 429 and retry_after_s is not None  # a quota that is renewed by then
        if status == 402 or (said.is_about_money and not is_passing):  # until somebody pays: trying again is of no use
            advice = "ask your operator to do that"
            return EngineError(f"{self.name} wants to be paid first (HTTP {status}); {advice}{words}")
        if status == 403 or said.is_about_us:  # a region, a model that the account may not use, a rule: words tell
            return EngineRefused(f"{self.name} refused this to us (HTTP {status}){words}")
        if said.is_about_answer:
            return GenerationFailed(f"{self.name} could not read what its model wrote (HTTP {status}){words}")
        if status == 404 and not said.is_spoken:  # a model that is not there would be told in its own form
            return EngineError(f"{self.name} has no such address (HTTP 404); {self._advice}")
        if status == 404:
            return ModelNotFound(f"{self.name} does not have {wanted}{words}")
        if status in {400, 413, 422}:
            other = ParameterRefused if said.is_about_parameter else BadRequest
            refused = ContextTooLong if said.is_about_length or status == 413 else other
            return refused(f"{self.name} refused the request{words}")
        kind = RateLimited if status == 429 else EngineUnavailable if status >= 500 else EngineError
        return kind(f"{self.name} answered HTTP {status}{words}", retry_after_s=retry_after_s)

    async def _refusal(self, response: Response, left_s: float) -> bytes:
        """The body of a refusal, or what came of it soon, cut where it is too long: the status alone says enough."""
        body = b""
        if _is_packed(response):
            return body
        with suppress(TimeoutError, HTTPError):
            async with timeout(min(REFUSAL_S, left_s)):
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) >= MOST_REFUSAL_BYTES:
                        break
        return body[:MOST_REFUSAL_BYTES]

    @property
    def _advice(self) -> str:
        return f"is {self.account.address_from} right?"


def _is_packed(response: Response) -> bool:
    """Whether a body could be any length when it is unpacked: that is only known once it is."""
    return response.headers.get("Content-Encoding", "").lower() not in {"", "identity"}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait; None where the headers do not tell, or nonsense.

    `Retry-After-Ms` (OpenAI, Azure) is the more exact. `Retry-After` is a number or a date, as RFC 9110 has it; with
    a fraction or an `s` behind it, it is none there, and some send that.
    """
    if (exact := _number(headers.get("Retry-After-Ms", ""))) is not None:
        return _bounded(exact / 1000)
    header = headers.get("Retry-After", "").strip()
    seconds = _number(header.removesuffix("s"))
    if seconds is None:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):  # the last of a time zone
            return None
    return _bounded(seconds)


def _number(text: str) -> float | None:
    """What is a finite number and not below zero, as headers write one; None for anything else."""
    number = float(text) if _NUMBER.fullmatch(text.strip()) else inf
    return number if isfinite(number) else None


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(seconds, 1.0), LONGEST_RETRY_S)
