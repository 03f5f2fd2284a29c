"""The page of rules and the form of one, as they are served: what each state shows, and what each form does."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from dashboard.rules.form import of_rule
from orchestrator.catalogue import Catalogue
from orchestrator.core.changing import By
from orchestrator.core.permissions import Role
from orchestrator.models import RouteDecision, Tenant
from orchestrator.ruling import draft, lately, versions
from routing.models import RuleDraft, RuleVersion
from routing.rules.checking import read_document
from routing.rules.document import Document, Rule
from tests.dashboard.site import somebody
from tests.fakes import FakeEngine

pytestmark = [pytest.mark.django_db(databases=["default", "cache"])]

PAGE = "/dashboard/routing/"
ACT, NEW, PART, PUBLISH = f"{PAGE}act/", f"{PAGE}new/", f"{PAGE}part/", f"{PAGE}publish/"
ANNA = By("anna", "first rules", "user:anna")
SHORT = {"name": "Short ones", "when": [{"fact": "tokens", "op": "below", "value": 400}], "then": {"use": ["small"]}}
PRIVATE = {"name": "Private", "when": [{"fact": "tags", "op": "has", "value": ["pii"]}], "then": {"local_only": True}}
LATE = {"name": "A / b & <c>", "then": {"forbid": "not now"}, "is_on": False}
TYPED = {
    "name": "Short ones",
    "is_on": "yes",
    "who": "use",
    "use": "small",
    "when-0-fact": "tokens",
    "when-0-op": "below",
    "when-0-value": "400",
}


@pytest.fixture(autouse=True)
def own_generation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is published counts up there."""
    monkeypatch.setattr(settings, "GENERATION_FILE", tmp_path / "generation")


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> None:
    """Which models there are, of the parts of this process; the others take no part in these pages."""
    monkeypatch.setattr("dashboard.running.parts", lambda: SimpleNamespace(catalogue=Catalogue([engine])))


@pytest.fixture
def mira(db: None) -> Client:
    """Who may change the rules."""
    return signed_in(somebody("mira", Role.OPERATOR))


@pytest.fixture
def vera(db: None) -> Client:
    """Who may see them."""
    return signed_in(somebody("vera", Role.VIEWER))


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def document(*rules: dict[str, Any], **more: Any) -> Document:
    return read_document({"rules": list(rules), **more})


def published(*rules: dict[str, Any], **more: Any) -> None:
    draft.save(document(*rules, **more), ANNA)
    versions.publish(ANNA)


def names() -> list[str]:
    return [rule.name for rule in draft.read().document.rules]


def page_name(name: str) -> str:
    return reverse("dashboard:rule", args=[name])


def main(response: Any) -> str:
    return str(response.content.decode().partition("<main")[2])


def text(response: Any) -> str:
    inline = re.sub(r"</?code>|<b>(When|and|Always)</b>", r"\1", main(response))
    words = re.sub(r"<[^>]+>", " ", inline)
    return re.sub(r"\s+", " ", words.replace("&#x27;", "'").replace("&amp;", "&").replace("&lt;", "<"))


def headline(response: Any) -> str:
    found = re.search(r"<h1[^>]*>(.*?)</h1>", main(response), re.S)
    assert found
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", found[1]))


def test_where_there_is_no_rule_an_example_is_one_press_away(mira: Client) -> None:
    response = mira.get(PAGE)
    assert headline(response) == "There is no rule yet."
    assert "Publish version" not in text(response)
    response = mira.post(ACT, {"act": "example", "example": "private", "edition": "0"}, follow=True)
    assert headline(response) == "The draft has one rule, and nothing is live yet."
    assert "When tags have private nothing leaves this machine." in text(response)
    assert names() == ["Private stays here"]
    assert versions.newest() == 0


