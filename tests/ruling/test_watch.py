"""Every process goes by what was published last; whatever the database does, by what it read before."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings

from cache.generation import Generation
from orchestrator.core import following
from orchestrator.core.errors import Busy
from orchestrator.core.threads import WorkerThread
from orchestrator.ruling import draft, versions, watch
from orchestrator.ruling.watch import RuleWatch
from routing.models import RuleVersion
from routing.rules.document import Document
from routing.rules.facts import Facts
from tests.product import PROJECT, Product, registry_kept
from tests.ruling.conftest import ANNA, rule

BROKEN = {"rules": [{"name": "a", "later": 1}]}


@pytest.fixture
async def generation(transactional_db: None) -> AsyncIterator[Generation]:
    generation = Generation(settings.GENERATION_FILE)
    yield generation
    generation.close()


@pytest.fixture
async def watching(generation: Generation) -> AsyncIterator[RuleWatch]:
    watching = RuleWatch(WorkerThread("rules"), generation.policy)
    yield watching
    await watching.aclose()


@sync_to_async
def publish(*names: str) -> None:
    draft.save(Document(rules=[rule(name) for name in names]), ANNA)
    versions.publish(ANNA)


@sync_to_async
def spoil(number: int, document: object = BROKEN) -> None:
    """As a later release might write it. Nobody is told."""
    RuleVersion.objects.filter(number=number)._update([(RuleVersion._meta.get_field("document"), None, document)])


async def until(found: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not found():
            await asyncio.sleep(0.01)


def names(watching: RuleWatch) -> list[str]:
    return [one.name for one in watching.rules().document.rules]


async def test_before_anything_was_read_nothing_is_asked(watching: RuleWatch) -> None:
    with pytest.raises(Busy, match="could not be read yet"):
        watching.rules()
    await watching.catch_up()
    assert (watching.rules().version, names(watching)) == (0, [])


async def test_what_is_published_on_this_machine_holds_for_the_next_request(watching: RuleWatch) -> None:
    for number, name in enumerate(("a", "b"), start=1):
        await publish(name)
        await watching.catch_up()
        assert (watching.rules().version, names(watching)) == (number, [name])
    assert watching.rules().decide(Facts()).forbid == "no b"
    was = watching.rules()
    await watching.catch_up()
    assert watching.rules() is was, "it is read once"


async def test_a_reading_that_was_under_way_does_not_hold_the_change(
    watching: RuleWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, has_read, may_end = watching.read, threading.Event(), threading.Event()

    def slow() -> object:
        found = read()
        has_read.set()
        assert may_end.wait(20)
        return found

    monkeypatch.setattr(following, "LONGEST_WAIT_S", 20)
    monkeypatch.setattr(watching, "read", slow)
    before = asyncio.create_task(watching.catch_up())
    await until(has_read.is_set)
    await publish("a")
    after = asyncio.create_task(watching.catch_up())
    await asyncio.sleep(0)
    may_end.set()
    await after
    assert (watching.rules().version, names(watching)) == (1, ["a"])
    await before


async def test_what_another_machine_publishes_is_found_by_looking(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.01)
    watching = RuleWatch(WorkerThread("rules"), lambda: 1)  # no file tells it
    try:
        watching.start()
        await publish("a")
        await until(lambda: watching._rules is not None and names(watching) == ["a"])
    finally:
        await watching.aclose()


async def test_what_cannot_be_read_is_said_once_and_what_held_holds(
    watching: RuleWatch, generation: Generation, caplog: pytest.LogCaptureFixture
) -> None:
    await publish("a")
    await watching.catch_up()
    await publish("b")
    await spoil(2)
    for _ in range(3):
        generation.bump_policy()
        await watching.catch_up()
        assert names(watching) == ["a"]
    assert len(caplog.messages) == 1
    assert "version 2 of the rules cannot be read, so what was read before holds" in caplog.messages[0]
    await publish_over()
    await watching.catch_up()
    assert names(watching) == ["c"]


@sync_to_async
def publish_over() -> None:
    versions.publish_document(Document(rules=[rule("c")]), ANNA)


async def test_a_new_process_goes_by_the_newest_version_that_it_can_read(
    watching: RuleWatch, caplog: pytest.LogCaptureFixture
) -> None:
    await publish("a")
    await publish("b")
    await spoil(2)
    await watching.catch_up()
    assert (watching.rules().version, names(watching)) == (1, ["a"])
    assert len(caplog.messages) == 1


async def test_without_one_that_can_be_read_nothing_is_let_through(
    watching: RuleWatch, caplog: pytest.LogCaptureFixture
) -> None:
    await publish("a")
    await spoil(1)
    await watching.catch_up()
    with pytest.raises(Busy):
        watching.rules()
    await publish_over()
    await watching.catch_up()
    assert names(watching) == ["c"]


async def test_a_database_that_does_not_answer_is_said_once(
    watching: RuleWatch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await publish("a")
    await watching.catch_up()
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.01)
    asked = 0

    def newest() -> int:
        nonlocal asked
        asked += 1
        if asked < 5:
            raise TimeoutError
        return 1

    monkeypatch.setattr(watch, "newest", newest)
    with caplog.at_level(logging.WARNING):
        watching.start()
        await until(lambda: asked > 6)
    assert [message.partition(",")[0].partition(":")[0] for message in caplog.messages] == [
        "whether the rules changed cannot be read",
        "whether the rules changed can be read again",
    ]
    assert names(watching) == ["a"]


FOLLOWER = """
import asyncio, sys
import django
django.setup()
from django.conf import settings
from cache.generation import Generation
from orchestrator.core.threads import WorkerThread
from orchestrator.ruling.watch import RuleWatch

async def main():
    watching, said = RuleWatch(WorkerThread("rules"), Generation(settings.GENERATION_FILE).policy), None
    watching.start()
    while said != "the end":
        await watching.catch_up()
        names = ", ".join(one.name for one in watching.rules().document.rules)
        if names != said:
            said = names
            print(said, flush=True)
        await asyncio.sleep(0.005)
    await watching.aclose()

asyncio.run(main())
"""


def test_what_is_published_holds_in_every_process(product: Product, admin_key: str) -> None:
    """Two processes beside the product's own follow what is published by way of one of those."""
    headers = {"Authorization": f"Bearer {admin_key}"}
    environment = product.environment() | {"DJANGO_SETTINGS_MODULE": "orchestrator.settings"}
    routing = "/api/admin/v1/routing"
    with (
        registry_kept(product, admin_key),
        httpx.Client(base_url=product.base_url, headers=headers, timeout=30) as admin,
    ):
        followers = [
            subprocess.Popen(
                [sys.executable, "-c", FOLLOWER], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        give_up = threading.Timer(60, lambda: [follower.kill() for follower in followers])
        give_up.start()
        try:
            assert [follower.stdout and follower.stdout.readline() for follower in followers] == ["\n", "\n"]
            for name in ("first", "second", "the end"):
                admin.put(f"{routing}/draft", json={"rules": [{"name": name}]}).raise_for_status()
                admin.post(f"{routing}/publish").raise_for_status()
                for follower in followers:
                    assert follower.stdout is not None
                    assert follower.stdout.readline() == f"{name}\n"
            assert [follower.wait(30) for follower in followers] == [0, 0]
        finally:
            give_up.cancel()
            for follower in followers:
                with suppress(ProcessLookupError):
                    follower.kill()
                follower.communicate()
