"""What every tier does, tried on memory, a real Redis and a real SQLite file alike."""

from cache.entries import Entry, Holding, Scope
from cache.tiers.base import Tier
from orchestrator.core.types import Done, Model, Reply, TokenLogprob, ToolCall, Usage
from tests.cache.conftest import ALICE, BOB, CHARLIE, HandClock, MakeEntry, reply


async def test_what_was_put_is_found_at_once(tier: Tier, make_entry: MakeEntry):
    entry = make_entry()
    assert await tier.put(entry)
    assert await tier.get(entry.key) == entry


async def test_what_was_not_put_is_not_found(tier: Tier, make_entry: MakeEntry):
    await tier.put(make_entry("What is 2+2?"))
    assert await tier.get(make_entry("What is 2+3?").key) is None


async def test_an_answer_comes_back_whole(tier: Tier, make_entry: MakeEntry):
    rich = Reply(
        model="tiny:latest",
        text="größer 🦙\x00\n" * 300,
        thinking="hm",
        tool_calls=(ToolCall(id="1", name="add", arguments={"a": [1, 2.5, None, True], "b": {"c": "d"}}),),
        logprobs=(TokenLogprob(token="g", logprob=-0.5, bytes=(103,), top=(TokenLogprob(token="h", logprob=-1.5),)),),
        done=Done(
            reason="stop", usage=Usage(prompt_tokens=3, completion_tokens=9, eval_ns=10**12), context=(1, 50_000)
        ),
        of=("tiny:latest", "d" * 64, "2026-01-01"),
    )
    entry = make_entry(answer=rich)
    await tier.put(entry)
    assert await tier.get(entry.key) == entry


async def test_alice_and_bob_share_and_charlie_never_sees_it(tier: Tier, make_entry: MakeEntry):
    await tier.put(make_entry(caller=ALICE))
    assert await tier.get(make_entry(caller=BOB).key)
    assert await tier.get(make_entry(caller=CHARLIE).key) is None


async def test_a_newer_answer_takes_the_place_of_an_older_one(tier: Tier, make_entry: MakeEntry, clock: HandClock):
    await tier.put(make_entry(answer=reply("four")))
    clock.advance(1)
    newer = make_entry(answer=reply("4"))
    await tier.put(newer)
    assert await tier.get(newer.key) == newer
    assert (await settled_holding(tier)).entries == 1


async def test_an_answer_expires(tier: Tier, make_entry: MakeEntry, clock: HandClock):
    entry = make_entry(ttl_s=60)
    await tier.put(entry)
    clock.advance(59)
    assert await tier.get(entry.key)
    clock.advance(2)
    assert await tier.get(entry.key) is None


async def test_a_clock_set_back_makes_nothing_expire_and_nothing_immortal(
    tier: Tier, make_entry: MakeEntry, clock: HandClock
):
    entry = make_entry(ttl_s=3600)
    await tier.put(entry)
    clock.set_back(600)
    assert await tier.get(entry.key)
    clock.set_back(10 * 365 * 86400)
    assert await tier.get(entry.key) is None


async def test_a_purge_drops_its_scope_and_nothing_else(tier: Tier, make_entry: MakeEntry):
    other_model = Model(name="big:latest", digest="e" * 64, engine="llamacpp")
    entries = {
        "alice": make_entry(),
        "charlie": make_entry(caller=CHARLIE),
        "drafts": make_entry(namespace="drafts"),
        "big": make_entry(model=other_model),
    }
    scopes = {
        "charlie": Scope(tenant_id=CHARLIE.tenant_id),
        "drafts": Scope(namespace="drafts"),
        "big": Scope(model=other_model.name),
        "alice": Scope(hash=entries["alice"].key.hash),
    }
    for entry in entries.values():
        await tier.put(entry)
    left = set(entries)
    for name, scope in scopes.items():
        assert await tier.purge(scope) == 1
        left.discard(name)
        assert {name for name, entry in entries.items() if await tier.get(entry.key)} == left


async def test_a_scope_of_several_fields_means_all_of_them(tier: Tier, make_entry: MakeEntry):
    await tier.put(make_entry(namespace="drafts"))
    assert await tier.purge(Scope(tenant_id=CHARLIE.tenant_id, namespace="drafts")) == 0
    assert await tier.purge(Scope(tenant_id=ALICE.tenant_id, namespace="drafts")) == 1


async def test_the_empty_namespace_is_a_namespace(tier: Tier, make_entry: MakeEntry):
    await tier.put(make_entry())
    await tier.put(make_entry(namespace="drafts"))
    assert await tier.purge(Scope(namespace="")) == 1
    assert await tier.get(make_entry(namespace="drafts").key)


async def test_an_empty_scope_is_everything(tier: Tier, make_entry: MakeEntry):
    for number in range(600):
        await tier.put(make_entry(f"What is {number}?"))
    assert await tier.purge(Scope()) == 600
    assert await tier.holding(Scope()) == Holding(0, 0)


async def test_a_hash_with_wildcards_matches_nothing(tier: Tier, make_entry: MakeEntry):
    await tier.put(make_entry())
    for wild in ("*", "?" * 64, "[0-9a-f]*", "%", "\\*"):
        assert await tier.purge(Scope(hash=wild)) == 0


async def test_it_counts_what_it_holds(tier: Tier, make_entry: MakeEntry):
    for number in range(5):
        await tier.put(make_entry(f"What is {number}?"))
    await tier.put(make_entry(caller=CHARLIE))
    everything = await settled_holding(tier)
    assert everything.entries == 6
    hers = await tier.holding(Scope(tenant_id=ALICE.tenant_id))
    assert hers.entries == 5
    assert 0 < hers.bytes <= everything.bytes


async def settled_holding(tier: Tier) -> Holding:
    """What it holds once nothing waits to be written."""
    if (flushing := getattr(tier, "_flushing", None)) is not None:
        await flushing
    return await tier.holding(Scope())


def test_an_entry_from_a_capped_key_serves_that_cap_only(make_entry: MakeEntry):
    cut: Entry = make_entry(answer=reply("fo", reason="length", tokens=7), options={"num_predict": 7})
    assert cut.key.cap == 7
    assert cut.serves(7)
    assert not cut.serves(8)
    assert not cut.serves(None)
