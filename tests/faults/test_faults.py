"""Every fault of a provider, of every kind, in every dialect: what the caller is told, and what the provider noted.

An error is said in the dialect's own form, and says enough; after the first byte it ends the stream, which is never
called whole. Nothing of it is kept, nothing goes on, and the next question has nothing to do with it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import httpx
import pytest

from orchestrator.models import RequestRecord
from orchestrator.parts import Parts
from tests.faults.conftest import Serve, Start, entry
from tests.faults.dialects import PATHS, Heard, ask, ask_in_every_way, eventually
from tests.speeches import GOOD, Speech

TEXT = "".join(GOOD)
PATIENCE_S = 0.9
MOST_LATE = 3
MOST_BYTES = 1024**2  # of an answer, in these parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A behaviour of the provider that brings no answer.

    said       what the error says, as a regular expression.    kind  of the error, in the record.
    retry      the Retry-After that is passed on.
    is_begun   some text comes first: when streamed, the caller has it.
    waits      only a deadline ends it.
    calls      how many each question makes, the first time and when it is asked again.
    line       what becomes of the connection: we `close` it, it is `kept`, or `gone` by itself.
    has_head   a deadline ends it after its head; on a busy machine, that may pass before.
    """

    name: str
    said: str
    status: int = 502
    kind: str = "engine_error"
    retry: str | None = None
    is_begun: bool = False
    waits: bool = False
    line: str = "close"
    calls: tuple[int, int] = (1, 1)
    has_head: bool = False

    def without_head(self) -> Fault:
        """What is told where the deadline passes before the head comes."""
        return replace(self, said=ANSWER, status=504, kind="engine_timeout", retry=None) if self.has_head else self

    def told(self) -> set[tuple[str, int]]:
        """Kind and status that may be told."""
        return {(fault.kind, fault.status) for fault in (self, self.without_head())}


def silence(name: str, said: str, *, is_begun: bool = False, has_head: bool = False) -> Fault:
    status, kind = 504, "engine_timeout"
    return Fault(name=name, said=said, status=status, kind=kind, is_begun=is_begun, waits=True, has_head=has_head)


