"""The way in: what is asked, of whom, how often, and when it ends."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.test import Client, RequestFactory
from django_otp.oath import hotp

from dashboard.sign_in import redeem
from orchestrator.core.permissions import Role
from orchestrator.identity import second_factor, staffing
from orchestrator.identity.acting import at_terminal
from orchestrator.identity.attempts import FREE
from orchestrator.identity.links import make_link
from orchestrator.identity.second_factor import STEP_S
from orchestrator.identity.sessions import end_sessions
from orchestrator.models import SignInAttempts
from tests.dashboard.site import somebody
from tests.dashboard.test_live import heard, watching

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "cache"]),
    pytest.mark.usefixtures("console"),
]
DOOR, CODE, TWO_FACTOR = "/dashboard/sign-in/", "/dashboard/sign-in/code/", "/dashboard/account/two-factor/"
SECRET = "correct horse battery"


@pytest.fixture(autouse=True)
def _long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pause outlasts a slow machine."""
    monkeypatch.setattr("orchestrator.identity.attempts.FIRST_PAUSE", timedelta(minutes=10))


@pytest.fixture
def mira(transactional_db: None) -> User:
    """An admin with a password."""
    return somebody("mira", Role.ADMIN, password=SECRET)


@pytest.fixture
def secret(mira: User) -> bytes:
    """What her authenticator makes codes of."""
    return set_up(mira)


@pytest.fixture
def required() -> Iterator[None]:
    """Admins must have a second factor."""
    before, settings.REQUIRE_TWO_FACTOR = settings.REQUIRE_TWO_FACTOR, "admins"
    yield
    settings.REQUIRE_TWO_FACTOR = before


def set_up(user: User) -> bytes:
    second_factor.begin(user)
    found = second_factor.offered(user)
    assert found
    with patch("time.time", return_value=time.time()):  # a step that ended meanwhile would make this one too old
        assert second_factor.confirm(user, code(found, -1)) is not None
    return found


def code(secret: bytes, steps: int = 0) -> str:
    return f"{hotp(secret, int(time.time()) // STEP_S + steps):06}"


def sign_in(client: Client, name: str = "mira", password: str = SECRET, **more: str) -> Any:
    return client.post(DOOR, {"username": name, "password": password} | more)


def words(response: Any) -> str:
    """What a page says, without what is different each time."""
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", response.content.decode())


# Passwords


def test_passwords_are_kept_by_argon2_and_old_ones_are_hashed_anew(client: Client, mira: User) -> None:
    assert mira.password.startswith("argon2$argon2id$")
    from django.contrib.auth.hashers import make_password

    mira.password = make_password(SECRET, hasher="pbkdf2_sha256")
    mira.save()
    assert sign_in(client).status_code == 302
    assert User.objects.get().password.startswith("argon2$argon2id$")


def test_an_account_that_is_not_there_is_refused_in_the_same_words(mira: User) -> None:
    there, nowhere = (sign_in(Client(), name, "guess") for name in ("mira", "nobody"))
    assert (there.status_code, words(there)) == (nowhere.status_code, words(nowhere).replace("nobody", "mira"))
    User.objects.update(is_active=False)
    assert words(sign_in(Client())) == words(there)


def test_guessing_is_paused_and_so_is_the_right_password(mira: User) -> None:
    for name in ("mira", "nobody"):
        for _ in range(FREE["account"]):
            assert sign_in(Client(), name, "guess").status_code == 200
        response = sign_in(Client(), name)
        assert response.status_code == 429
        assert 0 < int(response["Retry-After"]) <= 601
        assert "Not looked at." in words(response)
    assert Client().post(f"{DOOR}{make_link('mira')}/").status_code == 302  # a link is not held up


def test_an_address_that_tries_many_names_is_paused(mira: User) -> None:
    for number in range(FREE["address"]):
        sign_in(Client(), f"name{number}", "guess")
    assert sign_in(Client()).status_code == 429
    assert Client(REMOTE_ADDR="192.0.2.7").get(DOOR).status_code == 200
    assert sign_in(Client(REMOTE_ADDR="192.0.2.7")).status_code == 302


