"""Many tenants ask what others ask, or nearly: nobody is given what is another's, nor told of it by the clock."""

from __future__ import annotations

import ast
import asyncio
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
from django_redis.cache import RedisCache

from cache.entries import Entry, Hit, Scope
from cache.generation import Generation
from cache.inflight import InFlight
from cache.keys import key_to_keep, keys_for
from cache.purges import PurgeLog
from cache.tiered import TieredCache
from cache.tiers.memory import MemoryTier
from cache.tiers.redis import RedisTier
from cache.tiers.sqlite import SQLiteTier
from orchestrator.core.clock import Clock
from orchestrator.core.types import Caller, ChatRequest, Chunk, Done, Message, Model, Reply, Usage
from orchestrator.replay import Asked
from tests.drills.base import Drill, Run, running
from tests.drills.provider import ScriptedProvider
from tests.drills.question import PATHS, Question
from tests.drills.twins import WORDS, Asker, pair
from tests.product import PROJECT, Product
from tests.servers import RedisServer

PAIRS = (4_000, 1_000_000)
IN_EVERY_TIER = 10  # one pair in so many goes through Redis and SQLite, too
AT_ONCE = 16
SHARED = 5  # one in so many is asked at the same time
PURGED = 1000  # one in so many is followed by a purge
KEPT_S = 3600.0
REQUESTS = (300, 4_000)
TENANTS = ("acme", "acme-1", "acme-11", "reader")
GRANT = """
import django
django.setup()
from orchestrator.models import Grant, Tenant
Grant.objects.create(owner=Tenant.objects.get(name="acme"), reader=Tenant.objects.get(name="reader"))
"""
MAKE_FILE = """
import pathlib, sys, django
django.setup()
from cache.database import migrate
migrate(pathlib.Path(sys.argv[1]))
"""
LOOKS = (300, 6_000)  # of each kind, to be told apart by time
MOST_AUC = (0.65, 0.52)  # a coin's is 0.5; in the short form chance alone reaches 0.55


async def run(run: Run) -> None:
    """Keys, tiers, shared calls and the replay front's keys in this process; then the product, over HTTP."""
    async with tiers() as cache:
        await pairs(run, cache)
        await times_of_looks(run, cache)
    with ScriptedProvider() as provider, running(run, provider, ORCHESTRATOR_REQUIRE_KEYS=1) as product:
        credentials = [await asyncio.to_thread(product.issue_key, "drill", "--tenant", name) for name in TENANTS]
        await asyncio.to_thread(_execute, GRANT, product)
        async with httpx.AsyncClient(base_url=product.base_url, timeout=30) as client:
            await over_http(run, client, dict(zip(TENANTS, credentials, strict=True)))
            await times_over_http(run, client, dict(zip(TENANTS, credentials, strict=True)))


@asynccontextmanager
async def tiers() -> AsyncIterator[TieredCache]:
    """The cache as the product has it, on a Redis and in a folder of its own."""
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        file = Path(folder) / "cache.sqlite3"
        await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", MAKE_FILE, str(file)], cwd=PROJECT, check=True, timeout=60
        )
        redis = RedisServer().start()
        generation = Generation(Path(folder) / "generation")
        options = {"SERIALIZER": "cache.tiers.redis.Bytes", "SOCKET_CONNECT_TIMEOUT": 5.0, "SOCKET_TIMEOUT": 5.0}
        sqlite = SQLiteTier(file, clock, 256 * 1024**2)
        far = RedisTier(RedisCache(redis.url, {"OPTIONS": options}), clock, 5.0, redis.url)
        cache = TieredCache((MemoryTier(clock, 64 * 1024**2), far, sqlite), clock, generation, PurgeLog(sqlite))
        try:
            yield cache
        finally:
            await cache.aclose()
            generation.close()
            redis.stop()