ANSWER = rf"did not answer within {PATIENCE_S} s \(first_token_timeout_s of \w+\)"
BEGIN = rf"did not begin to answer within {PATIENCE_S} s \(first_token_timeout_s of \w+\)"
MORE = rf"sent nothing more within {PATIENCE_S} s \(token_timeout_s of \w+\)"
LIMITED = {"status": 429, "kind": "rate_limited", "line": "kept", "calls": (1, 0)}  # and then it is left alone
LATER = {"kind": "engine_unavailable", "line": "kept"}
TROUBLE = LATER | {"calls": (3, 2)}  # up to three, as long as there is something left to repeat with
FAULTS = (
    Fault(name="500", said="HTTP 500: no, 500", retry="7", **LATER),
    Fault(name="502", said="HTTP 502: no, 502", retry="7", **LATER),
    Fault(name="503", said="HTTP 503: no, 503", retry="7", **LATER),
    Fault(name="529", said="HTTP 529: no, 529", retry="7", **LATER),
    Fault(name="429", said="HTTP 429: no, 429", retry="7", **LIMITED),
    Fault(name="busy_date", said="HTTP 429", retry="3600", **LIMITED),
    Fault(name="busy_for_ever", said="HTTP 429", retry="3600", **LIMITED),
    Fault(name="busy_nonsense", said="HTTP 503", **TROUBLE),
    Fault(name="busy_untold", said="HTTP 503", **TROUBLE),
    Fault(name="401", said="refused our key .*ask your operator to check [A-Z_]+_KEY", kind="key_refused", line="kept"),
    Fault(name="402", said="wants to be paid first .*ask your operator", line="kept"),
    Fault(name="403", said="refused this to us .HTTP 403.: no, 403", kind="engine_refused", line="kept"),
    Fault(name="404", said="does not have .*/404.*: no, 404", status=404, kind="model_not_found", line="kept"),
    Fault(name="too_long", said="prompt is too long", status=400, kind="context_too_long", line="kept"),
    Fault(name="400", said="refused the request: no, 400", status=400, kind="bad_request", line="kept"),
    Fault(name="no_credit", said="wants to be paid first .*ask your operator.*: Your credit", line="kept"),
    Fault(name="no_parameter", said="refused the request: Unsupp", status=400, kind="bad_request", line="kept"),
    Fault(name="tells", said="HTTP 500: .*What is .*…", **TROUBLE),
    Fault(name="mute", said=r"HTTP 503\.", retry="7", kind="engine_unavailable", waits=True, has_head=True),
    Fault(name="long_refusal", said="HTTP 500: no, and no", kind="engine_unavailable", calls=(3, 2)),
    Fault(name="bomb_refusal", said=r"HTTP 500\.$", kind="engine_unavailable", calls=(3, 2)),
    silence("silent", ANSWER),
    silence("late", ANSWER),
    silence("half_head", ANSWER),
    silence("headers_only", BEGIN, has_head=True),
    silence("comments", BEGIN, has_head=True),
    silence("stall", MORE, is_begun=True),
    silence("trickle", MORE, is_begun=True),
    Fault(name="closes", said="broke off", line="gone"),
    Fault(name="resets", said="broke off", line="gone"),
    silence("interim", ANSWER),
    Fault(name="no_http", said="sent what is no HTTP; is [A-Z_]+_URL right"),
    Fault(name="great_headers", said="sent what is no HTTP"),
    Fault(name="many_headers", said="sent what is no HTTP"),
    Fault(name="html", said="sent a page in place of an answer", line="kept"),
    Fault(name="empty", said="broke off before its end", line="kept"),
    Fault(name="no_json", said="not JSON"),
    Fault(name="error_first", said="broke off: overloaded", kind="engine_unavailable", calls=(3, 2)),
    Fault(name="bomb", said="packed its answer"),
    Fault(name="moved_301", said="HTTP 301", line="kept"),
    Fault(name="moved_302", said="HTTP 302", line="kept"),
    Fault(name="moved_303", said="HTTP 303", line="kept"),
    Fault(name="moved_307", said="HTTP 307", line="kept"),
    Fault(name="moved_308", said="HTTP 308", line="kept"),
    Fault(name="truncated", said="broke off before its end", is_begun=True, line="kept"),
    Fault(name="hangs_up", said="broke off", is_begun=True, line="gone"),
    Fault(name="torn_chunk", said="broke off", is_begun=True, line="gone"),
    Fault(name="short_body", said="broke off", is_begun=True, line="gone"),
    Fault(name="cut_until_closed", said="broke off", is_begun=True, line="gone"),
    Fault(name="reset", said="broke off", is_begun=True, line="gone"),
    Fault(name="bad_chunk", said="broke off", is_begun=True),
    Fault(name="garbage", said="not JSON", is_begun=True),
    Fault(name="binary", said="not JSON", is_begun=True),
    Fault(name="error_inside", said="broke off: overloaded", kind="engine_unavailable", is_begun=True),
    Fault(name="endless", said="is longer than .* bytes", is_begun=True),
    Fault(name="long_line", said="A line without end"),
    Fault(name="endless_line", said="A line without end", is_begun=True),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_a_fault_is_told_in_every_dialect_and_leaves_nothing(
    client: httpx.AsyncClient,
    parts: Parts,
    serve: Serve,
    started: Start,
    recorded: Callable[[int], Awaitable[list[RequestRecord]]],
    speech: Speech,
    fault: Fault,
) -> None:
    if speech.name == "ollama" and fault.name in {"error_first", "error_inside"}:  # it names no code there
        fault = replace(fault, kind="engine_error", calls=(1, 1))
    provider = await started(speech=speech)
    limit = "token_timeout_s" if fault.is_begun else "first_token_timeout_s"
    await serve(entry(speech, provider.address, **{limit: PATIENCE_S} if fault.waits else {}))
    model = f"{speech.name}/{fault.name}"
    told = await ask_in_every_way(client, model, "What?")
    for (_, stream), heard in told.items():
        is_told(heard, fault, is_late=stream and fault.is_begun)
    first, then = fault.calls
    # Where a deadline ends it, that may pass on a busy machine before the calls have got through.
    lost = len(told) if fault.waits else 0
    expected = first * len(told)
    assert expected - lost <= len(provider.calls) <= expected, "a fault in passing is asked again, and no other"
    await eventually(lambda: not len(parts.inflight), "nothing goes on")
    await eventually(lambda: not any(call.is_open for call in provider.calls), "nor at the provider")
    failed = [call.connection for call in provider.calls]
    if fault.line == "close":
        await eventually(lambda: all(one.closed_at for one in failed), "who said nonsense is not listened to again")

    heard_before, expected = len(provider.calls), then * len(told)
    again = await ask_in_every_way(client, model, "What?")
    assert expected - lost <= len(provider.calls) - heard_before <= expected, "nothing was kept"
    assert len(provider.calls) >= (first + then) * len(told) - lost, "one moment of it is not all of the time"
    statuses = {status for _, status in fault.told()}
    for way, heard in again.items():
        assert heard.status == told[way].status or {heard.status, told[way].status} <= statuses
    assert (await parts.cache.holding_here())["memory"].entries == 0
    before = len(provider.opened)
    late = 0  # answers: what is right may take longer than that deadline, too
    for path in PATHS:
        while True:
            right = await ask(client, path, f"{speech.name}/good", f"And now? {path}", stream=True)
            if not fault.waits or late == MOST_LATE or not re.search(f"{ANSWER}|{BEGIN}|{MORE}", right.error):
                break
            late += 1
        assert (right.text, right.error, right.is_complete, right.complaints) == (TEXT, "", True, ())
    assert len(provider.opened) - before <= (0 if fault.line == "kept" else 1) + late

    failed_before, count = len(told) + len(again), len(told) + len(again) + len(PATHS) + late
    records = await recorded(count)
    assert len(records) == count, "one for each"
    for record in records[:failed_before]:
        assert (record.outcome, record.status) in fault.told()
        assert record.tier == "miss"
        assert record.provider == speech.name


def is_told(heard: Heard, fault: Fault, *, is_late: bool) -> None:
    """The caller knows that it failed, and why; before anything was said also by the status."""
    if not re.search(fault.said, heard.error):
        fault = fault.without_head()
    assert heard.complaints == ()
    assert not heard.is_complete
    assert re.search(fault.said, heard.error), heard.error
    if is_late:
        assert heard.status == 200
        assert heard.text == GOOD[0] or (fault.name == "endless" and 0 < len(heard.text) <= MOST_BYTES)
    else:
        assert (heard.status, heard.text) == (fault.status, "")
        assert heard.headers.get("Retry-After") == fault.retry
