"""Rules in the Django admin: the draft is read and published, versions are read and gone back to."""

from __future__ import annotations

import html

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from orchestrator.core.documents import Fault
from orchestrator.core.permissions import Role
from orchestrator.models import Membership, RouteDecision, Tenant
from orchestrator.ruling import documents, draft, versions
from routing.models import RuleDraft
from tests.ruling.conftest import ANNA, rule

pytestmark = pytest.mark.django_db
ROOT = "/admin/routing/"
PUBLISH = f"{ROOT}ruledraft/publish/"


def signed_in(role: Role) -> Client:
    user = User.objects.create_user(f"{role}")
    Membership.objects.create(user=user, role=role)
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def staff() -> Client:
    """An operator."""
    return signed_in(Role.OPERATOR)


def read(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def test_the_draft_is_read_as_sentences_and_published(staff: Client) -> None:
    draft.add_rule(rule("nights", then={"use": ["openai/big"]}), ANNA)
    page = read(staff, f"{ROOT}ruledraft/")
    for words in ("nights", "openai/big", "anna", "Publish the draft"):
        assert words in page
    asked = read(staff, PUBLISH)
    assert "nights" in asked
    assert "there is no model &#x27;openai/big&#x27; at the moment" in asked
    said = staff.post(PUBLISH, {"edition": draft.read().edition, "reason": "at last"}, follow=True).content.decode()
    assert "Version 1 holds." in said
    assert (versions.version(1).by, versions.version(1).reason) == ("operator", "at last")
    assert "there is nothing to publish" in read(staff, PUBLISH)


def test_another_draft_than_was_seen_is_not_published(staff: Client) -> None:
    draft.add_rule(rule("a"), ANNA)
    edition = draft.read().edition
    draft.add_rule(rule("b"), ANNA)
    said = staff.post(PUBLISH, {"edition": edition}, follow=True).content.decode()
    assert "The draft was changed meanwhile" in said
    assert versions.newest() == 0


def test_what_is_wrong_is_told_in_place_of_the_button(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    draft.add_rule(rule("a"), ANNA)
    monkeypatch.setattr(documents, "faults_in", lambda _: [Fault(("rules", 0, "when", 0), "no such zone")])
    asked = read(staff, PUBLISH)
    assert "rules[0].when[0]: no such zone" in asked
    assert "<form method" not in asked.partition('id="content"')[2]
    assert "rules[0].when[0]: no such zone" in staff.post(PUBLISH).content.decode()
    assert versions.newest() == 0


def test_versions_are_read_and_gone_back_to(staff: Client) -> None:
    for name in ("first", "second"):
        draft.save(documents.with_rules(documents.EMPTY, [rule(name)]), ANNA)
        versions.publish(ANNA)
    draft.add_rule(rule("half done"), ANNA)
    assert "and 1 more" in read(staff, f"{ROOT}ruleversion/")
    row = versions.version(1)
    page = read(staff, f"{ROOT}ruleversion/{row.pk}/change/")
    assert "Restore this version" in page
    asked = read(staff, f"{ROOT}ruleversion/{row.pk}/restore/")
    assert "gone from the draft: " in asked
    said = staff.post(f"{ROOT}ruleversion/{row.pk}/restore/", follow=True).content.decode()
    assert "The rules are as they were in version 1 again. This is version 3." in said
    assert [one.name for one in versions.live()[1].rules] == ["first"]
    assert "there is nothing to change" in read(staff, f"{ROOT}ruleversion/{row.pk}/restore/")
    assert staff.get(f"{ROOT}ruleversion/1000000/restore/").status_code == 404


def test_who_may_only_look_publishes_nothing() -> None:
    draft.add_rule(rule("a"), ANNA)
    versions.publish(ANNA)
    draft.add_rule(rule("b"), ANNA)
    viewer = signed_in(Role.VIEWER)
    assert "Publish the draft" not in read(viewer, f"{ROOT}ruledraft/")
    row = versions.version(1)
    assert "Restore this version" not in read(viewer, f"{ROOT}ruleversion/{row.pk}/change/")
    for path in (PUBLISH, f"{ROOT}ruleversion/{row.pk}/restore/"):
        assert viewer.get(path).status_code == 403
        assert viewer.post(path).status_code == 403
    assert versions.newest() == 1


def test_a_row_that_cannot_be_read_is_shown_as_that(staff: Client) -> None:
    draft.add_rule(rule("a"), ANNA)
    RuleDraft.objects.update(then={"later": 1})
    assert "It cannot be read: " in read(staff, f"{ROOT}ruledraft/")
    assert "there is no such field" in read(staff, PUBLISH)


def test_what_a_decision_followed_from_can_be_read(staff: Client) -> None:
    tenant = Tenant.objects.create(name="acme")
    row = RouteDecision.rows.create(
        request_id="r", tenant=tenant, at=timezone.now(), rules=1, document='{"facts":{"model":"<auto>"},"notes":[]}'
    )
    address = f"/admin/orchestrator/routedecision/{row.pk}/change/"
    shown = html.unescape(read(staff, address))
    assert '<pre tabindex="0">{\n  "facts": {\n    "model": "<auto>"\n  },\n  "notes": []\n}</pre>' in shown
    RouteDecision.rows.filter(pk=row.pk).update(document="of another release")
    assert '<pre tabindex="0">of another release</pre>' in read(staff, address)
