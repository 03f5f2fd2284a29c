"""How long one caller waits for each cache tier: a find and a put, with a real Redis and a real file.

Prints one JSON line of milliseconds. Run by `make bench`.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import quantiles

ROUNDS = 2000
TEXT_BYTES = 1000


def main() -> int:
    """Make a data directory, start a Redis in it, measure, print."""
    from orchestrator.supervisor.redis import location, server_program

    server = server_program()
    if server is None:
        print("The benchmark needs a redis-server. Type: apt-get install redis-server", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="orch-") as folder:
        socket = Path(folder) / "redis.sock"
        os.environ["ORCHESTRATOR_DATA_DIR"] = folder
        os.environ["REDIS_URL"] = location(socket)
        command = [server, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
        redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not socket.exists():
                time.sleep(0.01)
            return measure_all()
        finally:
            redis.terminate()
            redis.wait(10)


def measure_all() -> int:
    """Measure every tier of the cache that the settings describe."""
    import uvloop
    from django.core.management import call_command

    os.environ["DJANGO_SETTINGS_MODULE"] = "orchestrator.settings"
    import django

    django.setup()
    call_command("migrate", database="cache", verbosity=0)
    uvloop.run(measure())
    return 0


async def measure() -> None:
    """Put and get in each tier, one after the other."""
    from django.conf import settings
    from django.core.cache import caches

    from cache.entries import CacheKey, Entry
    from cache.tiers.memory import MemoryTier
    from cache.tiers.redis import RedisTier
    from cache.tiers.sqlite import SQLiteTier
    from orchestrator.core.clock import Clock
    from orchestrator.core.types import Done, Reply, Usage

    clock = Clock()
    tiers = (
        MemoryTier(clock, settings.CACHE_MEMORY),
        RedisTier(caches.create_connection("redis"), clock, settings.REDIS_TIMEOUT_S),
        SQLiteTier(Path(str(settings.DATABASES["cache"]["NAME"])), clock, settings.CACHE_DISK),
    )
    reply = Reply(
        model="m",
        text=os.urandom(TEXT_BYTES // 2).hex(),
        done=Done(reason="stop", usage=Usage(prompt_tokens=9, completion_tokens=9)),
    )
    entries = [
        Entry(CacheKey(os.urandom(32).hex(), 1, "", "m"), reply, clock.now(), clock.now() + 600) for _ in range(ROUNDS)
    ]
    found = {}
    for tier in tiers:
        puts = await times(tier.put, entries)
        await asyncio.sleep(1)  # what was put in line is written now: gets must come from the file
        found[tier.name] = {"get": await times(tier.get, [entry.key for entry in entries]), "put": puts}
        await tier.aclose()
    print(json.dumps({"bench": "tiers", "text_bytes": TEXT_BYTES, "rounds": ROUNDS, "callers": 1, "ms": found}))


async def times(call: Callable[..., Awaitable[object]], arguments: Sequence[object]) -> dict[str, float]:
    """Percentiles of how long `call` takes, in milliseconds."""
    took = []
    for argument in arguments:
        began = time.perf_counter()
        if await call(argument) in {None, False}:
            raise RuntimeError("a tier that should have it has not")
        took.append(1000 * (time.perf_counter() - began))
    cuts = quantiles(took, n=100)
    return {"p50": round(cuts[49], 4), "p99": round(cuts[98], 4)}


if __name__ == "__main__":
    sys.exit(main())