def test_the_right_password_begins_anew(mira: User) -> None:
    for _ in range(3):
        for _ in range(FREE["account"] - 1):
            sign_in(Client(), password="guess")
        assert sign_in(Client()).status_code == 302
        SignInAttempts.objects.filter(count__gt=FREE["account"]).delete()  # the address


def test_signing_in_has_a_session_of_a_new_number(client: Client, mira: User) -> None:
    client.cookies["orchestrator_session"] = "chosenbysomebodyelse0123456789ab"
    sign_in(client)
    first = client.cookies["orchestrator_session"].value
    assert first != "chosenbysomebodyelse0123456789ab"
    client.post("/dashboard/sign-out/")
    sign_in(client)
    assert client.cookies["orchestrator_session"].value != first


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example/dashboard/", "/api/tags", "javascript:alert(1)", "/static/x", "\\\\evil"],
)
def test_after_signing_in_one_is_on_our_pages(client: Client, mira: User, elsewhere: str) -> None:
    assert sign_in(client, next=elsewhere)["Location"] == "/dashboard/"


def test_no_more_than_two_passwords_are_looked_at_at_once(client: Client, mira: User, monkeypatch) -> None:
    monkeypatch.setattr("dashboard.sign_in.CHECK_S", 0.01)
    from dashboard.sign_in import MOST_CHECKS, _checking

    for _ in range(MOST_CHECKS):
        _checking.acquire()
    try:
        assert sign_in(client).status_code == 429
    finally:
        for _ in range(MOST_CHECKS):
            _checking.release()
    assert sign_in(client).status_code == 302


# The second factor


def test_a_password_alone_opens_nothing_where_there_is_a_second_factor(client: Client, secret: bytes) -> None:
    response = sign_in(client, next="/dashboard/cache/")
    assert response["Location"] == CODE
    assert client.get("/dashboard/").status_code == 302
    assert "Now your code, mira." in words(client.get(CODE))
    before = client.cookies["orchestrator_session"].value
    assert client.post(CODE, {"code": code(secret)})["Location"] == "/dashboard/cache/"
    assert client.cookies["orchestrator_session"].value != before
    assert client.get("/dashboard/").status_code == 200


@pytest.mark.parametrize("has_code", [False, True])
def test_what_a_link_opens_can_be_ended_as_soon_as_it_is_spent(
    mira: User, request: pytest.FixtureRequest, has_code: bool
) -> None:
    """A role that is given meanwhile makes links void and ends sessions: between them there is nothing."""
    if has_code:
        request.getfixturevalue("secret")
    asked = RequestFactory().post("/")
    asked.session = SessionStore()
    assert redeem(asked, make_link("mira")).status_code == 302
    assert end_sessions(mira) == 1
    with pytest.raises(UpdateError):  # as the middleware does when the answer goes out
        asked.session.save()


def test_a_link_is_a_first_factor_only(client: Client, secret: bytes) -> None:
    assert client.post(f"{DOOR}{make_link('mira')}/")["Location"] == CODE
    assert client.get("/dashboard/").status_code == 302
    assert client.post(CODE, {"code": code(secret)})["Location"] == "/dashboard/"


def test_codes_are_guessed_no_faster_than_passwords(secret: bytes) -> None:
    for _ in range(FREE["code"]):
        client = Client()
        sign_in(client)
        assert client.post(CODE, {"code": "000000"}).status_code == 422
    sign_in(client)
    response = client.post(CODE, {"code": code(secret)})
    assert response.status_code == 429
    assert int(response["Retry-After"]) >= 1


def test_a_used_code_signs_nobody_in(secret: bytes) -> None:
    right = code(secret)
    for expected in (302, 422):
        client = Client()
        sign_in(client)
        assert client.post(CODE, {"code": right}).status_code == expected


