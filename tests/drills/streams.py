"""Many streams at once: paced ones beside readers who hardly read, and thousands that just stay open."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.drills.base import Drill, Run, eventually, own_lag, running
from tests.drills.caller import Caller, Heard
from tests.drills.processes import resident_mb, served_by
from tests.drills.provider import ScriptedProvider
from tests.drills.question import PATHS, Question
from tests.product import Product

WORKERS = 2
USUAL_OPEN_FILES = 1024  # the soft limit most systems begin with
FRAMES, FRAME_EVERY_S = 64, 0.02
LONGEST_GAP_S = 1.0
SMALLEST_BUFFER = 1  # the kernel makes the least it can of it, about 2 kB
SLOW_PIECES, SLOW_PIECE_CHARS = 6000, 4000
SLOW_READER_MB = 4.0  # of 24, that a reader who does not read may make the product and the kernel hold
CUT_AFTER_S = 2.0
CUT_WITHIN_S = 30.0
AT_A_TIME = 100
STREAM_KB = 200.0  # of memory, for each that is open
SPARE_MB = 64.0  # that the product may grow by for anything else
ALL_ENDED_WITHIN_S = 120.0


async def run(run: Run) -> None:
    """Paced streams with slow readers among them, then idle ones."""
    with (
        ScriptedProvider() as provider,
        few_open_files(),
        running(
            run,
            provider,
            ORCHESTRATOR_WEB_WORKERS=WORKERS,
            ORCHESTRATOR_MAX_ANSWER="64M",
            ORCHESTRATOR_SEND_TIMEOUT_S=CUT_AFTER_S,
            ORCHESTRATOR_TOKEN_TIMEOUT_S=600,
            ORCHESTRATOR_FIRST_TOKEN_TIMEOUT_S=600,
        ) as product,
    ):
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        await paced(run, provider, product)
        await idle(run, provider, product)


@contextmanager
def few_open_files() -> Iterator[None]:
    """The product is started with the limit it finds on most systems; this process has its own back at the end."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(USUAL_OPEN_FILES, before[1]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def paced(run: Run, provider: ScriptedProvider, product: Product) -> None:
    """None of the paced streams stalls, though some readers take a byte a second, or nothing."""
    before_mb = resident_mb(product.pids("web"))
    slow = [SlowReader(number, takes=number % 2) for number in range(run.pick(4, 32))]
    questions = [
        Question(name=f"paced-{number}", pieces=FRAMES, gap_s=FRAME_EVERY_S) for number in range(run.pick(64, 512))
    ]
    reading = [asyncio.create_task(reader.read(product.base_url)) for reader in slow]
    async with own_lag() as wakes:
        heard = await stream_all(product, questions)
    run.counts["paced streams"] = len(questions)
    for question, one in zip(questions, heard, strict=True):
        run.expect(one.is_right(question), f"{question.name}: not answered: HTTP {one.status} {one.error}")
        run.expect(not one.is_wrong(question), f"{question.name}: a wrong answer")
    gaps = [one.longest_gap_s for one in heard]
    run.timed("longest_gap", gaps)
    lag_s = max(wake.late_s for wake in wakes)
    run.figures["own_lag_max_s"] = round(lag_s, 4)
    run.in_time(max(gaps), LONGEST_GAP_S + lag_s, "a stream stands still")
    run.figures["web_grew_beside_slow_readers_mb"] = round(resident_mb(product.pids("web")) - before_mb, 1)
    await slow_readers(run, provider, product, slow)
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)


async def stream_all(product: Product, questions: list[Question]) -> list[Heard]:
    """Ask all, streamed, in every dialect; what was heard."""
    address = product.base_url
    callers = [caller async for caller in connected(address, len(questions))]
    for number, (caller, question) in enumerate(zip(callers, questions, strict=True)):
        path = PATHS[number % len(PATHS)]
        caller.send(path, question.body(path, stream=True))
    heard = await asyncio.gather(*(caller.listen() for caller in callers))
    for caller in callers:
        caller.leave()
    return heard


async def connected(address: str, count: int) -> AsyncGenerator[Caller, None]:
    """So many connections, some at a time."""
    for start in range(0, count, AT_A_TIME):
        for caller in await asyncio.gather(*(Caller.connect(address) for _ in range(min(AT_A_TIME, count - start)))):
            yield caller