async def pairs(run: Run, cache: TieredCache) -> None:
    """Pairs of askers who are nearly the same: what the first is answered, the second gets only if it may."""
    seen: dict[str, int] = {}  # key, and a hash of whose and what it is
    memory = TieredCache([MemoryTier(Clock(), 64 * 1024**2)], Clock(), _Still(), PurgeLog(None))  # type: ignore[arg-type]
    inflight = InFlight()
    far: list[tuple[Asker, Asker]] = []  # they wait for Redis and SQLite, so some at once
    total = run.pick(*PAIRS)
    for number in range(total):
        first, second = pair(run.random)
        for asker in (first, second):
            for key in keys_for(asker.request, asker.caller, asker.model):
                what = hash((asker.tenant, asker.question, key.cap))
                known = seen.setdefault(key.hash, what)
                run.counts["keys"] += 1
                _together(run, known == what, "a key was another's before:", asker)
        _replayed_apart(run, first, second)
        if number % IN_EVERY_TIER:
            await _kept_apart(run, memory, first, second)
        else:
            far.append((first, second))
        if len(far) == AT_ONCE or number % PURGED == 0:
            await asyncio.gather(*(_kept_apart(run, cache, *both) for both in far))
            far.clear()
        if number % SHARED == 0:
            await _called_apart(run, inflight, first, second)
        if number % PURGED == 0:
            await _purged_apart(run, cache, first, second)
        if number % (total // 10) == 0:
            run.say(f"{number:,} pairs")
            seen = {} if len(seen) > 400_000 else seen  # or it would take all memory there is
    await asyncio.gather(*(_kept_apart(run, cache, *both) for both in far))
    run.counts["pairs"] += total
    await memory.aclose()


def _together(run: Run, holds: bool, *about: object) -> None:
    """A crossing, unless it holds. What it is about is put into words only then: there are millions of these."""
    if not holds:
        run.counts["crossings"] += 1
        run.expect(False, " ".join(map(str, about)))


async def _kept_apart(run: Run, cache: TieredCache, first: Asker, second: Asker) -> None:
    await cache.put(_entry(first), cache.generation())
    for asker in (first, second):
        hit = await find(cache, asker)
        run.counts["looks"] += 1
        run.counts["found"] += hit is not None
        if asker is first:
            _together(run, hit is not None, "not found again:", asker)
        if hit is not None:
            tenant, question = _read(hit.entry.reply)
            run.counts["granted"] += tenant != asker.tenant
            _together(run, asker.may_have(tenant, question), hit.tier, asker, "got what is", tenant, question)


async def find(cache: TieredCache, asker: Asker) -> Hit | None:
    """As the pipeline does it: one's own, else what is granted."""
    callers = (asker.caller, *(_as(asker.caller, owner) for owner in asker.caller.reads_from))
    for caller in callers:
        keys = keys_for(asker.request, caller, asker.model)
        if hit := await cache.find(keys, asker.request.control, asker.request.cap):
            return hit
    return None


def _as(caller: Caller, owner: tuple[int, str]) -> Caller:
    return replace(caller, tenant_id=owner[0], tenant=owner[1])


async def _called_apart(run: Run, inflight: InFlight, first: Asker, second: Asker) -> None:
    """Both ask at once."""

    async def call(asker: Asker) -> AsyncGenerator[Chunk, None]:
        yield Chunk(text=_written(asker))

    def key(asker: Asker) -> tuple[str, int]:
        return keys_for(asker.request, asker.caller, asker.model)[-1].hash, 0

    joined = [(asker, *await inflight.join(key(asker), lambda asker=asker: call(asker))) for asker in (first, second)]
    for asker, chunks, leads in joined:
        said = [chunk.text async for chunk in chunks]
        run.counts["calls shared"] += not leads
        _together(run, said == [_written(asker)], asker, "heard another's call:", said)


def _replayed_apart(run: Run, first: Asker, second: Asker) -> None:
    """The replay front's own keys: the same for the same bytes of the same tenant and key, and else not."""

    def key(asker: Asker) -> tuple[object, ...]:
        body = _written(asker).encode("utf-8", "surrogatepass")  # no tenant in it: that comes from the credential
        asked = Asked(asker.request.endpoint, b"", body.partition(b"\n")[2], "", "", "", "", {})
        return asked.key(asker.caller.tenant_id, asker.caller.key_id)

    if key(first) == key(second):
        same = first.caller.tenant_id == second.caller.tenant_id and first.question == second.question
        _together(run, same, second, "is replayed what was told to", first)


async def _purged_apart(run: Run, cache: TieredCache, first: Asker, second: Asker) -> None:
    for asker in (first, second):
        await cache.put(_entry(asker), cache.generation())
    purged = await cache.purge(Scope(tenant_id=first.caller.tenant_id))
    run.expect(purged.is_complete, f"a purge was not complete: {purged.failed}")
    run.counts["purges"] += 1
    alone = replace(first, caller=replace(first.caller, reads_from=()))
    run.expect(await find(cache, alone) is None, "it was purged, and found")
    if second.caller.tenant_id != first.caller.tenant_id:
        run.expect(await find(cache, second) is not None, "another tenant's purge took it")


def _entry(asker: Asker) -> Entry:
    tokens = Usage(prompt_tokens=1, completion_tokens=1)
    reply = Reply(model=asker.model.name, text=_written(asker), done=Done(reason="stop", usage=tokens))
    key = key_to_keep(keys_for(asker.request, asker.caller, asker.model), reply.done)
    assert key is not None
    now = time.time()
    return Entry(key, reply, now, now + KEPT_S)


def _written(asker: Asker) -> str:
    """An answer that says for whom it was made, and to what."""
    return f"{asker.caller.tenant_id} {asker.caller.tenant!r}\n{asker.question}"


def _read(reply: Reply) -> tuple[tuple[int, str], str]:
    owner, _, question = reply.text.partition("\n")
    number, _, name = owner.partition(" ")
    return (int(number), str(ast.literal_eval(name))), question


class _Still:
    """No purge ever."""

    def current(self) -> int:
        return 0


async def over_http(run: Run, client: httpx.AsyncClient, keys: dict[str, str]) -> None:
    """The whole product: whoever is told that it was a hit, asked it before, or was granted it."""
    asking = Asking(run, client, keys)
    words = [word for word in WORDS if "\x00" not in word and "\ud800" not in word]
    for number in range(run.pick(*REQUESTS)):
        question = Question(name=f"{run.random.choice(words)} {number // 40}", pieces=1)
        namespace, path = run.random.choice(("", "a", "a:b", "b")), run.random.choice(PATHS)
        names = run.random.sample(TENANTS, run.random.choice((1, 1, 3)))  # now and then at once
        await asyncio.gather(*(asking.ask(name, question, namespace, path) for name in names))
    for name in TENANTS:
        stats = (await client.get("/api/stats", headers={"Authorization": f"Bearer {keys[name]}"})).json()
        told = stats["requests"]  # what is not yet written is missing
        run.expect(told <= asking.count[name], f"{name} is told of {told} requests, and made {asking.count[name]}")


class Asking:
    """Asks as one tenant or another, and knows who has asked what."""

    def __init__(self, run: Run, client: httpx.AsyncClient, keys: dict[str, str]) -> None:
        self._run, self._client, self._keys = run, client, keys
        self._asked: dict[str, set[tuple[str, str]]] = {name: set() for name in keys}
        self.count: Counter[str] = Counter()

    async def ask(self, name: str, question: Question, namespace: str, path: str) -> None:
        """Ask, and judge where the answer came from. A tenant asks one thing at a time."""
        run, what = self._run, (question.name, namespace)
        has_asked = what in self._asked[name]
        self._asked[name].add(what)
        self.count[name] += 1
        run.counts["requests"] += 1
        headers = {"Authorization": f"Bearer {self._keys[name]}", "X-Orchestrator-Cache-Namespace": namespace}
        body = question.body(path, stream=run.random.random() < 0.5)
        response = await self._client.post(path, json=body, headers=headers)
        if not run.expect(response.status_code == 200, f"{response.status_code}: {response.text[:200]}"):
            return
        status = response.headers["Cache-Status"]
        run.counts["hits over HTTP"] += "hit" in status
        if "by grant" in status:
            run.counts["hits by grant over HTTP"] += 1
            _together(run, name == "reader" and what in self._asked["acme"], name, "was granted", what)
        elif "hit" in status or "collapsed" in status:
            _together(run, has_asked, name, "was told", status, "of", what, "which it never asked")


async def times_of_looks(run: Run, cache: TieredCache) -> None:
    """A tenant looks for what another keeps, and for what nobody does, in turn."""
    owner, stranger = Caller(tenant_id=1, tenant="owner"), Caller(tenant_id=2, tenant="stranger")
    model = Model(name="tiny:latest", digest="d" * 64, engine="llamacpp")
    looks = run.pick(*LOOKS)
    askers = [
        Asker(owner, model, ChatRequest(model="tiny", messages=(Message(role="user", content=f"{number:08}?"),)))
        for number in range(2 * looks)
    ]
    kept = set(run.random.sample(range(2 * looks), looks))
    for number in kept:
        await cache.put(_entry(askers[number]), cache.generation())
    took: tuple[list[float], list[float]] = [], []
    for number in run.random.sample(range(2 * looks), 2 * looks):
        asker = replace(askers[number], caller=stranger)
        keys = keys_for(asker.request, asker.caller, asker.model)
        began = time.perf_counter()
        hit = await cache.find(keys, asker.request.control, None)
        took[number in kept].append(time.perf_counter() - began)
        _together(run, hit is None, "a stranger found what is another's")
    _told_apart(run, "looks", *took)


async def times_over_http(run: Run, client: httpx.AsyncClient, keys: dict[str, str]) -> None:
    """The same through the product, which answers that it is not in the cache."""
    looks = run.pick(LOOKS[0] // 2, LOOKS[1])
    questions = [Question(name=f"{number:08}?", pieces=1) for number in range(2 * looks)]
    kept = run.random.sample(range(2 * looks), looks)
    own = {"Authorization": f"Bearer {keys['acme']}"}
    for at in range(0, looks, 20):
        await asyncio.gather(
            *(
                client.post(PATHS[0], json=questions[number].body(PATHS[0], stream=False), headers=own)
                for number in kept[at : at + 20]
            )
        )
    among = set(kept)
    took: tuple[list[float], list[float]] = [], []
    headers = {"Authorization": f"Bearer {keys['acme-1']}", "Cache-Control": "only-if-cached"}
    for number in run.random.sample(range(2 * looks), 2 * looks):
        body = questions[number].body(PATHS[0], stream=False)
        began = time.perf_counter()
        response = await client.post(PATHS[0], json=body, headers=headers)
        took[number in among].append(time.perf_counter() - began)
        _together(run, response.status_code == 504, response.status_code, "for what only another has")
    _told_apart(run, "http", *took)


def _told_apart(run: Run, name: str, nobodys: Sequence[float], anothers: Sequence[float]) -> None:
    """How well the time tells the one kind from the other."""
    auc = rank_statistic(nobodys, anothers)
    spread = math.sqrt((len(nobodys) + len(anothers) + 1) / (12 * len(nobodys) * len(anothers)))
    told = max(auc, 1 - auc)
    run.figures[f"{name}_auc_share"] = round(told, 4)
    run.figures[f"{name}_auc_95_percent_within_share"] = round(1.96 * spread, 4)
    run.timed(f"{name}_nobodys", nobodys)
    run.timed(f"{name}_anothers", anothers)
    most = MOST_AUC[run.is_long]
    words = f"{name}: the time tells of another's answers: AUC {told:.3f} ± {1.96 * spread:.3f}, {most} is allowed"
    run.expect(told <= most, words)


def rank_statistic(first: Sequence[float], second: Sequence[float]) -> float:
    """How often one of `second` is larger than one of `first`; a tie counts half.

    Source: Mann and Whitney, 1947; it is the area under the curve of a classifier by threshold.
    """
    ordered = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    wins, before, at = 0.0, 0, 0
    while at < len(ordered):
        end = at
        while end < len(ordered) and ordered[end][0] == ordered[at][0]:
            end += 1
        alike = [kind for _, kind in ordered[at:end]]
        mine = sum(alike)
        wins += mine * (before + (len(alike) - mine) / 2)
        before += len(alike) - mine
        at = end
    return wins / (len(first) * len(second))


def _execute(code: str, product: Product) -> None:
    env = product.environment() | {"DJANGO_SETTINGS_MODULE": "orchestrator.settings"}
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=env, check=True, timeout=60)


DRILL = Drill(
    name="isolation",
    about="nobody is given what is another tenant's, nor told of it by the clock",
    run=run,
    long_within_s=3600,
)