def test_the_code_is_asked_for_a_few_minutes_and_while_the_password_is_the_same(
    client: Client, mira: User, secret: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(client)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 301)
    assert client.post(CODE, {"code": code(secret)})["Location"] == DOOR
    monkeypatch.undo()
    sign_in(client)
    mira.set_password("another battery staple")
    mira.save()
    assert client.post(CODE, {"code": code(secret)})["Location"] == DOOR


def test_without_a_password_before_it_there_is_no_page_for_a_code(client: Client, secret: bytes) -> None:
    assert client.post(CODE, {"code": code(secret)})["Location"] == DOOR


def test_setting_it_up_shows_a_picture_and_then_codes_once(client: Client, mira: User) -> None:
    client.force_login(mira)
    elsewhere = Client()
    elsewhere.force_login(mira)
    assert client.post(TWO_FACTOR, {"act": "begin"}).status_code == 302
    page = words(client.get(TWO_FACTOR))
    assert 'src="data:image/svg+xml' in page
    found = second_factor.offered(mira)
    assert found
    assert client.post(TWO_FACTOR, {"act": "confirm", "code": "000000"}).status_code == 422
    shown = words(client.post(TWO_FACTOR, {"act": "confirm", "code": code(found)}))
    codes = re.findall(r"<li><code>([a-z0-9]{5}-[a-z0-9]{5})</code>", shown)
    assert len(codes) == second_factor.RECOVERY_CODES
    assert codes[0] not in words(client.get(TWO_FACTOR))
    assert elsewhere.get("/dashboard/").status_code == 302  # it was signed in without a code
    other = Client()
    sign_in(other)
    assert other.post(CODE, {"code": codes[0]}).status_code == 302


@pytest.mark.parametrize("act", ["begin", "renew", "off"])
def test_changing_it_needs_the_password_or_a_code(client: Client, mira: User, secret: bytes, act: str) -> None:
    client.force_login(mira)
    for proof in ("", "guess", "000000"):
        assert client.post(TWO_FACTOR, {"act": act, "proof": proof}).status_code == 422
    assert second_factor.offered(mira) is None
    assert second_factor.is_on(mira)
    assert client.post(TWO_FACTOR, {"act": act, "proof": code(secret)}).status_code in {200, 302}
    assert second_factor.is_on(mira) == (act != "off")
    assert (second_factor.offered(mira) is not None) == (act == "begin")


def test_one_that_was_begun_and_left_is_nothing_to_another_session(client: Client, mira: User, secret: bytes) -> None:
    client.force_login(mira)
    client.post(TWO_FACTOR, {"act": "begin", "proof": SECRET})
    waiting = second_factor.offered(mira)
    assert waiting
    shown = second_factor.shown(waiting)[:4]
    assert shown in words(client.get(TWO_FACTOR))
    thief = Client()
    thief.force_login(mira)
    assert shown not in words(thief.get(TWO_FACTOR))
    assert thief.post(TWO_FACTOR, {"act": "confirm", "code": code(waiting)}).status_code == 422
    assert second_factor.offered(mira) == waiting
    assert client.post(TWO_FACTOR, {"act": "confirm", "code": code(waiting)}).status_code == 200
    assert second_factor.offered(mira) is None


def test_the_password_does_it_too_and_guesses_are_paused(client: Client, mira: User, secret: bytes) -> None:
    client.force_login(mira)
    for _ in range(FREE["code"]):
        client.post(TWO_FACTOR, {"act": "off", "proof": "guess"})
    assert client.post(TWO_FACTOR, {"act": "off", "proof": SECRET}).status_code == 429
    SignInAttempts.objects.all().delete()
    assert client.post(TWO_FACTOR, {"act": "off", "proof": SECRET}).status_code == 302
    assert not second_factor.is_on(mira)


