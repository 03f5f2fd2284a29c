"""Who gets in, and how."""

import time
from datetime import UTC, datetime

import pytest
from django.test import Client
from django.utils import timezone

from orchestrator.core.headers import PAGE_POLICY
from orchestrator.identity.links import make_link

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
PAGES = [
    "/dashboard/",
    "/dashboard/series.csv",
    "/dashboard/cache/",
    "/dashboard/cache/purge/",
    "/admin/",
    "/admin/orchestrator/requestrecord/",
]


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_is_asked_to_sign_in_and_comes_back_to_the_page(client, path):
    response = client.get(path, follow=True)
    assert response.redirect_chain[-1][0] == f"/dashboard/sign-in/?next={path}"
    assert b".venv/bin/python manage.py admin_link" in response.content


@pytest.mark.parametrize("path", ["/dashboard/playground/ask/", "/dashboard/keys/1/revoke/"])
def test_a_stranger_who_sent_something_comes_back_to_no_address_that_only_takes_what_is_sent(client, path):
    response = client.post(path)
    assert (response.status_code, response["Location"]) == (302, "/dashboard/sign-in/?next=/dashboard/")


@pytest.mark.parametrize("path", PAGES)
def test_an_account_without_a_role_is_told_why_not(client, passer_by, path):
    client.force_login(passer_by)
    response = client.get(path)
    assert response.status_code == 403
    assert b"has no role yet" in response.content


def test_a_part_of_a_page_sends_the_whole_page_to_the_door(client):
    response = client.get("/dashboard/cache/purge/?part=dialog", headers={"HX-Request": "true"})
    assert (response.status_code, response["HX-Redirect"]) == (401, "/dashboard/sign-in/")


def test_a_password_opens_the_door_and_a_button_closes_it(client, operator):
    response = client.post("/dashboard/sign-in/", {"username": "mira", "password": "correct horse"})
    assert (response.status_code, response["Location"]) == (302, "/dashboard/")
    assert client.get("/dashboard/sign-out/")["Location"] == "/dashboard/"  # only the button's form does
    assert client.get("/dashboard/").status_code == 200
    assert client.post("/dashboard/sign-out/")["Location"] == "/dashboard/sign-in/"
    assert client.get("/dashboard/").status_code == 302


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("routing/act/", "routing/"),
        ("providers/openai/switch/off/", "providers/openai/"),
        ("people/3/role/", "people/3/"),
        ("account/sign-out-elsewhere/", "account/"),
    ],
)
def test_an_address_that_takes_forms_only_opens_the_page_above_it(client, operator, address, page):
    client.force_login(operator)
    response = client.get(f"/dashboard/{address}?period=day")
    assert (response.status_code, response["Location"]) == (302, f"/dashboard/{page}")
    assert client.put(f"/dashboard/{address}").status_code == 405
    assert client.get(f"/dashboard/{page}").status_code != 302


def test_after_signing_in_the_way_goes_on_but_never_elsewhere(client, operator):
    secret = {"username": "mira", "password": "correct horse"}
    assert client.post("/dashboard/sign-in/", secret | {"next": "/dashboard/cache/"})["Location"] == "/dashboard/cache/"
    stranger = Client()
    assert (
        stranger.post("/dashboard/sign-in/", secret | {"next": "https://elsewhere.example/"})["Location"]
        == "/dashboard/"
    )


def test_a_wrong_password_is_said_to_be_one(client, operator):
    response = client.post("/dashboard/sign-in/", {"username": "mira", "password": "guess"})
    assert b"Not signed in." in response.content


def test_a_link_signs_in_once(client):
    token = make_link()
    assert client.post(f"/dashboard/sign-in/{token}/")["Location"] == "/dashboard/"
    assert client.session["_auth_user_id"]
    for ask in (Client().get, Client().post):
        spent = ask(f"/dashboard/sign-in/{token}/")
        assert spent.status_code == 410
        assert b"no longer works" in spent.content
        assert b"Ask whoever gave it to you for another." in spent.content