def test_the_first_line_says_what_is_live_and_what_the_draft_changes(mira: Client) -> None:
    published(SHORT, PRIVATE)
    response = mira.get(PAGE)
    assert headline(response) == "Version 1 is live, with two rules."
    assert "The draft is the same. Published by anna, just now : first rules." in text(response)
    longer = SHORT | {"when": [{"fact": "tokens", "op": "below", "value": 800}]}
    draft.save(document(longer, PRIVATE), ANNA)
    response = mira.get(PAGE)
    assert headline(response) == "The draft changes one rule."
    assert '<del><span class="visually-hidden">was </span>400</del>' in main(response)
    assert '<ins><span class="visually-hidden">now </span>800</ins>' in main(response)
    draft.save(document(PRIVATE | {"is_on": False}, SHORT | {"note": "by day"}), ANNA)
    response = mira.get(PAGE)
    assert headline(response) == "The draft changes two rules."
    assert "Private switched off, moved from 2 off" in text(response)
    assert '<ins><span class="visually-hidden">now </span>by day</ins>' in main(response)
    draft.save(document(LATE, longer), ANNA)
    response = mira.get(PAGE)
    assert headline(response) == "The draft differs in three rules."
    assert "It changes one rule, adds one and removes one." in text(response)
    assert "Private removed" in text(response)


def test_names_are_code_and_what_joins_a_sentence_is_bold(mira: Client) -> None:
    when = [{"fact": "tags", "op": "has", "value": ["pii", "x<y"]}, {"fact": "language", "op": "is", "value": ["de"]}]
    published({"name": "both", "when": when, "then": {"use": ["small", "openai/Big"], "never": ["groq/*"]}}, LATE)
    page = main(mira.get(PAGE))
    assert "<b>When</b> tags have <code>pii</code> or <code>x&lt;y</code> <b>and</b> the language is de" in page
    assert "ask <code>small</code>, then <code>openai/Big</code>; never ask <code>groq/*</code>." in page
    assert not set("\ue000\ue001\ue002\ue003") & set(page + "".join(versions.version(1).changes))
    draft.save(document({"name": "both", "when": when[:1], "then": {"use": ["small", "large"]}}, LATE), ANNA)
    page = main(mira.get(PAGE))
    assert '<ins><span class="visually-hidden">now </span><code>large</code>.</ins>' in page


def test_a_removed_rule_stays_where_it_was(mira: Client) -> None:
    rules = [{"name": name, "then": {"use": ["small"]}} for name in "abcdef"]
    published(*rules)
    draft.save(document(*(rules[at] for at in (1, 4, 5))), ANNA)
    found = re.findall(r'id="to-\w+"[^>]*>(\w)<', main(mira.get(PAGE)))
    assert found == ["a", "b", "c", "d", "e", "f"]
    draft.save(document(rules[5], rules[1]), ANNA)
    assert re.findall(r'id="to-\w+"[^>]*>(\w)<', main(mira.get(PAGE))) == ["a", "f", "b", "c", "d", "e"]


def test_a_viewer_reads_every_rule_and_finds_no_act(vera: Client) -> None:
    published(SHORT)
    draft.save(document(SHORT, LATE), ANNA)
    response = vera.get(PAGE)
    assert headline(response) == "The draft adds one rule."
    assert "When the number of tokens is below 400 ask small." in text(response)
    assert "<form" not in main(response)
    assert "<form" not in main(vera.get(f"{PAGE}versions/1/"))
    for address in (PUBLISH, NEW, page_name("Short ones")):
        assert vera.get(address).status_code == 403
        assert f'href="{address}"' not in main(response)
    assert vera.post(ACT, {"act": "delete", "rule": "Short ones"}).status_code == 403
    assert vera.post(f"{PAGE}versions/1/restore/").status_code == 403
    assert names() == ["Short ones", "A / b & <c>"]


def test_a_page_of_200_rules_asks_the_database_a_few_times(mira: Client) -> None:
    many = [SHORT | {"name": f"Rule {number}"} for number in range(200)]
    published(*many)
    draft.save(document(*many[1:], many[0]), ANNA)
    mira.get(PAGE)  # a session is written anew once in an hour
    with CaptureQueriesContext(connection) as asked:
        response = mira.get(PAGE)
    assert headline(response) == "The draft moves one rule."
    assert len(asked) <= 10, "\n".join(one["sql"][:400] for one in asked)