def test_switching_it_off_ends_what_was_signed_in_with_a_code_elsewhere(
    client: Client, mira: User, secret: bytes
) -> None:
    phone = Client()
    sign_in(phone)
    phone.post(CODE, {"code": code(secret)})
    assert phone.get("/dashboard/").status_code == 200
    client.force_login(mira)
    assert client.post(TWO_FACTOR, {"act": "off", "proof": SECRET}).status_code == 302
    assert client.get("/dashboard/").status_code == 200
    assert phone.get("/dashboard/").status_code == 302


def test_who_must_have_it_sees_no_page_before(client: Client, mira: User, required: None) -> None:
    client.force_login(mira)
    for path in ("/dashboard/", "/dashboard/people/", "/admin/"):
        assert client.get(path)["Location"] == TWO_FACTOR
    part = client.get("/dashboard/providers/", headers={"HX-Request": "true"})
    assert (part.status_code, part["HX-Redirect"]) == (401, TWO_FACTOR)
    viewer = Client()
    viewer.force_login(somebody("anna", Role.VIEWER))
    assert viewer.get("/dashboard/").status_code == 200
    client.post(TWO_FACTOR, {"act": "begin"})
    found = second_factor.offered(mira)
    assert found
    client.post(TWO_FACTOR, {"act": "confirm", "code": code(found)})
    assert client.get("/dashboard/").status_code == 200
    assert client.post(TWO_FACTOR, {"act": "off", "proof": SECRET}).status_code == 403
    assert second_factor.is_on(mira)


@pytest.mark.parametrize("acts", [("prove",), ("renew", "prove"), ("begin", "prove"), ("off", "prove")])
def test_who_must_have_it_and_has_none_cannot_do_as_if(
    client: Client, mira: User, required: None, acts: tuple[str, ...]
) -> None:
    client.force_login(mira)
    shown = ""
    for act in acts:
        shown += words(client.post(TWO_FACTOR, {"act": act, "proof": "", "code": ""}))
    for paper in re.findall(r"<li><code>([a-z0-9]{5}-[a-z0-9]{5})</code>", shown):
        client.post(TWO_FACTOR, {"act": "prove", "proof": paper})
    assert client.get("/dashboard/people/")["Location"] == TWO_FACTOR
    assert not mira.recovery_codes.exists()


def test_a_session_from_before_the_rule_goes_on_with_a_code(
    client: Client, mira: User, secret: bytes, required: None
) -> None:
    client.force_login(mira)
    assert client.get("/dashboard/")["Location"] == TWO_FACTOR
    assert "Your role needs a code." in words(client.get(TWO_FACTOR))
    assert client.post(TWO_FACTOR, {"act": "prove", "proof": SECRET}).status_code == 422
    assert client.post(TWO_FACTOR, {"act": "prove", "proof": code(secret)}).status_code == 302
    assert client.get("/dashboard/").status_code == 200


# One's own account


def test_a_password_is_set_changed_and_held_to_the_rules(client: Client) -> None:
    assert client.post(f"{DOOR}{make_link('mira')}/").status_code == 302
    elsewhere = Client()
    elsewhere.post(f"{DOOR}{make_link('mira')}/")
    for weak in ("short", "1q2w3e4r5t6y", "123456789012345"):
        response = client.post("/dashboard/account/", {"new_password1": weak, "new_password2": weak})
        assert response.status_code == 422, weak
    new = {"new_password1": SECRET, "new_password2": SECRET}
    assert client.post("/dashboard/account/", new).status_code == 302
    assert client.get("/dashboard/account/").status_code == 200
    assert elsewhere.get("/dashboard/").status_code == 302
    assert sign_in(Client()).status_code == 302
    other = {"new_password1": "another battery staple", "new_password2": "another battery staple"}
    assert client.post("/dashboard/account/", other | {"old_password": "guess"}).status_code == 422
    assert client.post("/dashboard/account/", other | {"old_password": SECRET}).status_code == 302
    assert client.get("/admin/password_change/")["Location"] == "/dashboard/account/"


