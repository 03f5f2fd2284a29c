"""Who is let in, as whom, and who is not."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import OperationalError, connections, transaction
from django.utils import timezone

from cache.generation import Generation
from orchestrator.core.errors import BadRequest, KeysUnavailable, Unauthorized
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.core.types import Caller
from orchestrator.identity.callers import Identity
from orchestrator.identity.links import make_link, redeem_link
from orchestrator.identity.people import roles_of
from orchestrator.models import ApiKey, SignInLink, Tenant
from tests.fakes import SetClock
from tests.keys import issue_key

pytestmark = pytest.mark.django_db(transaction=True)
Make = Callable[[bool], Identity]
REVOKE = """
import sys, django
django.setup()
from django.db import connections
from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import ApiKey
connections["default"].settings_dict["NAME"] = sys.argv[1]
key = ApiKey.objects.of(EVERYBODY).get()
key.revoked_at = key.created_at
key.save()
"""


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def generation() -> Iterator[Generation]:
    generation = Generation(settings.GENERATION_FILE)
    yield generation
    generation.close()


@pytest.fixture
def identity(clock: SetClock, generation: Generation) -> Iterator[Make]:
    made: list[Identity] = []

    def make(require_keys: bool) -> Identity:
        made.append(Identity(clock, generation.policy, require_keys=require_keys))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def key() -> str:
    return issue_key("web-app", "acme")


async def test_a_key_stands_for_its_tenant_in_either_header(identity: Make, key: str) -> None:
    for headers in ((f"Bearer {key}", ""), ("", key), (f"bearer {key}", key)):
        caller = await identity(True).caller(*headers)
        assert (caller.tenant, caller.key_name, caller.role) == ("acme", "web-app", None)


async def test_without_keys_required_anybody_is_the_default_tenant(identity: Make) -> None:
    for authorization in ("", "Bearer ollama", "Basic eDp5"):
        assert (await identity(False).caller(authorization, "")).tenant == "default"


async def test_with_keys_required_nobody_comes_in_without_a_good_one(identity: Make, key: str) -> None:
    for authorization in ("", "Bearer ollama", f"Bearer {key[:-1]}x", f"Basic {key}", "Bearer "):
        with pytest.raises(Unauthorized):
            await identity(True).caller(authorization, "")


async def test_a_revoked_key_stops_at_once_and_never_becomes_the_default_tenant(identity: Make, key: str) -> None:
    doorman = identity(False)
    await doorman.caller(f"Bearer {key}", "")
    await ApiKey.objects.of(EVERYBODY).aupdate(revoked_at=timezone.now())
    with pytest.raises(Unauthorized, match="revoked"):
        await doorman.caller(f"Bearer {key}", "")


async def test_a_key_that_lacks_a_piece_never_becomes_the_default_tenant(identity: Make, key: str) -> None:
    """Whoever copied it badly is told so."""
    for require_keys in (False, True):
        for damaged in (key[:-1], f"{key}x", key[:15], "orch_", key.replace("orch_", "orch_-")):
            with pytest.raises(Unauthorized, match="unknown"):
                await identity(require_keys).caller(f"Bearer {damaged}", "")
            with pytest.raises(BadRequest, match="different credentials"):
                await identity(require_keys).caller("Bearer unused", damaged)


async def test_a_key_that_another_process_revoked_stops_at_once(identity: Make, key: str) -> None:
    doorman = identity(True)
    await doorman.caller(f"Bearer {key}", "")
    database = str(connections["default"].settings_dict["NAME"])
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", REVOKE, database, env={**os.environ, "DJANGO_SETTINGS_MODULE": "orchestrator.settings"}
    )
    assert await asyncio.wait_for(other.wait(), 60) == 0
    with pytest.raises(Unauthorized, match="revoked"):
        await doorman.caller(f"Bearer {key}", "")


async def test_a_key_revoked_where_no_counter_reaches_stops_within_a_second(
    identity: Make, clock: SetClock, key: str
) -> None:
    doorman = identity(False)
    await doorman.caller(f"Bearer {key}", "")
    await sync_to_async(sql)("UPDATE orchestrator_apikey SET revoked_at = created_at")
    await doorman.caller(f"Bearer {key}", "")
    clock.pass_(1.1)
    with pytest.raises(Unauthorized, match="revoked"):
        await doorman.caller(f"Bearer {key}", "")


async def test_a_look_up_from_before_a_change_answers_nobody_who_asks_after_it(
    identity: Make, generation: Generation, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.identity import callers as module

    find, found, may_return = module.find_key, threading.Event(), threading.Event()

    def slowly(credential: str) -> Caller | None:
        caller = find(credential)
        found.set()
        assert may_return.wait(10)
        return caller

    doorman = identity(True)
    monkeypatch.setattr(module, "find_key", slowly)
    before = asyncio.create_task(doorman.caller("", key))
    assert await asyncio.to_thread(found.wait, 10)
    monkeypatch.setattr(module, "find_key", find)
    await ApiKey.objects.of(EVERYBODY).aupdate(revoked_at=timezone.now())
    after = asyncio.create_task(doorman.caller("", key))
    may_return.set()
    assert (await before).tenant == "acme"
    for asked in (after, doorman.caller("", key)):
        with pytest.raises(Unauthorized, match="revoked"):
            await asked


def sql(statement: str) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement)


def test_every_change_of_keys_and_tenants_is_counted_once_it_is_committed(generation: Generation) -> None:
    def counts(change: Callable[[], object]) -> bool:
        before = generation.policy()
        change()
        return generation.policy() > before

    assert counts(lambda: issue_key("web-app", "acme"))
    key = ApiKey.objects.of(EVERYBODY).get()
    assert counts(key.save)
    assert counts(lambda: ApiKey.objects.of(EVERYBODY).filter(name="web-app").update(name="app"))
    assert counts(lambda: ApiKey.objects.of(EVERYBODY).bulk_update([key], ["expires_at"]))
    assert counts(lambda: Tenant.objects.update(name="apex"))
    assert counts(ApiKey.objects.of(EVERYBODY).delete)
    assert counts(Tenant.objects.get().delete)
    assert counts(make_link)  # of an admin who is new
    assert not counts(make_link)
    with transaction.atomic():
        assert not counts(lambda: issue_key("late", "acme"))
    before = generation.policy()
    with transaction.atomic():
        Tenant.objects.create(name="never")
        transaction.set_rollback(True)
    assert generation.policy() == before


def test_a_change_of_keys_is_made_though_the_counter_is_stuck(
    generation: Generation, caplog: pytest.LogCaptureFixture
) -> None:
    with settings.GENERATION_FILE.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        issue_key("web-app", "acme")
    assert ApiKey.objects.of(EVERYBODY).count() == 1
    assert "notice a little later" in caplog.text


async def test_while_the_default_tenant_is_suspended_a_key_is_needed(identity: Make, key: str) -> None:
    doorman = identity(False)
    await doorman.caller("", "")
    await Tenant.objects.filter(name="default").aupdate(suspended_at=timezone.now())
    with pytest.raises(Unauthorized, match="valid API key is needed"):
        await doorman.caller("", "")
    assert (await doorman.caller("", key)).tenant == "acme"


async def test_an_expired_key_is_refused(identity: Make) -> None:
    late = await sync_to_async(issue_key)("old", "acme", expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(Unauthorized, match="expired"):
        await identity(True).caller("", late)


async def test_two_different_credentials_are_refused(identity: Make, key: str) -> None:
    with pytest.raises(BadRequest, match="different credentials"):
        await identity(False).caller(f"Bearer {key}", "sk-other")


def test_the_database_does_not_hold_the_key(key: str) -> None:
    record = ApiKey.objects.of(EVERYBODY).get()
    secret = key.split("_", 2)[2]
    assert all(secret not in str(value) for value in vars(record).values())


def test_a_sign_in_link_works_once() -> None:
    token = make_link()
    link = redeem_link(token)
    assert link is not None
    assert roles_of(link.user) == {None: Role.ADMIN}
    assert not link.user.is_superuser
    assert not link.user.has_usable_password()
    assert redeem_link(token) is None


def test_a_late_or_unknown_link_signs_nobody_in() -> None:
    token = make_link()
    SignInLink.objects.update(expires_at=timezone.now())
    assert redeem_link(token) is None
    assert redeem_link("guess") is None


async def test_many_callers_at_once_are_one_look_up(identity: Make, clock: SetClock) -> None:
    doorman = identity(False)
    for _ in range(3):
        callers = await asyncio.gather(*(doorman.caller("", "") for _ in range(3_000)))
        assert {caller.tenant for caller in callers} == {"default"}
        clock.pass_(1.1)


async def test_when_keys_cannot_be_read_that_is_said_and_the_default_tenant_goes_on(
    identity: Make, clock: SetClock, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.identity import callers as module

    def locked(_: str) -> None:
        raise OperationalError("database is locked")

    doorman = identity(False)
    await doorman.caller("", "")
    monkeypatch.setattr(module, "find_key", locked)
    monkeypatch.setattr(module, "default_caller", locked)
    clock.pass_(1.1)
    assert (await doorman.caller("", "")).tenant == "default"
    with pytest.raises(KeysUnavailable):
        await doorman.caller(f"Bearer {key}", "")


async def test_who_was_asked_for_lately_is_known_without_asking_until_something_changes(
    identity: Make, key: str, clock: SetClock, generation: Generation
) -> None:
    one = identity(True)
    headers = (f"Bearer {key}", "")
    assert one.remembered(*headers) is None
    caller = await one.caller(*headers)
    assert one.remembered(*headers) == caller
    assert one.remembered("", key) is None, "the same key elsewhere was not asked for"
    clock.pass_(0.9)
    assert await one.caller("", key) == caller
    clock.pass_(0.2)
    assert one.remembered("", key) is None, "a second from when the key was read, not from when it was shown"
    await one.caller(*headers)
    await asyncio.to_thread(generation.bump_policy)
    assert one.remembered(*headers) is None


async def test_a_key_ends_at_its_moment_not_with_the_remembered_second(
    identity: Make, transactional_db: None, clock: SetClock
) -> None:
    ends = datetime.fromtimestamp(clock.now() + 0.5, UTC)
    headers = ("", await asyncio.to_thread(issue_key, "brief", "acme", expires_at=ends))
    one = identity(True)
    await one.caller(*headers)
    clock.pass_(0.4)
    assert one.remembered(*headers) is not None
    clock.pass_(0.1)
    assert one.remembered(*headers) is None
    with pytest.raises(Unauthorized, match="expired"):
        await one.caller(*headers)


async def test_no_more_than_so_many_headers_are_remembered_and_no_long_ones(
    identity: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.identity.callers.MOST_REMEMBERED", 3)
    one = identity(False)
    for number in range(5):
        await one.caller(f"Bearer {number}", "")
    assert [bool(one.remembered(f"Bearer {number}", "")) for number in range(5)] == [False, False, True, True, True]
    await one.caller("x" * 300, "")
    assert one.remembered("x" * 300, "") is None