@pytest.mark.parametrize(
    ("form", "order"),
    [
        ({"act": "up", "rule": "Private"}, ["Private", "Short ones", "A / b & <c>"]),
        ({"act": "down", "rule": "Private"}, ["Short ones", "A / b & <c>", "Private"]),
        ({"act": "up", "rule": "Short ones"}, ["Short ones", "Private", "A / b & <c>"]),
        ({"act": "place", "rule": "A / b & <c>", "place": "1"}, ["A / b & <c>", "Short ones", "Private"]),
        ({"act": "place", "rule": "Short ones", "place": "99"}, ["Private", "A / b & <c>", "Short ones"]),
        ({"act": "delete", "rule": "Private"}, ["Short ones", "A / b & <c>"]),
    ],
)
def test_buttons_change_the_draft_and_nothing_that_is_live(
    mira: Client, form: dict[str, str], order: list[str]
) -> None:
    published(SHORT, PRIVATE, LATE)
    response = mira.post(ACT, form | {"edition": str(draft.read().edition)})
    assert response["Location"].startswith(f"{PAGE}#rule-")
    assert names() == order
    assert [rule.name for rule in versions.live()[1].rules] == ["Short ones", "Private", "A / b & <c>"]


def test_a_rule_is_switched_and_a_removed_one_comes_back(mira: Client) -> None:
    published(SHORT, PRIVATE)
    mira.post(ACT, {"act": "off", "rule": "Private"})
    assert not RuleDraft.objects.get(name="Private").is_on
    mira.post(ACT, {"act": "delete", "rule": "Short ones"})
    mira.post(ACT, {"act": "keep", "rule": "Short ones"})
    assert names() == ["Short ones", "Private"]
    mira.post(ACT, {"act": "discard"})
    assert draft.read().document.rules == versions.live()[1].rules


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"act": "place", "rule": "Private", "place": "x"}, "Say where to, with a number from 1 to 2."),
        ({"act": "off", "rule": "Nobody"}, "There is no rule 'Nobody' in the draft."),
        ({"act": "keep", "rule": "Nobody"}, "There is no rule 'Nobody' any more."),
        ({"act": "dance"}, "There is no such act."),
        ({"act": "auto", "level": "101", "explore": "2"}, "The slider goes from 0 to 100"),
        ({"act": "auto", "level": "50", "explore": "x"}, "The slider goes from 0 to 100"),
    ],
)
def test_what_cannot_be_done_is_said(mira: Client, form: dict[str, str], said: str) -> None:
    published(SHORT, PRIVATE)
    words = text(mira.post(ACT, form, follow=True))
    assert "Nothing was changed." in words
    assert said in words
    assert draft.read().document.rules == versions.live()[1].rules


def test_a_button_of_an_older_page_does_nothing_and_says_who_was_there(mira: Client) -> None:
    published(SHORT, PRIVATE, LATE | {"name": "Last"})
    old = draft.read().edition
    draft.delete_rule("Private", By("jonas", actor="user:jonas"))
    response = mira.post(ACT, {"act": "down", "rule": "Short ones", "edition": str(old)}, follow=True)
    assert "Nothing was changed. jonas changed the draft meanwhile." in text(response)
    assert names() == ["Short ones", "Last"]


def test_the_slider_is_saved_in_the_draft(mira: Client) -> None:
    published(SHORT)
    form = {"act": "auto", "aim": "quality", "level": "70", "explore": "1.5", "never": "openai/*, dear"}
    response = mira.post(ACT, form, follow=True)
    assert headline(response) == "The draft changes how auto chooses."
    auto = draft.read().document.auto
    assert (auto.aim.quality, auto.aim.share, auto.cascade, auto.explore) == (0.7, None, False, 0.015)
    assert auto.never == ["openai/*", "dear"]


def test_a_form_makes_a_rule_and_opens_it_again_as_it_was(mira: Client) -> None:
    response = mira.post(NEW, TYPED | {"expression": "turns > 2", "place": "1"})
    assert response["Location"].startswith(f"{PAGE}#rule-")
    made = draft.read().document.rules[0]
    assert made == document(SHORT | {"expression": "turns > 2"}).rules[0]
    response = mira.get(page_name("Short ones"))
    assert "When the number of tokens is below 400 and turns &gt; 2: ask small." in text(response)


