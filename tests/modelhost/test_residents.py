"""Which models are loaded, with real children."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.errors import BadRequest, Busy, ModelLoadFailed, ModelNotFound, TooMany
from orchestrator.core.turns import Turn
from orchestrator.core.types import ChatRequest, Message
from orchestrator.modelhost import residents as residents_module
from orchestrator.modelhost.embedded import install_embedded
from orchestrator.modelhost.residents import BUSY, Bounds, Residents
from orchestrator.modelhost.store import Store
from orchestrator.modelhost.threads import Remembered
from tests.modelhost.files import packaged
from tests.modelhost.hosting import is_running

USUAL = Bounds(
    memory=2 * 1024**3,
    models=0,
    slots=2,
    context=512,
    queue=16,
    keep_alive_s=300,
    load_timeout_s=60,
    threads=1,
)
Make = Callable[..., Awaitable[Residents]]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The same file under three names."""
    store = Store(tmp_path_factory.mktemp("twins"))
    install_embedded(store)
    for name in ("one", "two", "three"):
        store.install(name, packaged(), system=name)
    return store


@pytest.fixture
async def make(twins: Store, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes residents with bounds of one's choice."""
    made: list[Residents] = []

    async def make(**bounds: Any) -> Residents:
        made.append(Residents(twins, replace(USUAL, **bounds), Remembered(tmp_path / "threads.json")))
        return made[-1]

    yield make
    for residents in made:
        await residents.close()


def asked(name: str, *, tokens: int = 2, **fields: Any) -> ChatRequest:
    options = {"temperature": 0, "num_predict": tokens, **fields.pop("options", {})}
    return ChatRequest(
        model=name,
        messages=(Message(role="user", content="Tell me a long story about the sea."),),
        options=options,
        **fields,
    )


async def answer(residents: Residents, request: ChatRequest) -> bytes:
    async with aclosing(residents.answer(request)) as lines:
        return b"".join([line async for line in lines])


@asynccontextmanager
async def taken(residents: Residents) -> AsyncIterator[None]:
    """Both places of the model `one` are taken for as long as this lasts: who answers there is not read on."""
    async with (
        aclosing(residents.answer(asked("one", turn=Turn(tenant=1)))) as first,
        aclosing(residents.answer(asked("one", turn=Turn(tenant=1)))) as second,
    ):
        for lines in (first, second):
            await anext(lines)
        yield


def names(residents: Residents) -> list[str]:
    return [one["name"] for one in residents.loaded()]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.005)


async def test_the_least_recently_used_gives_way_when_memory_is_full(make: Make, twins: Store):
    model = twins.find("one")
    assert model
    residents = await make(memory=2 * model.header.memory(512, 2) + 1)  # room for two
    for name in ("one", "two", "one"):
        await answer(residents, asked(name))
    pids = {one["name"]: one["pid"] for one in residents.loaded()}
    await answer(residents, asked("three"))
    assert sorted(names(residents)) == ["one:latest", "three:latest"]
    assert not is_running(pids["two:latest"])
    assert is_running(pids["one:latest"])


async def test_what_is_being_loaded_is_told_until_it_is(make: Make):
    residents = await make()
    assert residents.loading() == []
    loads = asyncio.create_task(residents.load("one", None, {}))
    await until(lambda: residents.loading() == ["one:latest"])
    await loads
    assert (residents.loading(), names(residents)) == ([], ["one:latest"])


async def test_no_more_models_are_loaded_than_allowed(make: Make):
    residents = await make(models=1)
    for name in ("one", "two"):
        await answer(residents, asked(name))
    assert names(residents) == ["two:latest"]


async def test_a_busy_model_finishes_before_it_gives_way(make: Make):
    residents = await make(models=1)
    running = asyncio.create_task(answer(residents, asked("one", tokens=40)))
    await until(lambda: bool(residents.loaded()))
    await answer(residents, asked("two"))
    assert running.done()
    assert b'"completion_tokens":40' in await running
    assert names(residents) == ["two:latest"]