def test_signing_out_elsewhere_leaves_this_session_and_other_people(client: Client, mira: User) -> None:
    phone, other = Client(), Client()
    client.force_login(mira)
    phone.force_login(mira)
    other.force_login(somebody("anna", Role.VIEWER))
    assert client.post("/dashboard/account/sign-out-elsewhere/").status_code == 302
    assert client.get("/dashboard/").status_code == 200
    assert phone.get("/dashboard/").status_code == 302
    assert other.get("/dashboard/").status_code == 200


# When it ends


async def removed(user: User) -> None:
    await sync_to_async(staffing.remove)(at_terminal(), user)


async def demoted(user: User) -> None:
    await sync_to_async(staffing.take_role)(at_terminal(), user, None)


async def made_viewer_of_one_tenant(user: User) -> None:
    await demoted(user)
    await sync_to_async(somebody)("x", Role.VIEWER, "acme")
    acme = (await sync_to_async(User.objects.get)(username="x")).memberships
    await user.memberships.acreate(tenant_id=(await acme.aget()).tenant_id, role=Role.VIEWER)


async def signed_out(user: User) -> None:
    await sync_to_async(Session.objects.all().delete)()


async def given_another_password(user: User) -> None:
    user.set_password("another battery staple")
    await user.asave()


@pytest.mark.parametrize("what", [removed, demoted, made_viewer_of_one_tenant, signed_out, given_another_password])
async def test_a_live_page_ends_with_what_opened_it(address, mira: User, what, monkeypatch) -> None:
    """The database is asked when something is heard, not before its time is up."""
    monkeypatch.setattr("dashboard.sessions.ASK_EVERY_S", 3600)
    await sync_to_async(somebody)("last", Role.ADMIN)
    async with watching(address, mira) as socket:
        await heard(socket, 'id="verdict"')
        await what(mira)
        with pytest.raises(Exception, match="4403"):
            await heard(socket, "never said")
        assert socket.close_code == 4403


async def test_a_live_page_goes_on_when_somebody_else_goes(address, mira: User, monkeypatch) -> None:
    monkeypatch.setattr("dashboard.sessions.LOOK_EVERY_S", 0.01)
    asked = []
    from dashboard import sessions

    real = sessions.reach_of_session
    monkeypatch.setattr(sessions, "reach_of_session", lambda *args: asked.append(1) or real(*args))
    other = await sync_to_async(somebody)("other", Role.ADMIN)
    async with watching(address, mira) as socket:
        await heard(socket, 'id="verdict"')
        before = len(asked)
        await removed(other)
        while len(asked) == before:
            await socket.recv()
        await heard(socket, "<")
        assert len(asked) <= 4  # at the begin and when something changed, not at each look


def test_a_page_is_refused_from_the_moment_on(client: Client, mira: User) -> None:
    somebody("last", Role.ADMIN)
    client.force_login(mira)
    assert client.get("/dashboard/people/").status_code == 200
    staffing.give_role(at_terminal(), mira, Role.VIEWER, None)
    response = client.get("/dashboard/people/")
    assert response.status_code == 403
    assert "It needs the role <b>auditor</b> or <b>admin</b>." in words(response)
    staffing.remove(at_terminal(), mira)
    assert client.get("/dashboard/")["Location"].startswith(DOOR)


def test_a_role_that_may_not_finds_no_button_and_is_refused_when_it_posts(client: Client) -> None:
    client.force_login(somebody("anna", Role.VIEWER))
    page = words(client.get("/dashboard/cache/"))
    assert "/dashboard/cache/purge/" not in page
    assert "/dashboard/people/" not in page
    assert client.post("/dashboard/cache/purge/", {"what": "everything", "typed": "everything"}).status_code == 403
    client.force_login(somebody("oleg", Role.OPERATOR))
    assert "/dashboard/cache/purge/" in words(client.get("/dashboard/cache/"))
    client.force_login(somebody("bob", Role.OPERATOR, "acme"))
    page = words(client.get("/dashboard/cache/"))
    assert "/dashboard/providers/" not in page
    assert re.findall(r'"(/admin/[^"]*)"', page) == []
    assert client.get("/admin/orchestrator/apikey/").status_code == 200