EVERYTHING = {
    "name": "Everything",
    "note": "all of it",
    "is_on": False,
    "when": [
        {"fact": "model", "op": "is_not", "value": ["auto", "gpt-*"]},
        {"fact": "tags", "op": "has", "value": ["a", "b"]},
        {"fact": "tools", "op": "is", "value": False},
        {"fact": "tokens", "op": "between", "value": [1.5, 10]},
        {"fact": "text", "op": "contains", "value": ["a, b", "c"]},
        {"fact": "time", "op": "within", "value": {"days": ["mon"], "since": "22:00", "until": "06:00", "zone": "UTC"}},
    ],
    "expression": "tokens > 5",
    "then": {
        "canary": {"use": ["a", "b"], "share": 0.07, "by": "key"},
        "shadow": {"model": "c", "share": 0.125},
        "local_only": True,
        "only": ["x*"],
        "never": ["y"],
        "most_tokens": 100,
        "most_cost": "0.02",
        "aim": {"quality": 0.66},
        "cascade": False,
        "context": "trim",
        "cache": {"read": False, "write": True, "ttl_s": 60.5},
        "is_last": True,
    },
}
SPLIT = {"arms": [{"name": "a", "use": ["x"], "weight": 9}, {"name": "b", "use": ["y", "z"], "weight": 1}], "by": "key"}


@pytest.mark.parametrize("rule", [EVERYTHING, LATE, {"name": "Parted", "then": {"split": SPLIT}}])
def test_whatever_a_rule_says_its_form_says_it_too(rule: dict[str, Any]) -> None:
    made = Rule.model_validate(rule)
    assert of_rule(made).rule() == made


def test_the_form_of_everything_is_served_and_saved_unchanged(mira: Client) -> None:
    published(EVERYTHING)
    page = main(mira.get(page_name("Everything")))
    fields: dict[str, Any] = {}
    for tag in re.findall(r"<input[^>]*>", page):
        found = dict(re.findall(r'([a-z_]+)="([^"]*)"', tag))
        if found.get("type") in {"radio", "checkbox"} and " checked" not in tag:
            continue
        fields.setdefault(found.get("name", ""), []).append(found.get("value", ""))
    for name, body in re.findall(r'<select name="([^"]+)"(.*?)</select>', page, re.S):
        chosen = re.findall(r'<option value="([^"]*)" selected', body) or re.findall(r'<option value="([^"]*)"', body)
        fields[name] = chosen[0]
    for name, body in re.findall(r'<textarea name="([^"]+)".*?>(.*?)</textarea>', page, re.S):
        fields[name] = body.replace("&gt;", ">")
    response = mira.post(page_name("Everything"), fields)
    assert response.status_code == 302, text(response)
    assert draft.read().document.rules == versions.live()[1].rules


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"name": " "}, "A rule needs a name."),
        ({"name": "private"}, "There is a rule 'private' already."),
        ({"use": " , "}, "Say which model is asked"),
        ({"use": "gpt-*"}, "A model is named in full"),
        ({"when-0-value": "many"}, "A number is written as 500 or 0.5."),
        ({"when-0-fact": "model", "when-0-op": "is", "when-0-value": ""}, "Say which; several are parted by commas."),
        ({"when-0-fact": "weather"}, "There is no such fact"),
        ({"when-0-fact": "time", "when-0-zone": "Moon/Sea"}, "There is no such time zone"),
        (
            {"when-0-op": "between", "when-0-low": "5", "when-0-high": "4"},
            "The first number has to be below the second.",
        ),
        ({"expression": "tokens > 'a'"}, "Column 8: > does not go with int, string."),
        (
            {"who": "split", "arm-0-name": "a", "arm-0-use": "x", "arm-0-weight": "1"},
            "An arm needs a name, and a model.",
        ),
        ({"who": "canary", "canary-use": "x", "canary-share": "120"}, "A share is between 0 and 100 %."),
        ({"most_tokens": "1.5"}, "Should be a valid integer."),
        ({"forbid": "no"}, "A request that is refused is not asked of anybody."),
    ],
)
def test_what_is_wrong_stands_at_its_place_and_nothing_is_saved(mira: Client, typed: dict[str, str], said: str) -> None:
    published(PRIVATE)
    form = TYPED | {"arm-1-name": "", "arm-1-use": "", "arm-1-weight": "1", "note": "kept as typed"} | typed
    response = mira.post(NEW, form)
    assert response.status_code == 422
    faults = [re.sub(r"\s+", " ", one) for one in re.findall(r'class="fault"[^>]*>(.*?)<', main(response), re.S)]
    assert any(said in one.replace("&gt;", ">").replace("&#x27;", "'") for one in faults), faults
    assert 'value="kept as typed"' in main(response)
    assert names() == ["Private"]