@dataclass(slots=True)
class SlowReader:
    """Asks for a long answer and takes one byte a second of it, or (`takes` 0) nothing."""

    number: int
    takes: int
    port: int = 0

    @property
    def question(self) -> Question:
        """What it asks."""
        return Question(name=f"slow-{self.number}", pieces=SLOW_PIECES, piece_chars=SLOW_PIECE_CHARS)

    async def read(self, address: str) -> None:
        """Go on for ever."""
        caller = await Caller.connect(address, receive_buffer=SMALLEST_BUFFER, limit=1)
        self.port = caller.port
        try:
            path = PATHS[self.number % len(PATHS)]
            caller.send(path, self.question.body(path, stream=True))
            while True:
                await asyncio.sleep(1)
                if self.takes:
                    await caller.read_some(self.takes)
        finally:
            caller.leave("reset")


async def slow_readers(run: Run, provider: ScriptedProvider, product: Product, slow: list[SlowReader]) -> None:
    """They are given up in time; until then neither the product nor its kernel buffers hold their whole answers."""
    run.counts["slow readers"] = len(slow)
    ports = {reader.port for reader in slow}

    def are_given_up() -> bool:
        return not any(call.state == "open" for reader in slow for call in provider.calls(reader.question.name))

    with suppress(TimeoutError):
        await eventually(are_given_up, "the slow readers to be given up", CUT_WITHIN_S)
    handed = []
    for reader in slow:
        (call,) = provider.calls(reader.question.name)
        handed.append(call.pieces * SLOW_PIECE_CHARS / 1e6)
        run.expect(call.state == "closed", f"{reader.question.name}: its call is {call.state}, not given up")
    run.figures["most_handed_over_for_a_slow_reader_mb"] = round(max(handed), 2)
    run.expect(max(handed) <= SLOW_READER_MB, f"{max(handed):.1f} MB were taken in for a reader who does not read")
    try:
        await eventually(lambda: not ports & served_by(product).keys(), "their connections to be closed", CUT_WITHIN_S)
    except TimeoutError:
        left = len(ports & served_by(product).keys())
        run.expect(False, f"{left} of {len(slow)} connections of readers who were given up are still held")


async def idle(run: Run, provider: ScriptedProvider, product: Product) -> None:
    """Streams that have begun and wait, all at once; then all end, rightly."""
    count = run.pick(200, 5000)
    questions = [Question(name=f"idle-{number}", gate="idle", gate_after=2) for number in range(count)]
    before_mb = resident_mb(product.pids("web"))
    callers: list[Caller] = []
    async for caller in connected(product.base_url, count):
        number = len(callers)
        path = PATHS[number % len(PATHS)]
        caller.send(path, questions[number].body(path, stream=True))
        callers.append(caller)
        if len(callers) % AT_A_TIME == 0 or len(callers) == count:
            await asyncio.gather(*(begin(one) for one in callers[-AT_A_TIME:]))
    begun = sum(len(caller.heard.at) == 2 for caller in callers)
    run.counts["idle streams"] = count
    run.expect(begun == count, f"only {begun} of {count} streams have begun")
    grown_mb = resident_mb(product.pids("web")) - before_mb
    run.figures["web_grew_by_mb"] = round(grown_mb, 1)
    run.figures["memory_of_a_stream_kb"] = round(grown_mb * 1024 / count, 1)
    run.figures["all_processes_mb"] = round(resident_mb([product.pid, *product.pids()]), 1)
    run.expect(
        grown_mb <= SPARE_MB + count * STREAM_KB / 1024,
        f"{count} streams made the web workers grow by {grown_mb:.0f} MB",
    )
    provider.open_gate("idle")
    async with asyncio.timeout(ALL_ENDED_WITHIN_S):
        heard = await asyncio.gather(*(caller.listen() for caller in callers))
    wrong = [one for one, question in zip(heard, questions, strict=True) if one.is_wrong(question)]
    run.expect(not wrong, f"{len(wrong)} idle streams ended wrong, {wrong[:1]}")
    unfinished = [one for one, question in zip(heard, questions, strict=True) if not one.is_right(question)]
    run.expect(not unfinished, f"{len(unfinished)} idle streams did not end properly, {unfinished[:1]}")
    for caller in callers:
        caller.leave()
    run.figures["web_afterwards_mb"] = round(resident_mb(product.pids("web")), 1)


async def begin(caller: Caller) -> None:
    """Hear the first two pieces, where there are any."""
    try:
        async with asyncio.timeout(30):
            await caller.head()
            while len(caller.heard.at) < 2 and await caller.next_piece() is not None:
                pass
    except (OSError, EOFError, TimeoutError) as error:
        caller.heard.error = f"it did not begin: {type(error).__name__}"


DRILL = Drill("streams", "many streams: none stalls, slow readers hurt nobody", run, long_within_s=900)
