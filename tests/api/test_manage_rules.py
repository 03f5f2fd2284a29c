"""Rules over the API: a draft that is changed rule by rule, tried, published, and taken back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from orchestrator.core.documents import MOST_FAULTS, Fault
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.models import AuditEvent
from orchestrator.parts import Parts
from orchestrator.ruling import documents
from routing.models import RuleDraft
from routing.rules.document import Document
from tests.keys import issue_key
from tests.shapes import faults

ROOT = "/api/admin/v1/routing"
MAIL = {"name": "mail", "when": [{"fact": "tags", "op": "has", "value": ["mail"]}], "then": {"use": ["tiny"]}}
DEAR = {"name": "dear calls", "then": {"most_cost": "0.05"}}


@pytest.fixture
async def admin(client: httpx.AsyncClient, parts: Parts) -> httpx.AsyncClient:
    """A client with a key called `ops` that may manage."""
    key = await parts.reads.run(60, lambda: issue_key("ops", "default", role=Role.OPERATOR, reaches_all=True))
    client.headers["Authorization"] = f"Bearer {key}"
    return client


async def ask(admin: httpx.AsyncClient, method: str, path: str, status: int = 200, **how: Any) -> Any:
    """The value of an answer, which has the shape that is described."""
    response = await admin.request(method, ROOT + path, **how)
    assert response.status_code == status, response.text
    kind = response.headers["Content-Type"]
    assert faults(method, response.request.url.path, status, kind, response.content) == []
    value = response.json()
    assert response.headers.get("ETag") == (f'"{value["edition"]}"' if "edition" in value else None)
    return value


def names(value: dict[str, Any]) -> list[str]:
    return [rule["name"] for rule in value["draft"]["rules"]]


async def test_what_was_learned_and_what_waits_to_be_is_told_also_when_forgotten(
    admin: httpx.AsyncClient,
) -> None:
    for method in ("GET", "DELETE"):
        told = await ask(admin, method, "/learned")
        assert (told["outcomes"], told["waiting"], told["models"]) == (0, 0, [])


async def test_a_draft_is_written_rule_by_rule_published_and_taken_back(admin: httpx.AsyncClient) -> None:
    nothing = await ask(admin, "GET", "/rules")
    assert (nothing["live"]["version"], nothing["live"]["rules"], nothing["edition"]) == (0, [], 0)
    await ask(admin, "POST", "/draft/rules", json=MAIL)
    await ask(admin, "POST", "/draft/rules", json=DEAR, params={"place": 1})
    assert names(await ask(admin, "POST", "/draft/rules/mail/move", json={"place": 1})) == ["mail", "dear calls"]
    changed = await ask(admin, "PATCH", "/draft/rules/dear%20calls", json={"name": "dear", "is_on": False})
    assert changed["draft"]["rules"][1] == {"name": "dear", "is_on": False, "then": {"most_cost": "0.05"}}
    assert changed["touched"]["mail"]["by"] == "ops"
    shown = await ask(admin, "GET", "/rules")
    assert shown["live"]["rules"] == []
    assert len(shown["changes"]) == 2
    published = await ask(admin, "POST", "/publish", params={"reason": "the first"})
    assert (published["version"], published["changes"], published["lost"]) == (1, shown["changes"], [])
    assert (await ask(admin, "GET", "/rules"))["live"]["rules"] == changed["draft"]["rules"]
    assert (await ask(admin, "POST", "/publish"))["version"] == 1
    await ask(admin, "DELETE", "/draft/rules/dear")
    await ask(admin, "PUT", "/draft/auto", json={"aim": {"quality": 0.9}})
    await ask(admin, "POST", "/publish")
    await ask(admin, "POST", "/draft/rules", json={"name": "half done"})
    lines = (await ask(admin, "GET", "/versions"))["versions"]
    assert [(one["number"], one["by"], one["reason"]) for one in lines] == [(2, "ops", ""), (1, "ops", "the first")]
    assert [one["number"] for one in (await ask(admin, "GET", "/versions", params={"before": 2}))["versions"]] == [1]
    assert (await ask(admin, "GET", "/versions/1"))["document"]["rules"] == changed["draft"]["rules"]
    restored = await ask(admin, "POST", "/versions/1/restore")
    assert restored["version"] == 3
    assert any("half done" in line for line in restored["lost"])
    now = await ask(admin, "GET", "/rules")
    assert now["draft"]["rules"] == now["live"]["rules"] == changed["draft"]["rules"]
    event = await AuditEvent.objects.of(EVERYBODY).alatest("id")
    assert (event.action, event.subject, event.actor[:4]) == ("rules.published", "version 3", "key:")


async def test_the_whole_draft_goes_in_and_comes_out(admin: httpx.AsyncClient) -> None:
    first = await ask(admin, "PUT", "/draft", json={"rules": [MAIL, DEAR]})
    assert names(first) == ["mail", "dear calls"]
    assert (await ask(admin, "PUT", "/draft", json=first["draft"]))["edition"] == first["edition"]
    await ask(admin, "POST", "/publish")
    stale = await ask(admin, "PUT", "/draft", 409, json=first["draft"] | {"rules": []})
    assert "newest version is 1 by now, not 0" in stale["error"]
    await ask(admin, "DELETE", "/draft/rules/mail")
    assert names(await ask(admin, "DELETE", "/draft")) == ["mail", "dear calls"]


async def test_a_later_change_is_not_undone(admin: httpx.AsyncClient) -> None:
    seen = {"If-Match": f'"{(await ask(admin, "POST", "/draft/rules", json=MAIL))["edition"]}"'}
    await ask(admin, "PATCH", "/draft/rules/mail", json={"note": "by another"}, headers=seen)
    for method, path, body in (
        ("PATCH", "/draft/rules/mail", {"note": "mine"}),
        ("DELETE", "/draft/rules/mail", None),
        ("POST", "/draft/rules/mail/move", {"place": 1}),
        ("POST", "/draft/rules", DEAR),
        ("PUT", "/draft", {"rules": []}),
        ("PUT", "/draft/auto", {}),
        ("DELETE", "/draft", None),
        ("POST", "/publish", None),
    ):
        error = (await ask(admin, method, path, 409, json=body, headers=seen))["error"]
        assert "The draft was changed meanwhile: it is edition 2 by now, not 1." in error
    assert "If-Match takes" in (await ask(admin, "DELETE", "/draft", 400, headers={"If-Match": "x"}))["error"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"rules": [{"name": "a", "expression": "tokens >"}]}, "rules[0].expression: column 9: it ends too soon"),
        ({"rules": [{"name": "a", "when": [{"fact": "tokens", "op": "is", "value": 5}]}]}, "rules[0].when[0].op: "),
        (
            {"rules": [{"name": "a", "when": [{"fact": "tokens", "op": "below", "value": {}}]}]},
            "rules[0].when[0].value",
        ),
        ({"rules": [{"name": "a", "colour": 1}]}, "rules[0].colour: there is no such field"),
        ({"rules": [MAIL, MAIL]}, "rules[1].name: "),
        ({"rules": [{"name": "a", "then": {"aim": {}}}]}, "rules[0].then.aim: either share or quality is wanted"),
        ([], "an object is wanted"),
    ],
)
async def test_what_is_wrong_is_told_with_its_place(admin: httpx.AsyncClient, body: Any, words: str) -> None:
    assert words in (await ask(admin, "PUT", "/draft", 400, json=body))["error"]
    (fault,) = (await ask(admin, "POST", "/check", json=body))["faults"]
    assert words in f"{fault['path']}: {fault['words']}"
    assert (await ask(admin, "GET", "/rules"))["edition"] == 0


async def test_one_wrong_rule_is_told_with_its_place_in_it(admin: httpx.AsyncClient) -> None:
    await ask(admin, "POST", "/draft/rules", json=MAIL)
    wrong = {"expression": "tokens > 'a' +"}
    for method, path, body in (("POST", "/draft/rules", {"name": "a", **wrong}), ("PATCH", "/draft/rules/mail", wrong)):
        error = (await ask(admin, method, path, 400, json=body))["error"]
        assert error == "expression: column 15: it ends too soon"
    assert (await ask(admin, "POST", "/draft/rules", 400, json=MAIL))["error"] == "name: there is a rule 'mail' already"
    assert (await ask(admin, "PATCH", "/draft/rules/gone", 404, json={}))["error"] == (
        "There is no rule 'gone' in the draft."
    )


async def test_checking_tells_what_would_change_and_what_is_hardly_meant(admin: httpx.AsyncClient) -> None:
    body = {"rules": [MAIL, {"name": "b", "then": {"use": ["openai/big", "nobody"], "never": ["no-*"]}}]}
    found = await ask(admin, "POST", "/check", json=body)
    assert found["faults"] == []
    assert len(found["changes"]) == 2
    assert [one["path"] for one in found["warnings"]] == ["rules[1].then.use[1]", "rules[1].then.never[0]"]
    await ask(admin, "PUT", "/draft", json=body)
    assert (await ask(admin, "POST", "/publish"))["warnings"] == found["warnings"]


async def test_a_change_tells_at_once_what_of_it_is_hardly_meant(admin: httpx.AsyncClient) -> None:
    await ask(admin, "POST", "/draft/rules", json={"name": "lost", "then": {"use": ["nobody"]}})
    found = await ask(admin, "POST", "/draft/rules", json={"name": "idle", "when": []})
    assert [one["path"] for one in found["warnings"]] == ["rules[1].then"], "and not of the other rule"
    assert "nothing is done" in found["warnings"][0]["words"]
    found = await ask(admin, "PATCH", "/draft/rules/idle", json={"name": "busy", "then": {"is_last": True}})
    assert found["warnings"] == []
    every = await ask(admin, "PUT", "/draft", json={"rules": found["draft"]["rules"]})
    assert [one["path"] for one in every["warnings"]] == ["rules[0].then.use[0]"]


async def test_form_hides_nothing_else_that_is_wrong(admin: httpx.AsyncClient) -> None:
    body = {"rules": [{"name": "a", "colour": 1, "expression": "tokens >"}, {"name": "b", "expression": "nosuch > 1"}]}
    paths = ["rules[0].colour", "rules[0].expression", "rules[1].expression"]
    assert [one["path"] for one in (await ask(admin, "POST", "/check", json=body))["faults"]] == paths
    assert [one["path"] for one in (await ask(admin, "PUT", "/draft", 400, json=body))["faults"]] == paths
    one = await ask(admin, "POST", "/draft/rules", 400, json=body["rules"][0])
    assert [fault["path"] for fault in one["faults"]] == ["colour", "expression"]


async def test_a_draft_that_is_not_right_any_more_is_shown_and_not_published(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time zone is gone from the machine."""
    await ask(admin, "POST", "/draft/rules", json=MAIL)

    def later(document: Document) -> list[Fault]:
        return [Fault(("rules", 0, "when", 0, "value", "zone"), "there is no such zone")]

    monkeypatch.setattr(documents, "faults_in", later)
    (fault,) = (await ask(admin, "GET", "/rules"))["faults"]
    assert fault == {"path": "rules[0].when[0].value.zone", "words": "there is no such zone"}
    refused = await ask(admin, "POST", "/publish", 400)
    assert "rules[0].when[0].value.zone" in refused["error"]
    assert refused["faults"] == [fault]


