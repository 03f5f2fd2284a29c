"""Who is let in, as whom, and who is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from orchestrator.core.errors import BadRequest, KeysUnavailable, Unauthorized
from orchestrator.identity import Identity, issue_key, make_link, redeem_link
from orchestrator.models import ApiKey, SignInLink
from tests.fakes import SetClock

pytestmark = pytest.mark.django_db(transaction=True)
Make = Callable[[bool], Identity]


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def identity(clock: SetClock) -> Iterator[Make]:
    made: list[Identity] = []

    def make(require_keys: bool) -> Identity:
        made.append(Identity(clock, require_keys=require_keys))
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
        assert (caller.tenant, caller.key_name, caller.is_admin) == ("acme", "web-app", False)


async def test_without_keys_required_anybody_is_the_default_tenant(identity: Make) -> None:
    for authorization in ("", "Bearer ollama", "Basic eDp5"):
        assert (await identity(False).caller(authorization, "")).tenant == "default"


async def test_with_keys_required_nobody_comes_in_without_a_good_one(identity: Make, key: str) -> None:
    for authorization in ("", "Bearer ollama", f"Bearer {key[:-1]}x", f"Basic {key}", "Bearer "):
        with pytest.raises(Unauthorized):
            await identity(True).caller(authorization, "")


async def test_a_revoked_key_stops_within_a_second_and_never_becomes_the_default_tenant(
    identity: Make, clock: SetClock, key: str
) -> None:
    doorman = identity(False)
    await doorman.caller(f"Bearer {key}", "")
    await ApiKey.objects.aupdate(revoked_at=timezone.now())
    clock.pass_(1.1)
    with pytest.raises(Unauthorized, match="revoked"):
        await doorman.caller(f"Bearer {key}", "")


async def test_an_expired_key_is_refused(identity: Make) -> None:
    from asgiref.sync import sync_to_async

    late = await sync_to_async(issue_key)("old", "acme", expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(Unauthorized, match="expired"):
        await identity(True).caller("", late)


async def test_two_different_credentials_are_refused(identity: Make, key: str) -> None:
    with pytest.raises(BadRequest, match="different credentials"):
        await identity(False).caller(f"Bearer {key}", "sk-other")


def test_the_database_does_not_hold_the_key(key: str) -> None:
    record = ApiKey.objects.get()
    secret = key.split("_", 2)[2]
    assert all(secret not in str(value) for value in vars(record).values())


def test_a_sign_in_link_works_once() -> None:
    token = make_link()
    user = redeem_link(token)
    assert user is not None
    assert user.is_superuser
    assert not user.has_usable_password()
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
    from orchestrator import identity as module

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
