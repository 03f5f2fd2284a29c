"""Callers hang up at every point of a request, in every way: what was done for them ends at once, and leaves no trace
but its record.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import urllib.error
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, get_args

import httpx

from orchestrator.core.tokens import tokens_in
from tests.drills.base import Drill, Run, eventually, running
from tests.drills.caller import Caller, Leaving, ask
from tests.drills.processes import connections, served_by
from tests.drills.provider import Call, ScriptedProvider
from tests.drills.question import PATHS, Question
from tests.product import Product

Moment = Literal["unsent", "before headers", "first token", "mid-stream", "after the last token", "whenever"]
WAVE = 20  # callers at a time
PIECES = 6
HEARD = 3  # pieces, when leaving mid-stream
CLOSED_WITHIN_S = 1.0  # p99
GIVEN_UP_AFTER_S = 15.0
LONG_S = 120.0  # beyond any wait here
STORY = {"model": "smollm2:135m", "options": {"num_predict": 4000, "seed": 1}, "stream": True}
GAUGES = ("orchestrator_calls_in_flight", "orchestrator_listeners")


@dataclass(slots=True)
class Departure:
    """One caller who will hang up."""

    question: Question
    moment: Moment
    how: Leaving
    path: str
    stream: bool
    caller: Caller | None = None
    call: Call | None = None  # what the provider saw of it


async def run(run: Run) -> None:
    """Waves of callers who hang up; then the traces they may not leave."""
    with ScriptedProvider() as provider, running(run, provider, ORCHESTRATOR_WEB_WORKERS=2) as product:
        departures = [departure(run, number) for number in range(run.pick(60, 1000))]
        for start in range(0, len(departures), WAVE):
            await wave(run, provider, product, departures[start : start + WAVE])
        delays = [
            one.call.ended_at - one.caller.left_at
            for one in departures
            if one.caller and one.call and one.call.state == "closed"
        ]
        p99_s = run.timed("upstream_closed_after", [max(delay, 0.0) for delay in delays])
        run.in_time(p99_s, CLOSED_WITHIN_S, "calls are closed after the hang-up (p99)")
        await records(run, product, departures)
        await nothing_is_left(run, provider, product, departures)
        await local_model(run, product)


def departure(run: Run, number: int) -> Departure:
    """The next caller: every moment and way in turn, and the rest by chance."""
    moments: Sequence[Moment] = get_args(Moment)
    ways: Sequence[Leaving] = get_args(Leaving)
    moment, how = moments[number % len(moments)], ways[number // len(moments) % len(ways)]
    name = f"cancel-{run.seed}-{number}"
    match moment:
        case "before headers":
            question = Question(name=name, headers_s=LONG_S)
        case "first token":
            question = Question(name=name, first_s=LONG_S)
        case "mid-stream":
            question = Question(name=name, pieces=PIECES, gate="never", gate_after=HEARD)
        case "after the last token":
            question = Question(name=name, pieces=PIECES, end_s=LONG_S)
        case _:
            question = Question(name=name, pieces=20, gap_s=0.01)
    return Departure(question, moment, how, run.random.choice(PATHS), run.random.random() < 0.7)


async def wave(run: Run, provider: ScriptedProvider, product: Product, departures: list[Departure]) -> None:
    """Some callers come, reach their moments, and hang up."""
    address = product.base_url
    callers = await asyncio.gather(*(Caller.connect(address) for _ in departures))
    for one, caller in zip(departures, callers, strict=True):
        one.caller = caller
        body = one.question.body(one.path, stream=one.stream)
        if one.moment == "unsent":
            caller.send_raw(f"POST {one.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{{".encode())
        else:
            caller.send(one.path, body, X_Request_Id=one.question.name)
    waiting = [one for one in departures if one.moment not in {"unsent", "whenever"}]
    await eventually(lambda: have_reached_their_moment(provider, waiting), "the provider to be where it should", 20)
    await asyncio.gather(*(hear(one) for one in waiting if one.stream))
    await asyncio.gather(*(leave(run, one) for one in departures))
    sent = [one for one in departures if one.moment != "unsent"]
    try:
        await eventually(lambda: are_over(provider, sent), "the calls to be closed", GIVEN_UP_AFTER_S)
    except TimeoutError:
        run.say("some calls are still open")
    look(provider, sent)
    await asyncio.gather(*(judge(run, address, one) for one in sent))
    for caller in callers:
        caller.leave("reset")  # also those that were only half closed
    run.counts["hang-ups"] += len(departures)


def look(provider: ScriptedProvider, departures: list[Departure]) -> None:
    """Take note of what the provider saw."""
    calls = {call.name: call for call in provider.calls()}
    for one in departures:
        one.call = calls.get(one.question.name)


def have_reached_their_moment(provider: ScriptedProvider, departures: list[Departure]) -> bool:
    """The provider has said as much as it will before they leave."""
    look(provider, departures)
    return all(one.call is not None and has_reached(one.moment, one.call) for one in departures)


def has_reached(moment: Moment, call: Call) -> bool:
    """Whether a call is where the caller will leave it."""
    match moment:
        case "first token":
            return call.has_headers
        case "mid-stream":
            return call.pieces == HEARD
        case "after the last token":
            return call.pieces == PIECES
        case _:
            return True


def are_over(provider: ScriptedProvider, departures: list[Departure]) -> bool:
    """No call is open any more; one that left quickly may never have been made."""
    look(provider, departures)
    return all(one.call is None or one.call.state != "open" for one in departures)


async def hear(one: Departure) -> None:
    """Listen to what there is before leaving."""
    expected = {"mid-stream": HEARD, "after the last token": PIECES}.get(one.moment, 0)
    assert one.caller is not None
    if expected:
        await one.caller.head()
    while len(one.caller.heard.at) < expected:
        await one.caller.next_piece()


async def leave(run: Run, one: Departure) -> None:
    """Hang up; who leaves whenever it suits them does so at a random moment of the answer."""
    assert one.caller is not None
    if one.moment == "whenever":
        await asyncio.sleep(run.random.uniform(0.0, 0.3))
    one.caller.leave(one.how)


async def judge(run: Run, address: str, one: Departure) -> None:
    """The call was closed, and no part of its answer is in the cache."""
    name = f"{one.question.name} ({one.moment}, {one.how}, {one.path}, {'streamed' if one.stream else 'whole'})"
    state = one.call.state if one.call else "never made"
    run.counts[f"calls {state}"] += 1
    if one.moment == "whenever":
        run.expect(state != "open", f"{name}: the call is still open")
    else:
        run.expect(state == "closed", f"{name}: the call is {state}, not closed")
    again = await ask(address, one.question, one.path, stream=False, Cache_Control="only-if-cached")
    if state == "finished":
        run.expect(again.status == 504 or again.is_right(one.question), f"{name}: part of it is in the cache: {again}")
    else:
        run.expect(again.status == 504, f"{name}: it is in the cache, HTTP {again.status}")


async def records(run: Run, product: Product, departures: list[Departure]) -> None:
    """Each call has one record, which says that it was given up and how many tokens had been made."""
    made = {one.question.name: one for one in departures if one.call}
    found: dict[str, list[tuple[str, int]]] = {}

    def are_there() -> bool:
        found.clear()
        with closing(sqlite3.connect(f"file:{product.data / 'ledger.sqlite3'}?mode=ro", uri=True)) as ledger:
            rows = ledger.execute(
                "SELECT request_id, outcome, completion_tokens FROM orchestrator_requestrecord WHERE request_id >= 'c'"
            ).fetchall()
        for name, outcome, tokens in rows:
            found.setdefault(name, []).append((outcome, tokens))
        return made.keys() <= found.keys()

    try:
        await eventually(are_there, "the records", GIVEN_UP_AFTER_S)
    except TimeoutError:
        run.say("records are missing")
    for name, one in made.items():
        assert one.call is not None
        rows = found.get(name, [])
        if not run.expect(len(rows) == 1, f"{name} ({one.moment}, {one.how}): {len(rows)} records"):
            continue
        outcome, tokens = rows[0]
        run.counts[f"records {outcome}"] += 1
        if one.moment == "whenever":
            run.expect(outcome in {"cancelled", "done"}, f"{name} (whenever): recorded as {outcome}")
            most = tokens_of(one.question, one.question.pieces)
            run.expect(tokens <= most, f"{name} (whenever): recorded with {tokens} tokens")
        else:
            run.expect(outcome == "cancelled", f"{name} ({one.moment}, {one.how}): recorded as {outcome}")
            came = tokens_of(one.question, one.call.pieces)
            run.expect(
                tokens == came or (not one.stream and tokens < came),
                f"{name} ({one.moment}, {one.how}): recorded with {tokens} tokens of {came}",
            )


def tokens_of(question: Question, pieces: int) -> int:
    """As many as are estimated when so many pieces of the answer came, and its end did not."""
    return tokens_in(pieces * question.piece_chars, pieces)


async def nothing_is_left(run: Run, provider: ScriptedProvider, product: Product, departures: list[Departure]) -> None:
    """No connection of a caller, no open call, no gauge above zero."""
    ports = {one.caller.port for one in departures if one.caller}

    def is_quiet() -> bool:
        return not ports & served_by(product).keys() and provider.summary()["open"] == 0

    try:
        await eventually(is_quiet, "every connection to be closed", GIVEN_UP_AFTER_S)
    except TimeoutError:
        left = len(ports & served_by(product).keys())
        run.expect(False, f"{left} callers' connections and {provider.summary()['open']} calls are still open")
    kept = [one for pid in product.pids("web") for one in connections(pid) if one[1] == provider.port]
    run.counts["idle connections to the provider"] = len(kept)
    run.expect(len(kept) <= 2 * WAVE, f"{len(kept)} connections to the provider are kept")
    await gauges(run, product)


async def gauges(run: Run, product: Product) -> None:
    """What /metrics says is under way comes back to nothing."""

    def above_zero() -> list[str] | None:
        text = product.get("/metrics")[1].decode()
        return [
            line for line in re.findall(rf"^(?:{'|'.join(GAUGES)})\b.*$", text, re.MULTILINE) if line[-4:] != " 0.0"
        ]

    try:
        await eventually(lambda: not above_zero(), "the gauges to be back at zero", GIVEN_UP_AFTER_S)
        run.counts["gauges at zero"] = len(GAUGES)
    except TimeoutError:
        run.expect(False, f"gauges are not back at zero: {above_zero()}")
    except urllib.error.HTTPError as error:
        run.expect(error.code == 404, f"/metrics answers HTTP {error.code}")
        run.note("this product has no /metrics, so its gauges were not read")


async def local_model(run: Run, product: Product) -> None:
    """A local model stops for a caller who leaves: its slots are free for others within a second."""
    socket = httpx.HTTPTransport(uds=str(product.data / "run" / "models.sock"))
    with httpx.Client(transport=socket, base_url="http://models", timeout=10) as host:

        def users() -> int:
            return sum(model["users"] for model in host.get("/ps").json())

        delays = []
        for number in range(run.pick(2, 10)):
            left_at = await hang_up_on_stories(product.base_url, number)
            await eventually(lambda: users() == 0, "the model's slots to be free", GIVEN_UP_AFTER_S)
            delays.append(asyncio.get_running_loop().time() - left_at)
            run.counts["hang-ups on a local model"] += 4
    p99_s = run.timed("slots_free_after", delays)
    run.in_time(p99_s, CLOSED_WITHIN_S, "the model's slots are free after the hang-up (p99)")


async def hang_up_on_stories(address: str, number: int) -> float:
    """Four callers hear a long story begin, and leave; when they left."""
    callers = await asyncio.gather(*(Caller.connect(address) for _ in range(4)))
    for place, caller in enumerate(callers):
        story = {"role": "user", "content": f"Tell me story {number}.{place} about the sea."}
        caller.send("/api/chat", STORY | {"messages": [story]})
    async with asyncio.timeout(60):
        for caller in callers:
            await caller.head()
            await caller.next_piece()
    for place, caller in enumerate(callers):
        caller.leave("reset" if place % 2 else "close")
    return asyncio.get_running_loop().time()


DRILL = Drill("cancel", "callers hang up: their calls end, nothing is left", run, long_within_s=900)
