"""The pages on which people are let in, changed and removed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from dashboard.views import people
from orchestrator.core.permissions import Role
from orchestrator.identity import second_factor
from orchestrator.identity.people import roles_of
from orchestrator.models import Membership, Tenant
from tests.dashboard.site import somebody
from tests.dashboard.test_sign_in import code, set_up

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
PEOPLE, OWN = "/dashboard/people/", "/dashboard/account/"


@pytest.fixture
def acme(transactional_db: None) -> Tenant:
    """One tenant."""
    return Tenant.objects.create(name="acme")


@pytest.fixture
def admin(operator: User) -> Client:
    """An admin of every tenant, mira."""
    return signed_in(operator)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def held(user: User) -> dict[int | None, Role]:
    return dict(roles_of(User.objects.get(pk=user.pk)))


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def link_in(response: Any) -> str:
    found = re.search(r'class="link-once">http://testserver(/dashboard/sign-in/[\w-]+/)<', response.content.decode())
    assert found, text(response)
    return found[1]


def test_of_many_tenants_the_first_can_be_chosen_and_ones_own(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("amber", "birch", "cedar"):
        Tenant.objects.create(name=name)
    bob = somebody("bob", Role.OPERATOR, "zinc")
    monkeypatch.setattr(people, "MOST_TENANTS", 2)
    shown = admin.get(PEOPLE).content.decode()
    assert ">birch</option>" in shown
    assert ">cedar</option>" not in shown
    zinc = Tenant.objects.get(name="zinc")
    assert f'<option value="{zinc.pk}" selected>zinc</option>' in admin.get(f"{PEOPLE}{bob.pk}/").content.decode()


def test_the_list_says_who_may_what_and_who_has_no_second_factor(admin: Client, acme: Tenant) -> None:
    somebody("bob", Role.OPERATOR, "acme")
    words = text(admin.get(PEOPLE))
    assert "2 people are let in." in words
    assert "2 of them without a second factor. mira is admin of every tenant." in words
    assert "operator of acme" in words


def test_a_link_is_shown_once_and_kept_by_nobody(admin: Client, acme: Tenant) -> None:
    response = admin.post(f"{PEOPLE}invite/", {"name": "anna", "role": "viewer", "of": str(acme.pk)})
    assert "no-store" in response["Cache-Control"]
    link = link_in(response)
    assert "link-once" not in admin.get(PEOPLE).content.decode()
    visitor = Client()
    assert visitor.post(link)["Location"] == "/dashboard/account/"
    assert Client().get(link).status_code == 410
    assert held(User.objects.get(username="anna")) == {acme.pk: Role.VIEWER}


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        ({"name": "mira", "role": "viewer", "of": "every"}, 409, "mira is there already"),
        ({"name": "", "role": "viewer", "of": "every"}, 400, "A name is made of letters"),
        ({"name": "anna", "role": "king", "of": "every"}, 400, "Choose a role."),
        ({"name": "anna", "role": "viewer", "of": "4711"}, 404, "There is no tenant"),
        ({"name": "anna", "role": "viewer", "of": "x"}, 400, "Choose a tenant"),
        ({"name": "anna", "role": "viewer"}, 400, "Choose a tenant"),
        ({"name": "<script>", "role": "viewer", "of": "every"}, 400, "A name is made of letters"),
    ],
)
def test_what_cannot_be_is_said_and_nobody_is_made(admin: Client, form: dict[str, str], status: int, said: str) -> None:
    response = admin.post(f"{PEOPLE}invite/", form)
    assert response.status_code == status
    assert "Nothing was changed." in text(response)
    assert said in text(response)
    assert b"<script>" not in response.content
    assert list(User.objects.values_list("username", flat=True)) == ["mira"]


def test_a_role_is_given_changed_and_taken(admin: Client, acme: Tenant) -> None:
    bob = somebody("bob", Role.VIEWER, "acme")
    page = f"{PEOPLE}{bob.pk}/"
    admin.post(f"{page}role/", {"role": "operator", "of": str(acme.pk)})
    admin.post(f"{page}role/", {"role": "auditor", "of": "every"})
    assert held(bob) == {acme.pk: Role.OPERATOR, None: Role.AUDITOR}
    admin.post(f"{page}role/", {"role": "none", "of": str(acme.pk)})
    assert held(bob) == {None: Role.AUDITOR}
    assert "bob is auditor of every tenant." in text(admin.get(page))


@pytest.mark.parametrize(
    ("role", "of", "chosen"),
    [("auditor", "x", "<option selected>auditor</option>"), ("king", "globex", "selected>globex</option>")],
)
def test_what_was_chosen_stays_when_it_could_not_be(
    admin: Client, acme: Tenant, role: str, of: str, chosen: str
) -> None:
    globex = Tenant.objects.create(name="globex")
    bob = somebody("bob", Role.VIEWER, "acme")
    form = {"role": role, "of": str(globex.pk) if of == "globex" else of}
    response = admin.post(f"{PEOPLE}{bob.pk}/role/", form)
    assert response.status_code == 400
    assert chosen in response.content.decode()
    taken = admin.post(f"{PEOPLE}{bob.pk}/role/", {"role": "none", "of": "x"})
    assert taken.status_code == 400
    assert f'<option value="{acme.pk}" selected>acme</option>' in taken.content.decode(), "as the form was before"


def test_a_session_ends_when_a_role_reaches_further_and_who_gives_it_is_told(admin: Client, acme: Tenant) -> None:
    bob = somebody("bob", Role.VIEWER, "acme")
    page = f"{PEOPLE}{bob.pk}/"
    session = signed_in(bob)
    said = text(admin.post(f"{page}role/", {"role": "auditor", "of": str(acme.pk)}, follow=True))
    assert "bob is signed out everywhere, and links that were open are void" in said
    assert session.get(OWN).status_code == 302
    session = signed_in(bob)
    said = text(admin.post(f"{page}role/", {"role": "viewer", "of": str(acme.pk)}, follow=True))
    assert "signed out" not in said
    assert session.get(OWN).status_code == 200


def test_a_code_that_is_waited_for_lets_nobody_into_what_is_given_meanwhile(admin: Client, acme: Tenant) -> None:
    """The first factor was shown when the account reached less."""
    bob = somebody("bob", Role.VIEWER, "acme")
    secret = set_up(bob)
    visitor = Client()
    assert visitor.post(link_in(admin.post(f"{PEOPLE}{bob.pk}/link/")))["Location"] == "/dashboard/sign-in/code/"
    admin.post(f"{PEOPLE}{bob.pk}/role/", {"role": "admin", "of": "every"})
    assert visitor.post("/dashboard/sign-in/code/", {"code": code(secret)})["Location"] == "/dashboard/sign-in/"
    assert visitor.get(OWN).status_code == 302


def test_ones_own_page_has_no_buttons_and_takes_none(admin: Client, operator: User) -> None:
    page = f"{PEOPLE}{operator.pk}/"
    assert "This is you" in text(admin.get(page))
    assert b"<form" not in admin.get(page).content.partition(b"<main")[2]
    for act, form in (("role", {"role": "viewer", "of": "every"}), ("remove", {}), ("two-factor-off", {})):
        assert admin.post(f"{page}{act}/", form).status_code == 403
    assert held(operator) == {None: Role.ADMIN}


def test_an_auditor_sees_people_and_changes_nobody(acme: Tenant) -> None:
    auditor, bob = somebody("anna", Role.AUDITOR), somebody("bob", Role.VIEWER, "acme")
    client = signed_in(auditor)
    for path in (PEOPLE, f"{PEOPLE}{bob.pk}/"):
        response = client.get(path)
        assert response.status_code == 200
        assert b"<form" not in response.content.partition(b"<main")[2]
    for act in ("role", "link", "two-factor-off", "remove"):
        assert client.post(f"{PEOPLE}{bob.pk}/{act}/", {"role": "admin", "of": "every"}).status_code == 403
    assert client.post(f"{PEOPLE}invite/", {"name": "x", "role": "admin", "of": "every"}).status_code == 403
    assert held(bob) == {acme.pk: Role.VIEWER}


def test_an_admin_of_one_tenant_sees_and_changes_its_people_only(acme: Tenant) -> None:
    globex = Tenant.objects.create(name="globex")
    client = signed_in(somebody("anna", Role.ADMIN, "acme"))
    bob, carl = somebody("bob", Role.VIEWER, "acme"), somebody("carl", Role.VIEWER, "globex")
    Membership.objects.create(user=bob, tenant=globex, role=Role.ADMIN)
    page = text(client.get(PEOPLE))
    assert "2 people are let in." in page
    for hidden in ("globex", "carl", "every tenant"):
        assert hidden not in page
    assert client.get(f"{PEOPLE}{carl.pk}/").status_code == 404
    assert "globex" not in text(client.get(f"{PEOPLE}{bob.pk}/"))
    assert client.post(f"{PEOPLE}{carl.pk}/role/", {"role": "viewer", "of": str(acme.pk)}).status_code == 404
    assert client.post(f"{PEOPLE}{bob.pk}/role/", {"role": "viewer", "of": str(globex.pk)}).status_code == 403
    for act in ("link", "remove", "two-factor-off"):
        response = client.post(f"{PEOPLE}{bob.pk}/{act}/")
        assert response.status_code == 403
        assert "link-once" not in response.content.decode()
    assert client.post(f"{PEOPLE}{bob.pk}/role/", {"role": "none", "of": str(acme.pk)})["Location"] == PEOPLE
    assert held(bob) == {globex.pk: Role.ADMIN}


def test_a_lost_authenticator_is_forgotten_and_a_link_made(admin: Client, acme: Tenant) -> None:
    bob = somebody("bob", Role.VIEWER, "acme")
    secret = set_up(bob)
    page = f"{PEOPLE}{bob.pk}/"
    link = link_in(admin.post(f"{page}link/"))
    lost = Client()
    lost.post(link)
    lost.post("/dashboard/sign-in/code/", {"code": code(secret)})
    assert lost.get(OWN).status_code == 200
    without, other = signed_in(bob), signed_in(somebody("carl", Role.VIEWER, "acme"))
    link = link_in(admin.post(f"{page}link/"))
    assert Client().post(link)["Location"] == "/dashboard/sign-in/code/"
    assert admin.post(f"{page}two-factor-off/").status_code == 302
    assert not second_factor.is_on(bob)
    assert lost.get(OWN).status_code == 302  # what was signed in with a code
    assert without.get(OWN).status_code == other.get(OWN).status_code == 200
    link = link_in(admin.post(f"{page}link/"))
    assert Client().post(link)["Location"] == "/dashboard/account/"


def test_a_list_of_many_people_takes_few_queries(
    admin: Client, acme: Tenant, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        somebody(f"name{number}", Role.VIEWER, "acme")
    admin.get(PEOPLE)
    with django_assert_max_num_queries(6):  # session, person, roles; people, their roles; tenants
        assert "31 people are let in." in text(admin.get(PEOPLE))