async def test_all_that_is_wrong_is_told_when_it_is_refused(admin: httpx.AsyncClient) -> None:
    wrong = {"rules": [{"name": f"{at}", "then": {"use": ["*"]}, "expression": "tokens > \x1b"} for at in range(40)]}
    refused = await ask(admin, "PUT", "/draft", 400, json=wrong)
    assert refused["error"].endswith("; and 119 more")
    assert len(refused["faults"]) == MOST_FAULTS
    assert {"rules[0].expression", "rules[0].then.use[0]"} < {one["path"] for one in refused["faults"]}
    assert not any("\x1b" in one["words"] for one in refused["faults"])
    unread = await ask(admin, "POST", "/draft/rules", 400, json={"name": "", "odd": 1})
    assert {one["path"] for one in unread["faults"]} == {"name", "odd"}


@pytest.mark.parametrize("name", [".", "..", "a/move"])
async def test_a_name_to_which_no_address_leads_is_refused_and_can_be_got_rid_of(
    admin: httpx.AsyncClient, parts: Parts, name: str
) -> None:
    refused = await ask(admin, "POST", "/draft/rules", 400, json={"name": name})
    assert [one["path"] for one in refused["faults"]] == ["name"]
    await ask(admin, "POST", "/draft/rules", json=MAIL)
    await ask(admin, "PATCH", "/draft/rules/mail", 400, json={"name": name})
    await parts.managing.run(60, lambda: RuleDraft.objects.update(name=name))  # of before that was refused
    draft = (await ask(admin, "GET", "/rules"))["draft"]
    assert [rule["name"] for rule in draft["rules"]] == [name]
    assert (await ask(admin, "POST", "/publish", 400))["faults"][0]["path"] == "rules[0].name"
    kept = draft["rules"]
    assert names(await ask(admin, "PUT", "/draft", json=draft | {"rules": [kept[0] | {"name": "b"}]})) == ["b"]
    await parts.managing.run(60, lambda: RuleDraft.objects.update(name=name))
    assert names(await ask(admin, "PUT", "/draft", json=draft | {"rules": []})) == []