@pytest.mark.parametrize("method", ["get", "head"])
def test_who_looks_at_a_link_does_not_spend_it(client, method):
    """As what makes previews in a chat does, and what looks at the links of mails."""
    link = f"/dashboard/sign-in/{make_link()}/"
    for _ in range(2):
        looked = getattr(Client(), method)(link)
        assert looked.status_code == 200
        assert "orchestrator_session" not in looked.cookies
        assert "no-store" in looked["Cache-Control"]
    assert client.post(link)["Location"] == "/dashboard/"


def test_a_links_page_says_who_comes_in_and_takes_its_own_form_only():
    client = Client(enforce_csrf_checks=True)
    link = f"/dashboard/sign-in/{make_link()}/"
    assert client.post(link).status_code == 403
    page = client.get(link)
    assert b"<h1>Sign in as operator.</h1>" in page.content
    assert link.encode() not in page.content
    token = client.cookies["orchestrator_csrf"].value
    assert client.post(link, {"csrfmiddlewaretoken": token})["Location"] == "/dashboard/"
    assert client.session["_auth_user_id"]


def test_a_form_from_elsewhere_is_refused(operator):
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    assert client.post("/dashboard/cache/purge/", {"what": "everything"}).status_code == 403


@pytest.mark.parametrize("path", ["/dashboard/sign-in/", "/admin/login/"])
def test_every_page_forbids_what_is_not_its_own(client, path):
    policy = client.get(path, follow=True)["Content-Security-Policy"]
    assert policy == PAGE_POLICY
    assert "unsafe" not in policy


def test_pages_are_not_kept_by_caches(client):
    assert "no-store" in client.get("/dashboard/")["Cache-Control"]


@pytest.fixture
def clock(monkeypatch):
    """The time, for whoever asks when a session ends."""
    now = [time.time()]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(timezone, "now", lambda: datetime.fromtimestamp(now[0], UTC))

    def later(seconds: float) -> None:
        now[0] += seconds

    return later


def signs_in(client):
    assert client.post("/dashboard/sign-in/", {"username": "mira", "password": "correct horse"}).status_code == 302


def is_in(client, **headers):
    """Who is signed in is sent on from the door."""
    return client.get("/dashboard/sign-in/", headers=headers).status_code == 302


def test_who_does_nothing_for_long_is_signed_out(client, operator, clock, settings):
    signs_in(client)
    for _ in range(3):
        clock(settings.SESSION_IDLE_S - 61)
        assert is_in(client)
    clock(settings.SESSION_IDLE_S + 1)
    assert not is_in(client)


def test_a_page_that_renews_itself_keeps_nobody_signed_in(client, operator, clock, settings):
    signs_in(client)
    clock(settings.SESSION_IDLE_S - 10)
    assert is_in(client, **{"HX-Request": "true"})
    clock(20)
    assert not is_in(client)


def test_everybody_is_signed_out_after_a_while(client, operator, clock, settings):
    signs_in(client)
    steps = int(settings.SESSION_MOST_S // 3600) - 1
    for _ in range(steps):
        clock(3600)
        assert is_in(client)
    clock(3601)
    assert not is_in(client)


def test_signing_in_gives_a_new_session(client, operator):
    client.get("/dashboard/sign-in/")
    session = client.session
    session["seen"] = "before"
    session.save()
    before = session.session_key
    client.cookies["orchestrator_session"] = before
    signs_in(client)
    assert client.cookies["orchestrator_session"].value != before


@pytest.mark.parametrize("path", ["/api/admin/v1/registry", "/api/admin/v1/models", "/api/tags", "/metrics", "/readyz"])
def test_the_api_has_no_second_way_in_that_asks_nobody(client, operator, path):
    """Its routes are in the pages' table of addresses, too, where nothing looks at keys."""
    assert client.get(path).status_code == 404
    client.force_login(operator)
    assert client.get(path).status_code == 404