async def test_a_model_that_others_keep_busy_still_gives_way(make: Make):
    residents = await make(models=1)
    is_over = False

    async def keep_asking() -> None:
        while not is_over:
            await answer(residents, asked("one", tokens=8))

    crowd = [asyncio.create_task(keep_asking()) for _ in range(3)]
    await until(lambda: bool(residents.loaded()))
    async with asyncio.timeout(60):
        await answer(residents, asked("two"))
    is_over = True
    await asyncio.gather(*crowd)


async def test_loads_of_one_model_are_shared(make: Make):
    residents = await make()
    await asyncio.gather(*(answer(residents, asked("one")) for _ in range(6)))
    (one,) = residents.loaded()
    assert one["users"] == 0


async def test_more_than_may_wait_are_told_to_come_back(make: Make):
    residents = await make(queue=3)
    results = await asyncio.gather(*(answer(residents, asked("one")) for _ in range(8)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, Busy)]
    assert len(refused) == 5
    assert str(refused[0]) == BUSY
    assert refused[0].retry_after_s
    assert b'"done"' in await answer(residents, asked("one"))


async def test_who_finds_no_room_in_time_is_told_to_come_back(make: Make):
    residents = await make(models=1)
    async with aclosing(residents.answer(asked("one", tokens=400))) as lines:
        await anext(lines)
        residents._bounds = replace(residents._bounds, load_timeout_s=0.01)
        with pytest.raises(Busy, match="no room for two:latest") as refused:
            await answer(residents, asked("two"))
    assert refused.value.retry_after_s


async def test_the_queue_is_also_bounded_once_the_model_is_loaded(make: Make):
    residents = await make(queue=3)
    async with taken(residents):
        asking = [asyncio.create_task(answer(residents, asked("one"))) for _ in range(7)]
        await until(lambda: sum(one.done() for one in asking) == 4 and len(residents._seats) == 3)
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert sum(isinstance(result, Busy) for result in results) == 4  # two ran and three waited


async def test_one_question_is_not_behind_all_those_of_another_tenant(make: Make):
    residents = await make(queue=100)
    answered: list[int] = []

    async def ask(tenant: int) -> None:
        await answer(residents, asked("one", tokens=4, turn=Turn(tenant=tenant)))
        answered.append(tenant)

    async with taken(residents):
        asking = [asyncio.create_task(ask(1)) for _ in range(18)]
        await until(lambda: len(residents._seats) == 18)
        asking.append(asyncio.create_task(ask(2)))
        await until(lambda: len(residents._seats) == 19)
    await asyncio.gather(*asking)
    assert answered.index(2) <= 4, "a turn or two"
    assert len(residents._seats) == 0
    assert residents.loaded()[0]["users"] == 0


@pytest.mark.parametrize("is_loaded", [True, False])
async def test_who_floods_makes_room_for_another_tenant(make: Make, is_loaded: bool):
    residents = await make(queue=3)
    async with taken(residents) if is_loaded else nullcontext():
        flood = [asyncio.create_task(answer(residents, asked("one", turn=Turn(tenant=1)))) for _ in range(3)]
        await until(lambda: len(residents._seats) == 3)
        calm = asyncio.create_task(answer(residents, asked("one", turn=Turn(tenant=2))))
        await until(lambda: any(one.done() for one in flood))
    assert b'"done"' in await calm
    results = await asyncio.gather(*flood, return_exceptions=True)
    (refused,) = (result for result in results if isinstance(result, BaseException))
    assert isinstance(refused, TooMany)
    assert refused.retry_after_s
    assert len(residents._seats) == 0
    assert residents.loaded()[0]["users"] == 0


async def test_a_limit_of_the_queue_holds_here_too(make: Make):
    residents = await make()
    turn = Turn(tenant=1, bounds=(("brief of tenant 1", 1),))
    results = await asyncio.gather(
        *(answer(residents, asked("one", turn=turn)) for _ in range(3)), return_exceptions=True
    )
    assert sum(isinstance(result, TooMany) and "brief" in str(result) for result in results) == 2


async def test_who_leaves_while_a_model_loads_leaves_nothing_behind(make: Make):
    residents = await make()
    waiting = asyncio.create_task(answer(residents, asked("one")))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await until(lambda: bool(residents.loaded()))
    assert residents.loaded()[0]["users"] == 0
    await answer(residents, asked("one"))
    assert residents.loaded()[0]["users"] == 0


