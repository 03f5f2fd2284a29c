"""One tenant is answered from what another keeps, where that one grants it: no further, no longer."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace

import httpx
import pytest
from asgiref.sync import sync_to_async

from cache.entries import Scope
from orchestrator.answers import Answer
from orchestrator.core.errors import OnlyIfCached
from orchestrator.core.limits import Limit
from orchestrator.core.types import CacheControl, Caller, ChatRequest, Message
from orchestrator.models import Grant, Tenant
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from orchestrator.routes import MOST_OWNERS
from tests.fakes import FakeEngine
from tests.keys import issue_key

QUESTION = {"model": "tiny", "messages": [{"role": "user", "content": "What is 2+2?"}], "stream": False}


async def ask(caller: Caller, parts: Parts, text: str = "What is 2+2?", **fields: object) -> Answer:
    asked = ChatRequest(model="tiny", messages=(Message(role="user", content=text),), **fields)  # type: ignore[arg-type]
    begun = await answer(asked, caller, parts)
    async with aclosing(begun.chunks) as chunks:
        async for _ in chunks:
            pass
    return begun


@pytest.fixture
def owner(cast: dict[str, Caller]) -> Caller:
    return cast["alice"]


@pytest.fixture
def reader(cast: dict[str, Caller], owner: Caller) -> Caller:
    return replace(cast["charlie"], reads_from=((owner.tenant_id, owner.tenant),))


async def test_a_reader_is_answered_from_the_owners_cache(
    parts: Parts, engine: FakeEngine, owner: Caller, reader: Caller
) -> None:
    await ask(owner, parts)
    begun = await ask(reader, parts)
    assert (begun.entry.tier, begun.entry.granted_by, engine.calls) == ("memory", owner.tenant_id, 1)
    assert begun.entry.row()["granted_by_id"] == owner.tenant_id
    assert begun.hit is not None
    assert begun.entry.cache_key != begun.hit.entry.key.hash, "the owner's key is shown to nobody else"


async def test_what_is_done_in_the_models_place_is_a_part_of_the_question(
    parts: Parts, engine: FakeEngine, owner: Caller, reader: Caller
) -> None:
    engine.model = replace(engine.model, engine="openai", takes=engine.model.takes - {"stop"})
    await ask(owner, parts)
    engine.pieces = ("fo", "\n", "ur")
    assert (await ask(reader, parts, options={"stop": ["\n"]})).entry.granted_by is None
    await ask(owner, parts, options={"stop": ["x"]})
    assert (await ask(reader, parts, options={"stop": ["x"]})).entry.granted_by == owner.tenant_id


async def test_the_owner_is_not_answered_from_the_readers(parts: Parts, owner: Caller, reader: Caller) -> None:
    await ask(reader, parts)
    assert (await ask(owner, parts)).entry.tier == "miss"


async def test_ones_own_answer_comes_first(parts: Parts, engine: FakeEngine, owner: Caller, reader: Caller) -> None:
    await ask(reader, parts)
    await ask(owner, parts)
    begun = await ask(reader, parts)
    assert (begun.entry.tier, begun.entry.granted_by) == ("memory", None)


async def test_what_was_read_is_not_kept_for_the_reader(parts: Parts, owner: Caller, reader: Caller) -> None:
    await ask(owner, parts)
    for _ in range(3):
        await ask(reader, parts)
    held = await parts.cache.holding(Scope(tenant_id=reader.tenant_id))
    assert held["memory"] is not None
    assert held["memory"].entries == 0
    assert (await ask(replace(reader, reads_from=()), parts)).entry.tier == "miss"


async def test_a_purge_of_the_owners_is_one_for_the_reader_too(parts: Parts, owner: Caller, reader: Caller) -> None:
    await ask(owner, parts)
    await ask(reader, parts)
    await parts.cache.purge(Scope(tenant_id=owner.tenant_id))
    assert (await ask(reader, parts)).entry.tier == "miss"


@pytest.mark.parametrize("apart", [{"namespace": "support"}, {"options": {"seed": 7}}])
async def test_only_the_same_question_is_answered(
    parts: Parts, owner: Caller, reader: Caller, apart: dict[str, object]
) -> None:
    await ask(owner, parts)
    assert (await ask(reader, parts, **apart)).entry.tier == "miss"


async def test_what_the_reader_asks_of_the_cache_holds_for_the_owners_too(
    parts: Parts, owner: Caller, reader: Caller
) -> None:
    await ask(owner, parts)
    only = CacheControl(only_if_cached=True)
    assert (await ask(reader, parts, control=only)).entry.granted_by == owner.tenant_id
    with pytest.raises(OnlyIfCached):
        await ask(reader, parts, control=CacheControl(only_if_cached=True, max_age_s=-1))
    assert (await ask(reader, parts, control=CacheControl(read=False, write=False))).entry.tier == "bypass"


async def test_grants_do_not_pass_on(parts: Parts, owner: Caller, reader: Caller) -> None:
    """Who may read what the reader keeps may not read what the reader may."""
    await ask(owner, parts)
    await ask(reader, parts)
    third = Caller(tenant_id=99, tenant="third", reads_from=((reader.tenant_id, reader.tenant),))
    with pytest.raises(OnlyIfCached):
        await ask(third, parts, control=CacheControl(only_if_cached=True))


async def test_a_name_and_a_number_have_to_agree(parts: Parts, owner: Caller, reader: Caller) -> None:
    await ask(owner, parts)
    for wrong in ((owner.tenant_id, "other"), (owner.tenant_id + 7, owner.tenant)):
        with pytest.raises(OnlyIfCached):
            await ask(replace(reader, reads_from=(wrong,)), parts, control=CacheControl(only_if_cached=True))


async def test_no_more_owners_are_asked_than_a_request_has_time_for(
    parts: Parts, owner: Caller, reader: Caller
) -> None:
    await ask(owner, parts)
    others = tuple((1000 + number, f"other-{number}") for number in range(MOST_OWNERS))
    many = replace(reader, reads_from=(*others, *reader.reads_from))
    with pytest.raises(OnlyIfCached):
        await ask(many, parts, control=CacheControl(only_if_cached=True))


async def test_the_smallest_of_the_limits_bounds_what_a_tenant_keeps(owner: Caller) -> None:
    limits = [Limit(id=n, name=f"l{n}", kind="cache_bytes", each="tenant", amount=n * 1000) for n in (3, 2)]
    assert owner.cache_bytes is None
    assert (
        replace(owner, limits=(*limits, Limit(id=9, name="r", kind="requests", each="key", amount=1))).cache_bytes
        == 2000
    )


async def test_a_grant_holds_from_the_next_request_on_and_no_longer_than_it_is_there(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    """Over HTTP, with what the replay front keeps and what identity remembers."""
    own, other = [
        {"Authorization": f"Bearer {await sync_to_async(issue_key)('web', name)}"} for name in ("acme", "globex")
    ]
    assert (await client.post("/api/chat", json=QUESTION, headers=own)).status_code == 200
    only = other | {"Cache-Control": "only-if-cached"}
    assert (await client.post("/api/chat", json=QUESTION, headers=only)).status_code == 504

    acme, globex = [await Tenant.objects.aget(name=name) for name in ("acme", "globex")]
    grant = await Grant.objects.acreate(owner=acme, reader=globex)
    for _ in range(5):
        granted = await client.post("/api/chat", json=QUESTION, headers=only)
        assert granted.status_code == 200
        assert granted.headers["Cache-Status"] == 'orchestrator; hit; detail="memory, by grant"'
    await grant.adelete()
    assert (await client.post("/api/chat", json=QUESTION, headers=only)).status_code == 504
    assert engine.calls == 1
