"""Everything that is wrong is thrown at the product, byte by byte and made up; it refuses, and goes on answering."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from tests.asking import HONEST, LONGEST_S, OPERATIONS, ask_all, complaints
from tests.drills import corpus
from tests.drills.base import Drill, Run, running
from tests.drills.corpus import Sent
from tests.drills.load import GIVES_UP_S, Asked, ask, nobody_is_wrong
from tests.drills.provider import ScriptedProvider
from tests.drills.question import MODEL, PATHS, Question
from tests.product import Product, registry_kept

AT_ONCE = 4
PROBE_EVERY_S = 0.1
# Bodies of 30 MB are read in several threads, and each thread's heap keeps some room for the next one.
MOST_GROWN_MB = 150
NO_HTTP = b"Invalid HTTP request received."


async def run(run: Run) -> None:
    """The corpus, then requests made up from the description; a probe asks what it knows the answer to meanwhile."""
    with ScriptedProvider() as provider, running(run, provider, ORCHESTRATOR_BODY_TIMEOUT_S=1) as product:
        throwing = Throwing(run, product)
        await throwing.probe()  # and everything is imported
        before = _memory_mb(product)
        probing = asyncio.create_task(throwing.keep_probing())
        try:
            await throwing.throw(chain(corpus.bodies(), corpus.paths(), corpus.heads(), corpus.framing()))
            await throwing.throw(chain(corpus.pipelined(), corpus.packed()))
            await throwing.throw(_some(run, corpus.fields(), run.pick(1000, 10**9)))
            await throwing.throw(_some(run, corpus.local(), run.pick(12, 10**9)))
            await throwing.throw(corpus.deep())
            await throwing.throw(_some(run, corpus.large(), run.pick(6, 10**9)), at_once=1)
            key = product.issue_key("drill", "--admin")
            with registry_kept(product, key):
                await throwing.throw(_some(run, corpus.managing(key), run.pick(300, 10**9)))
                await asyncio.to_thread(_make_up, run, product, key)
        finally:
            probing.cancel()
        throwing.asked += [await ask(product.base_url, Question(name="afterwards"), path) for path in PATHS]
        throwing.judge()
        grown = run.figures["grown_mb"] = round(_memory_mb(product) - before, 1)
        run.expect(grown <= MOST_GROWN_MB, f"the web worker has {grown:g} MB more than before")
        run.expect(not (traced := _traces(product)), f"the log has stack traces: {traced[:1]}")


def _some(run: Run, all_of_them: Iterable[Sent], most: int) -> list[Sent]:
    found = list(all_of_them)
    return found if len(found) <= most else run.random.sample(found, most)


def _make_up(run: Run, product: Product, key: str) -> None:
    """Requests made up from docs/openapi.json."""
    headers = {"Authorization": f"Bearer {key}"}
    for method, path in OPERATIONS:
        run.counts["made up"] += ask_all(
            method,
            path,
            base_url=product.base_url,
            chatting=[f"openai/{MODEL}"],
            headers=headers if path.startswith("/api/admin/") else {},
            tell=lambda complaint: _note(run, complaint),
            examples=run.pick(12, 1000),
            of=run.seed,
        )


def _note(run: Run, complaint: str) -> None:
    run.expect(False, complaint)


class Throwing:
    """What is thrown, and what the probe heard meanwhile."""

    def __init__(self, run: Run, product: Product) -> None:
        self._run = run
        self._product = product
        self._took: list[float] = []
        self.asked: list[Asked] = []

    async def throw(self, all_of_them: Iterable[Sent], *, at_once: int = AT_ONCE) -> None:
        """Throw them, so many at once, and look at every answer."""
        waiting = iter(all_of_them)

        async def keep_throwing() -> None:
            for sent in waiting:
                await self._throw(sent)

        await asyncio.gather(*(keep_throwing() for _ in range(at_once)))

    async def _throw(self, sent: Sent) -> None:
        self._run.counts["thrown"] += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(LONGEST_S):
                data = await _exchange(self._product.base_url, sent.data)
        except TimeoutError:
            self._run.expect(False, f"{sent.name}: no end within {LONGEST_S:g} s")
            return
        self._took.append(time.monotonic() - began)
        wrong = _wrong(sent, data)
        self._run.expect(not wrong, f"{sent.name}: {'; '.join(wrong)[:300]}; it said {data[:300]!r}")

    async def probe(self) -> None:
        """Ask a question that is new, and one that is known, and remember what was heard."""
        count = len(self.asked)
        for name in (f"new-{count}", f"known-{count % 7}"):
            path = PATHS[count % len(PATHS)]
            self.asked.append(await ask(self._product.base_url, Question(name=name), path, stream=count % 4 > 1))

    async def keep_probing(self) -> None:
        """Probe until it is cancelled."""
        while True:
            await self.probe()
            await asyncio.sleep(PROBE_EVERY_S)

    def judge(self) -> None:
        """Every probe was answered, and rightly."""
        run = self._run
        nobody_is_wrong(run, self.asked)
        failed = [one for one in self.asked if not one.heard.is_right(one.question)]
        run.expect(not failed, f"{len(failed)} of {len(self.asked)} probes without a right answer: {failed[:1]}")
        run.timed("probe", [one.took_s for one in self.asked])
        run.timed("thrown", self._took)
        run.in_time(max(one.took_s for one in self.asked), GIVES_UP_S, "a probe")


async def _exchange(base_url: str, data: bytes) -> bytes:
    """Send the bytes, and return all that comes until the connection is closed, however that is done."""
    host, _, port = base_url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def send() -> None:
        with suppress(OSError):
            writer.write(data)
            await writer.drain()

    sending = asyncio.create_task(send())
    heard = b""
    try:
        with suppress(OSError):
            while piece := await reader.read(2**16):
                heard += piece
        return heard
    finally:
        sending.cancel()
        writer.transport.abort()


def _wrong(sent: Sent, data: bytes) -> list[str]:
    """What is wrong with what came."""
    try:
        # The server itself answers what is no HTTP, and takes no notice of a method.
        answers = list(_answers(data, is_head=sent.method == "HEAD" and not data.endswith(NO_HTTP)))
    except ValueError as error:
        return [f"no HTTP: {error}"]
    found = [] if len(answers) >= sent.answers else [f"{len(answers)} answers, not {sent.answers}"]
    for status, headers, body in answers:
        if "x-injected" in headers:
            found.append("a header was injected")
        if sent.path:
            found += complaints(sent.method, sent.path, status, headers, body)
        elif (status >= 500 and status not in HONEST) or b"Traceback" in body:
            found.append(f"status {status}, {body[:100]!r}")
    return found


def _answers(data: bytes, *, is_head: bool) -> Iterator[tuple[int, dict[str, str], bytes]]:
    """The responses that were sent: status, headers, body. Raises ValueError for what is none."""
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        version, _, status = start.partition(" ")
        if not end or version not in {"HTTP/1.1", "HTTP/1.0"}:
            raise ValueError(f"a response that begins with {start[:60]!r}")
        if status.startswith("1"):
            continue
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body, data = (b"", data) if is_head else _body(headers, data)
        yield int(status[:3]), headers, body


def _body(headers: dict[str, str], data: bytes) -> tuple[bytes, bytes]:
    """A response's body, and what comes after it."""
    if headers.get("transfer-encoding") != "chunked":
        size = int(headers["content-length"]) if "content-length" in headers else len(data)
        if len(data) < size:
            raise ValueError(f"{len(data)} bytes of {size}")
        return data[:size], data[size:]
    body = b""
    while True:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        body, end, data = body + data[:size], data[size : size + 2], data[size + 2 :]
        if end != b"\r\n":
            raise ValueError("a chunk that does not end")
        if not size:
            return body, data


def _memory_mb(product: Product) -> float:
    """What the web worker has in memory."""
    kilobytes = 0
    for pid in product.pids("web"):
        status = Path(f"/proc/{pid}/status").read_text()
        kilobytes += int(status.split("VmRSS:")[1].split()[0])
    return kilobytes / 1024


def _traces(product: Product) -> list[str]:
    """Faults of ours that the log knows of."""
    _, *found = product.logs().split("Traceback (most recent call last)")
    return [one[:1500] for one in found]


DRILL = Drill("fuzz", "everything that is wrong is refused, and the rest answered", run, long_within_s=900)