async def test_a_model_goes_when_it_was_not_used_for_long_enough(make: Make):
    residents = await make()
    await answer(residents, asked("one", keep_alive_s=0.05))
    pid = residents.loaded()[0]["pid"] if residents.loaded() else 0
    await until(lambda: not residents.loaded())
    assert not pid or not is_running(pid)


async def test_each_use_sets_the_time_anew(make: Make):
    residents = await make()
    await residents.load("one", 0.2, {})
    await residents.load("one", -1, {})
    assert residents.loaded()[0]["expires_at"] is None
    await residents.load("one", 0.2, {})
    assert residents.loaded()[0]["expires_at"] is not None


async def test_who_says_nothing_of_it_leaves_the_time_that_somebody_asked_for(make: Make):
    residents = await make()
    await residents.load("one", -1, {})
    await answer(residents, asked("one"))
    assert await residents.count(asked("one")) is not None
    await residents.load("one", None, {})
    assert residents.loaded()[0]["expires_at"] is None
    await residents.load("one", 1000, {})
    await answer(residents, asked("one"))
    assert residents.loaded()[0]["expires_at"] > time.time() + 900
    assert await residents.unload("one")
    await until(lambda: not residents.loaded())
    await answer(residents, asked("one"))
    assert residents.loaded()[0]["expires_at"] < time.time() + 301, "loaded anew it has the usual time"


async def test_a_model_that_is_told_to_go_finishes_its_answer_first(make: Make):
    residents = await make()
    running = asyncio.create_task(answer(residents, asked("one", tokens=30)))
    await until(lambda: bool(residents.loaded()))
    assert await residents.unload("one")
    assert b'"completion_tokens":30' in await running
    await until(lambda: not residents.loaded())


async def test_a_model_too_large_for_the_bound_says_what_to_do(make: Make):
    residents = await make(memory=64 * 1024**2)
    with pytest.raises(ModelLoadFailed, match="raise ORCHESTRATOR_MODEL_MEMORY"):
        await answer(residents, asked("one"))


async def test_a_context_the_bound_does_not_allow_is_made_smaller_where_nobody_asked_for_it(make: Make, twins: Store):
    model = twins.find("one")
    assert model
    residents = await make(context=8192, memory=model.header.memory(1024, 1) + 1)
    await answer(residents, asked("one", options={"num_ctx": 1024}))
    (one,) = residents.loaded()
    assert (one["context"], one["slots"]) == (1024, 1)


async def test_a_child_that_may_not_have_the_memory_is_a_load_that_failed(make: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(residents_module, "ELBOW_ROOM", 40 * 1024**2 - USUAL.memory)
    residents = await make()
    with pytest.raises(ModelLoadFailed, match="one:latest cannot be loaded"):
        await answer(residents, asked("one"))
    assert residents.loaded() == []


async def test_a_load_that_takes_too_long_is_given_up(make: Make):
    residents = await make(load_timeout_s=0.05)
    with pytest.raises(ModelLoadFailed, match=r"was not loaded within 0\.05 s"):
        await answer(residents, asked("one"))
    assert residents.loaded() == []


async def test_a_model_that_is_not_there_is_not_found(make: Make):
    residents = await make()
    for name in ("nobody", "../x"):
        with pytest.raises(ModelNotFound):
            await answer(residents, asked(name))


async def test_a_refused_question_frees_its_place(make: Make):
    residents = await make()
    for _ in range(5):
        with pytest.raises(BadRequest):
            await answer(residents, asked("one", format="xml"))
    assert residents.loaded()[0]["users"] == 0


async def test_threads_are_measured_once(make: Make):
    first = await make(threads=0)
    await answer(first, asked("one"))
    threads = first.loaded()[0]["threads"]
    assert threads >= 1
    await first.close()
    second = await make(threads=0)
    await answer(second, asked("one"))
    assert second.loaded()[0]["threads"] == threads
    runner = next(iter(second._runners.values()))
    assert runner.rates == {}  # it was not measured again