async def test_a_rules_name_may_hold_anything_that_can_be_printed(admin: httpx.AsyncClient) -> None:
    for name, written in (("a/b", "a/b"), ("größer? ja & #1", "gr%C3%B6%C3%9Fer%3F%20ja%20%26%20%231")):
        await ask(admin, "POST", "/draft/rules", json={"name": name})
        await ask(admin, "PATCH", f"/draft/rules/{written}", json={"note": "x"})
        await ask(admin, "POST", f"/draft/rules/{written}/move", json={"place": 1})
        await ask(admin, "DELETE", f"/draft/rules/{written}")


async def test_a_dry_run_is_of_the_draft_or_of_what_is_sent(admin: httpx.AsyncClient) -> None:
    for body in ({}, {"document": {"rules": [MAIL]}, "last": 5}):
        found = await ask(admin, "POST", "/dry-run", json=body)
        assert (found["requests"], found["caught"], found["saved_micros"]) == (0, {}, 0)
    wrong = {"document": {"rules": [MAIL, MAIL]}}
    assert "rules[1].name" in (await ask(admin, "POST", "/dry-run", 400, json=wrong))["error"]


async def test_who_sees_rules_does_not_change_them(client: httpx.AsyncClient, parts: Parts) -> None:
    for role, reaches_all, may_see in ((Role.VIEWER, True, 200), (Role.ADMIN, False, 403)):
        key = await parts.reads.run(
            60, lambda role=role, all_=reaches_all: issue_key("k", "default", role=role, reaches_all=all_)
        )
        client.headers["Authorization"] = f"Bearer {key}"
        await ask(client, "GET", "/rules", may_see)
        for method, path, body in (
            ("POST", "/draft/rules", MAIL),
            ("POST", "/publish", None),
            ("POST", "/versions/1/restore", None),
        ):
            error = (await ask(client, method, path, 403, json=body))["error"]
            assert "change rules for every tenant" in error