def test_an_expressions_fault_is_pointed_at(mira: Client) -> None:
    response = mira.post(f"{PART}?part=preview", TYPED | {"expression": "turns > 1 &&\n  tokens > 'a'"})
    assert re.search(r'<pre class="pointed">  tokens &gt; &#x27;a&#x27;\n {9}↑</pre>', response.content.decode())


def test_without_a_script_rows_are_added_and_taken_by_buttons(mira: Client) -> None:
    page = main(mira.post(NEW, TYPED | {"act": "add-condition"}))
    assert 'name="when-1-fact"' in page
    assert 'value="Short ones"' in page
    page = main(mira.post(NEW, TYPED | {"act": "remove-condition-0"}))
    assert 'name="when-0-fact"' not in page
    page = main(mira.post(NEW, TYPED | {"act": "refresh", "when-0-fact": "tools"}))
    assert ">is not so</option>" in page
    assert names() == []


def test_somebody_elses_change_takes_nothing_that_was_typed(mira: Client) -> None:
    published(SHORT, PRIVATE)
    old = draft.read().edition
    theirs = document(SHORT | {"then": {"use": ["large"]}}).rules[0]
    draft.put_rule("Short ones", theirs, By("jonas"))
    mine = TYPED | {"when-0-value": "999", "edition": str(old)}
    response = mira.post(page_name("Short ones"), mine)
    assert response.status_code == 409
    words = text(response)
    assert "It was not saved: jonas changed the draft meanwhile. What you typed is still here." in words
    assert "In the draft it now says: “When the number of tokens is below 400: ask large.”" in words
    assert 'value="999"' in main(response)
    newest = re.search(r'name="edition" value="(\d+)"', main(response))
    assert newest
    assert mira.post(page_name("Short ones"), mine | {"edition": newest[1]}).status_code == 302
    assert draft.read().document.rules[0].when[0].value == 999


def test_who_types_into_a_rule_that_is_gone_may_keep_it_as_a_new_one(mira: Client) -> None:
    published(SHORT, PRIVATE)
    draft.delete_rule("Short ones", By("jonas"))
    response = mira.post(page_name("Short ones"), TYPED)
    assert response.status_code == 404
    assert f'action="{NEW}"' in main(response)
    assert 'value="Short ones"' in main(response)


def test_publishing_shows_the_difference_and_keeps_the_reason(mira: Client) -> None:
    published(SHORT)
    draft.save(document(SHORT, PRIVATE), ANNA)
    response = mira.get(PUBLISH)
    assert headline(response) == "Publish version 2?"
    assert "Short ones" not in text(response).partition("What changes")[2]
    assert "There is no model 'small' at the moment." in text(response)
    form = {"reason": "for the auditors", "edition": str(draft.read().edition)}
    response = mira.post(PUBLISH, form, follow=True)
    assert headline(response) == "Version 2 is live, with two rules."
    row = RuleVersion.objects.get(number=2)
    assert (row.by, row.reason) == ("mira", "for the auditors")


def test_a_draft_that_was_changed_since_it_was_looked_at_is_not_published(mira: Client) -> None:
    draft.save(document(SHORT), ANNA)
    old = draft.read().edition
    draft.save(document(SHORT, PRIVATE), By("jonas"))
    response = mira.post(PUBLISH, {"reason": "mine", "edition": str(old)})
    assert response.status_code == 409
    assert "It was not published. jonas changed the draft meanwhile." in text(response)
    assert 'value="mine"' in main(response)
    assert versions.newest() == 0


