"""Who gets in, and how."""

import pytest
from django.test import Client

from dashboard.middleware import POLICY
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
    assert client.get("/dashboard/sign-out/").status_code == 405
    assert client.post("/dashboard/sign-out/")["Location"] == "/dashboard/sign-in/"
    assert client.get("/dashboard/").status_code == 302


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
    assert client.get(f"/dashboard/sign-in/{token}/")["Location"] == "/dashboard/"
    assert client.session["_auth_user_id"]
    spent = Client().get(f"/dashboard/sign-in/{token}/")
    assert spent.status_code == 410
    assert b"no longer works" in spent.content


def test_a_form_from_elsewhere_is_refused(operator):
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    assert client.post("/dashboard/cache/purge/", {"what": "everything"}).status_code == 403


@pytest.mark.parametrize("path", ["/dashboard/sign-in/", "/admin/login/"])
def test_every_page_forbids_what_is_not_its_own(client, path):
    policy = client.get(path, follow=True)["Content-Security-Policy"]
    assert policy == POLICY
    assert "unsafe" not in policy


def test_pages_are_not_kept_by_caches(client):
    assert "no-store" in client.get("/dashboard/")["Cache-Control"]
