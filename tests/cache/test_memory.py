"""The memory tier keeps its bound, and keeps what is asked for."""

import gc
import tracemalloc

from cache.entries import Scope
from cache.tiers.memory import MemoryTier
from orchestrator.core.types import Done, MadeBy, Reply, TokenLogprob, ToolCall, Usage
from tests.cache.conftest import HandClock, MakeEntry, reply

LIMIT = 1024**2


async def test_it_stays_within_its_bytes(clock: HandClock, make_entry: MakeEntry):
    tier = MemoryTier(clock, LIMIT)
    for number in range(3000):
        await tier.put(make_entry(f"What is {number}?", reply("x" * (number % 2000))))
        assert (await tier.holding(Scope())).bytes <= LIMIT


def _varied(number: int) -> Reply:
    usage = Usage(completion_tokens=1000 + number)
    maker = MadeBy(
        request_id=f"{number:032}",
        is_paid=True,
        cost_microusd=1000 + number,
        usage=Usage(prompt_tokens=2000 + number, completion_tokens=3000 + number) if number % 2 else None,
    )
    done = Done(reason="stop", usage=usage, made_by=maker, context=tuple(range(1000, 1000 + number % 50)))
    if number % 3 == 0:
        of = (f"tiny:{number}", f"{number:064}", f"{number:010}") if number % 2 else ()
        return Reply(model=f"tiny:{number}", text=f"{number} " * (number % 500), done=done, of=of)
    if number % 3 == 1:
        call = ToolCall(
            id=str(number), name=f"add {number}", arguments={f"a{number}": [number * 1000, {"b": str(number)}]}
        )
        return Reply(model=f"tiny:{number}", tool_calls=(call,), done=done)
    logprob = TokenLogprob(
        token=f"t{number}", logprob=-number / 7, top=(TokenLogprob(token=f"u{number}", logprob=-1.0),)
    )
    return Reply(model=f"tiny:{number}", text=f"größer{number}", thinking="🦙" * 20, logprobs=(logprob,) * 1, done=done)


OURS = ("*/cache/*.py", "*/orchestrator/core/*.py", "<string>")


async def test_its_own_count_is_no_less_than_what_the_memory_really_takes(clock: HandClock, make_entry: MakeEntry):
    gc.collect()
    tracemalloc.start()
    try:
        tier = MemoryTier(clock, LIMIT)
        for number in range(2000):
            await tier.put(make_entry(f"What is {number}?", _varied(number)))
        gc.collect()
        # What is made here and in the cache; threads that other tests left may take some meanwhile.
        made = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, path) for path in OURS])
    finally:
        tracemalloc.stop()
    taken = sum(each.size for each in made.statistics("filename"))
    counted = (await tier.holding(Scope())).bytes
    assert counted > 0.9 * LIMIT
    assert 0.5 * counted < taken <= counted * 1.05


async def test_what_is_asked_for_again_survives_a_flood_of_questions_asked_once(
    clock: HandClock, make_entry: MakeEntry
):
    tier = MemoryTier(clock, LIMIT)
    favourites = [make_entry(f"Favourite {number}") for number in range(20)]
    for entry in favourites:
        await tier.put(entry)
    for number in range(5000):
        if number % 50 == 0:
            for entry in favourites:
                await tier.get(entry.key)
        await tier.put(make_entry(f"Once {number}"))
    assert all([await tier.get(entry.key) for entry in favourites])


async def test_one_huge_answer_does_not_wash_out_the_rest(clock: HandClock, make_entry: MakeEntry):
    tier = MemoryTier(clock, LIMIT)
    small = make_entry("small")
    await tier.put(small)
    assert not await tier.put(make_entry("huge", reply("x" * LIMIT)))
    assert await tier.get(small.key)


async def test_an_answer_that_grew_too_large_does_not_leave_the_old_one_behind(clock: HandClock, make_entry: MakeEntry):
    tier = MemoryTier(clock, LIMIT)
    old = make_entry(answer=reply("old"))
    await tier.put(old)
    await tier.put(make_entry(answer=reply("x" * LIMIT)))
    assert await tier.get(old.key) is None


async def test_whatever_is_done_in_whatever_order_the_count_is_right(clock: HandClock, make_entry: MakeEntry):
    tier = MemoryTier(clock, 64 * 1024)
    for number in range(2000):
        entry = make_entry(f"What is {number * 7 % 60}?", reply("x" * (number * 13 % 900)), ttl_s=20 + number % 40)
        await tier.put(entry)
        await tier.get(make_entry(f"What is {number * 11 % 60}?").key)
        if number % 97 == 0:
            await tier.purge(Scope(hash=entry.key.hash))
        clock.advance(1)
    held = await tier.holding(Scope())
    assert held.entries
    assert await tier.purge(Scope()) == held.entries
    assert (await tier.holding(Scope())).bytes == 0