def test_faults_that_stand_in_the_way_are_told_at_their_rule(mira: Client) -> None:
    published(SHORT)
    RuleDraft.objects.filter(name="Short ones").update(expression="tokens >")  # as an older release allowed it
    response = mira.get(PAGE)
    assert headline(response) == "The draft cannot be published yet."
    assert re.search(r'<p class="fault">Column \d+: ', main(response))
    response = mira.get(PUBLISH)
    assert headline(response) == "The draft cannot be published yet."
    assert re.search(r'<button class="primary" id="publish" disabled>', main(response))
    assert mira.post(PUBLISH).status_code == 400
    assert versions.newest() == 1


def test_a_draft_that_cannot_be_read_is_said_and_can_be_left_behind(mira: Client) -> None:
    published(SHORT)
    RuleDraft.objects.filter(name="Short ones").update(then={"teleport": True})  # as a later release may write it
    response = mira.get(PAGE)
    assert headline(response) == "The rules could not be read."
    assert "rules[0].then.teleport" in text(response)
    for address in (NEW, PUBLISH, f"{PAGE}versions/1/", page_name("Short ones")):
        assert mira.get(address)["Location"] == PAGE
    assert headline(mira.post(ACT, {"act": "discard"}, follow=True)) == "Version 1 is live, with one rule."


def test_rolling_back_shows_the_difference_and_what_becomes_of_the_draft(mira: Client) -> None:
    published(SHORT)
    published(SHORT, PRIVATE)
    draft.save(document(LATE), ANNA)
    response = mira.get(f"{PAGE}versions/1/")
    assert headline(response) == "Going back to version 1 removes one rule."
    assert "The draft is lost by it." in text(response)
    form = {"reason": "too strict", "edition": str(draft.read().edition)}
    response = mira.post(f"{PAGE}versions/1/restore/", form, follow=True)
    assert "The rules are those of version 1 again, as version 3." in text(response)
    assert names() == ["Short ones"]
    assert RuleVersion.objects.get(number=3).reason == "too strict"
    assert mira.get(f"{PAGE}versions/9/").status_code == 404
    assert mira.post(f"{PAGE}versions/9/restore/").status_code == 404


def came(number: int, *caught: str, stands_for: int = 1, hours_ago: int = 1) -> None:
    """A request that was decided about."""
    verdict = {"matched": [{"rule": name, "place": 1, "did": ["use"]} for name in caught]}
    said = {"facts": {}, "verdict": verdict} | ({"stands_for": stands_for} if stands_for > 1 else {})
    tenant = Tenant.objects.get_or_create(name="default")[0]
    at = timezone.now() - timedelta(hours=hours_ago)
    RouteDecision.rows.create(request_id=f"r{number}", tenant=tenant, at=at, rules=1, document=json.dumps(said))


def test_beside_each_live_rule_stands_how_many_requests_it_caught_of_late(
    mira: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(SHORT, PRIVATE)
    draft.add_rule(Rule.model_validate({"name": "New"}), ANNA)
    assert "caught of" not in text(mira.get(PAGE)), "nothing came"
    came(1, "Short ones", "Private")
    came(2, "Short ones")
    came(3, stands_for=16)
    came(4, "Private", hours_ago=25)
    RouteDecision.rows.filter(request_id="r2").update(document="{}")
    came(5, "Short ones")
    said = text(mira.get(PAGE))
    assert "caught of 18 in 24 h" in said
    counts = re.findall(r'<p class="caught">\s*(\d+)', main(mira.get(PAGE)))
    assert counts == ["2", "1"], "what is not live caught nothing"
    monkeypatch.setattr(lately, "MOST_READ", 1)
    assert "caught of the last 1 " in text(mira.get(PAGE))
    with CaptureQueriesContext(connection) as queries:
        mira.get(PAGE)
    assert sum("orchestrator_routedecision" in one["sql"] for one in queries) == 1
