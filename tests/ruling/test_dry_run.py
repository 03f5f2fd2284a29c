"""A dry run: the requests that came last, as rules that nobody has published yet would have had them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from django.utils import timezone

from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.core.threads import WorkerThread
from orchestrator.models import RequestRecord, Tenant
from orchestrator.models.decisions import RouteDecision
from orchestrator.parts import Parts
from orchestrator.registry import changes
from orchestrator.registry.document import read_document as read_registry
from orchestrator.ruling import draft, versions
from orchestrator.ruling.dry_run import Move, dry_run
from orchestrator.ruling.watch import RuleWatch
from routing.models import RuleVersion
from routing.rules.checking import read_document
from routing.rules.compiled import compile_rules
from routing.rules.document import Document
from routing.rules.facts import Facts
from tests.ruling.conftest import ANNA

pytestmark = pytest.mark.django_db

CHEAP = {"provider": "mine", "remote_name": "small", "input_price": Decimal(1), "output_price": Decimal(2)}
DEAR = {"provider": "mine", "remote_name": "big", "input_price": Decimal(10), "output_price": Decimal(20)}


@pytest.fixture
def acme() -> Tenant:
    return Tenant.objects.create(name="acme")


@pytest.fixture(autouse=True)
def prices() -> None:
    """Two models of a provider that charges, and one of which nobody knows what it does."""
    models = {
        "cheap": {"deployments": [CHEAP], "aliases": ["Little"]},
        "dear": {"deployments": [DEAR]},
        "safe": {"deployments": [DEAR], "fallbacks": ["cheap", "here"]},
        "twice": {"deployments": [DEAR, CHEAP | {"rank": 1}]},
        "odd": {"deployments": [{"provider": "mine", "remote_name": "odd"}]},
        "here": {"deployments": [{"remote_name": "smollm2:135m"}]},
    }
    provider = {"kind": "compatible", "address": "http://127.0.0.1:9/v1", "is_paid": True}
    changes.apply(read_registry({"providers": {"mine": provider}, "models": models}), ANNA)


def asked(
    tenant: Tenant,
    request_id: str,
    *,
    cost: int | None = 30,
    order: tuple[str, ...] = (),
    tier: str = "miss",
    stands_for: int = 1,
    **how: Any,
) -> None:
    """A request of 10 and 1 tokens, as it is written down: what live rules said of it, and what it cost."""
    live = compile_rules(versions.live()[1], versions.newest())
    facts = Facts(**{"model": "dear", "tenant": tenant.name, **how})
    verdict = live.decide(facts)
    document = {
        "facts": facts.to_json(),
        "stands_for": stands_for,
        "verdict": verdict.to_json(),
        "decision": {"choices": [{"name": name, "place": at} for at, name in enumerate(order)]},
    }
    RouteDecision.objects.create(
        request_id=request_id, tenant=tenant, at=timezone.now(), rules=verdict.version, document=json.dumps(document)
    )
    RequestRecord.objects.create(
        request_id=request_id,
        tenant=tenant,
        at=timezone.now(),
        tier=tier,
        streamed=False,
        status=200,
        prompt_tokens=10,
        completion_tokens=1,
        total_us=1,
        is_paid=True,
        cost_microusd=cost,
    )


def rules(*those: dict[str, Any], **more: Any) -> Document:
    return read_document({"rules": list(those), **more})


def test_without_requests_there_is_nothing() -> None:
    assert dry_run(rules(), 100, EVERYBODY).requests == 0


def test_a_model_that_cannot_be_had_is_passed_over(acme: Tenant) -> None:
    for number in range(2):
        asked(acme, f"{number}")
    there = {"Cheap", "dear", "openai/*"}
    for use, moves in (
        (["nosuch/model"], ()),  # whom the caller asked for answers
        (["nosuch/model", "cheap"], (Move("dear", "cheap", 2, 60, 24),)),
        (["openai/Big/One"], (Move("dear", "openai/Big/One", 2, 0, 0),)),
    ):
        found = dry_run(rules({"name": "a", "then": {"use": use}}), 100, EVERYBODY, models=there)
        assert (found.moves, found.caught) == (moves, {"a": 2})
        assert [one.to for one in found.samples] == [move.to for move in moves for _ in range(2)]
    assert dry_run(rules({"name": "a", "then": {"use": ["nosuch/model"]}}), 100, EVERYBODY).moved == 2, "nobody knows"


def test_who_would_have_been_asked_instead_and_for_how_much(acme: Tenant) -> None:
    for number in range(3):
        asked(acme, f"mail {number}", tags=frozenset({"mail"}))
    asked(acme, "code", tags=frozenset({"code"}))
    asked(acme, "secret", tags=frozenset({"secret"}))
    asked(acme, "other")
    found = dry_run(
        rules(
            {
                "name": "mail is easy",
                "when": [{"fact": "tags", "op": "has", "value": ["mail"]}],
                "then": {"use": ["Little"]},
            },
            {"name": "code", "when": [{"fact": "tags", "op": "has", "value": ["code"]}], "then": {"use": ["odd"]}},
            {
                "name": "secrets stay",
                "when": [{"fact": "tags", "op": "has", "value": ["secret"]}],
                "then": {"forbid": "not here"},
            },
            {"name": "tiny answers", "then": {"most_tokens": 100}},
            {"name": "off", "is_on": False, "then": {"use": ["here"]}},
        ),
        100,
        EVERYBODY,
    )
    assert (found.requests, found.caught_any, found.uncaught, found.unread) == (6, 6, 0, 0)
    assert found.caught == {"mail is easy": 3, "code": 1, "secrets stay": 1, "tiny answers": 5}
    assert (found.moved, found.refused) == (5, 1)
    assert found.moves == (
        Move("dear", "Little", 3, 90, 36),  # 10 tokens at 1 and 1 at 2 are 12 each
        Move("dear", "", 1, 30, 0),
        Move("dear", "odd", 1, 0, 0),  # nobody knows
    )
    assert (found.unpriced, found.cost_before, found.cost_after) == (1, 150, 66)
    assert found.saved_micros == 84
    assert [(one.request_id, one.to, one.rules) for one in found.samples][:2] == [
        ("secret", "", ("secrets stay",)),
        ("code", "odd", ("code", "tiny answers")),
    ]


def test_what_is_live_moves_nothing(acme: Tenant) -> None:
    document = rules({"name": "a", "then": {"use": ["cheap", "dear"]}})
    draft.save(document, ANNA)
    versions.publish(ANNA)
    asked(acme, "one", cost=12)
    found = dry_run(document, 100, EVERYBODY)
    assert (found.caught_any, found.moved, found.uncertain) == (1, 0, 0)
    assert (found.cost_before, found.cost_after) == (12, 12)
    found = dry_run(rules(), 100, EVERYBODY)
    assert found.moves == (Move("cheap", "dear", 1, 12, 120),)


@pytest.mark.parametrize(
    ("then", "to"),
    [
        ({"local_only": True}, "here"),
        ({"never": ["dear"]}, "cheap"),
        ({"only": ["h*"]}, "here"),
        ({"only": ["nobody"]}, ""),
        ({"use": ["cheap", "auto"], "never": ["cheap", "dear"]}, "here"),
        ({"use": ["cheap"], "never": ["cheap", "dear"]}, "here"),  # whom the caller asked for
    ],
)
def test_of_the_routers_choice_the_next_that_may_be_asked(acme: Tenant, then: dict[str, Any], to: str) -> None:
    asked(acme, "one", model="auto", order=("dear", "cheap", "here"))
    (move,) = dry_run(rules({"name": "a", "then": then}), 100, EVERYBODY).moves
    assert (move.instead_of, move.to) == ("dear", to)


def test_what_is_local_costs_nothing(acme: Tenant) -> None:
    asked(acme, "one")
    found = dry_run(rules({"name": "a", "then": {"use": ["smollm2:135m"]}}), 100, EVERYBODY)
    assert (found.cost_before, found.cost_after) == (30, 0)


def test_the_routers_choice_by_another_aim_is_not_guessed(acme: Tenant) -> None:
    asked(acme, "auto", model="auto", order=("dear", "cheap"))
    asked(acme, "named")
    for document in (
        rules({"name": "a", "then": {"aim": {"share": 0.1}}}),
        rules(auto={"aim": {"quality": 0.9}}),
    ):
        found = dry_run(document, 100, EVERYBODY)
        assert (found.uncertain, found.moved) == (1, 0)
    (move,) = dry_run(rules(auto={"never": ["dear"]}), 100, EVERYBODY).moves
    assert (move.instead_of, move.to, move.requests) == ("dear", "cheap", 1)


def test_a_text_that_was_not_kept_is_told_apart(acme: Tenant) -> None:
    """What live rules heard in it is known; what only the draft asks is not."""
    hears = {"fact": "text", "op": "contains", "value": ["invoice"]}
    heard = {"name": "heard", "when": [hears], "then": {"use": ["cheap"]}}
    draft.save(rules(heard), ANNA)
    versions.publish(ANNA)
    asked(acme, "one", text="an invoice")
    asked(acme, "two", text="a poem")
    asks = {"fact": "text", "op": "contains", "value": ["poem"]}
    found = dry_run(rules(heard, {"name": "new", "when": [asks], "then": {"use": ["here"]}}), 100, EVERYBODY)
    assert (found.caught, found.unheard) == ({"heard": 1}, {"new": 2})
    found = dry_run(rules({"name": "broken", "expression": "scores.nothing > 1", "then": {}}), 100, EVERYBODY)
    assert found.failed == {"broken": 2}


def test_what_no_live_rule_asked_for_is_not_guessed(acme: Tenant) -> None:
    """Where rules ask for it, it was looked up, and is in the facts."""
    code = {"name": "code", "when": [{"fact": "task", "op": "is", "value": ["code"]}], "then": {"use": ["cheap"]}}
    spent = {"name": "spent", "when": [{"fact": "budget_left", "op": "below", "value": 0.2}], "then": {"use": ["here"]}}
    asked(acme, "one", untold=frozenset({"analysis", "budget_left"}))
    asked(acme, "two", untold=frozenset({"budget_left"}), task="code")
    asked(acme, "three", untold=frozenset({"analysis"}), budget_left=0.1)
    asked(acme, "four")  # looked up, and nothing came of it; or by an earlier release
    found = dry_run(rules(code, spent), 100, EVERYBODY)
    assert (found.caught, found.unheard) == ({"code": 1, "spent": 1}, {"code": 2, "spent": 2})


def test_only_the_last_of_those_that_one_may_see(acme: Tenant) -> None:
    globex = Tenant.objects.create(name="globex")
    for number in range(5):
        asked(acme, f"a {number}")
    asked(globex, "theirs")
    asked(globex, "a 4", cost=7)  # the same word for another request
    document = rules({"name": "a", "then": {"use": ["here"]}})
    assert dry_run(document, 100, EVERYBODY).cost_before == 5 * 30 + 30 + 7
    found = dry_run(document, 2, Reach(frozenset({acme.pk})))
    assert [one.request_id for one in found.samples] == ["a 4", "a 3"]
    assert found.cost_before == 60
    assert dry_run(document, 100, Reach()).requests == 0


def test_a_sample_stands_for_as_many_as_it_was_drawn_from(acme: Tenant) -> None:
    asked(acme, "sample", stands_for=16)
    asked(acme, "mail", tags=frozenset({"mail"}))
    found = dry_run(rules({"name": "a", "then": {"use": ["cheap"]}}), 100, EVERYBODY)
    assert (found.decisions, found.requests, found.caught, found.moved) == (2, 17, {"a": 17}, 17)
    assert (found.cost_before, found.cost_after) == (17 * 30, 17 * 12)


def test_what_came_from_the_cache_stays_free(acme: Tenant) -> None:
    asked(acme, "again", cost=0, tier="memory")
    found = dry_run(rules({"name": "a", "then": {"use": ["cheap"]}}), 100, EVERYBODY)
    assert (found.moved, found.cost_before, found.cost_after, found.unpriced) == (1, 0, 0, 0)


def test_of_what_was_refused_nobody_knows_the_cost(acme: Tenant) -> None:
    draft.save(rules({"name": "a", "then": {"forbid": "no"}}), ANNA)
    versions.publish(ANNA)
    asked(acme, "one", cost=None)
    found = dry_run(rules(), 100, EVERYBODY)
    assert [(one.instead_of, one.to) for one in found.moves] == [("", "dear")]
    assert (found.unpriced, found.refused) == (1, 0)
    assert dry_run(versions.live()[1], 100, EVERYBODY).unpriced == 0


def test_what_is_no_longer_held_back_is_not_guessed(acme: Tenant) -> None:
    """The router did not look at those it might not ask."""
    draft.save(rules({"name": "a", "then": {"local_only": True}}), ANNA)
    versions.publish(ANNA)
    asked(acme, "one", model="auto", order=("here",))
    assert dry_run(rules(), 100, EVERYBODY).uncertain == 1
    assert dry_run(versions.live()[1], 100, EVERYBODY).uncertain == 0


def test_a_choice_is_held_against_how_the_router_chose_then(acme: Tenant) -> None:
    first, second = rules(auto={"aim": {"quality": 0.9}}), rules(auto={"aim": {"share": 0.2}})
    for number, document in enumerate((first, second)):
        draft.save(document, ANNA)
        versions.publish(ANNA)
        asked(acme, f"{number}", model="auto", order=("dear", "cheap"))
    for document in (first, second):
        assert dry_run(document, 100, EVERYBODY).uncertain == 1
    assert dry_run(rules(), 100, EVERYBODY).uncertain == 2
    RuleVersion.objects.filter(number=1).delete()
    assert dry_run(first, 100, EVERYBODY).uncertain == 2, "nobody knows how it chose then"


def test_whom_the_router_was_never_to_choose_it_did_not_look_at(acme: Tenant) -> None:
    draft.save(rules(auto={"never": ["dear"]}), ANNA)
    versions.publish(ANNA)
    asked(acme, "one", model="auto", order=("cheap",))
    assert dry_run(versions.live()[1], 100, EVERYBODY).uncertain == 0
    assert dry_run(rules(), 100, EVERYBODY).uncertain == 1


@pytest.mark.parametrize(
    ("model", "how", "then", "to"),
    [
        ("dear", {"cap": 100}, {"most_cost": "0.01"}, "dear"),  # 100 tokens at 20 are 2000, its question less
        ("dear", {"cap": 100}, {"most_cost": "0.001"}, ""),
        ("dear", {}, {"most_cost": "0.01"}, ""),
        ("dear", {}, {"most_cost": "0.01", "most_tokens": 100}, "dear"),
        ("dear", {"cap": 100, "tokens": 10_000}, {"most_cost": "0.01"}, ""),
        ("dear", {"cap": 10}, {"most_cost": "0.0001", "use": ["cheap", "here"]}, "here"),
        ("dear", {"cap": 10}, {"most_cost": "0.001", "use": ["odd", "cheap"]}, "cheap"),
        ("odd", {"cap": 1}, {"most_cost": "1000"}, ""),
        ("here", {"tokens": 10**6}, {"most_cost": "0"}, "here"),
        ("safe", {"cap": 10}, {"most_cost": "0.0001"}, "here"),
        ("twice", {"cap": 100}, {"most_cost": "0.001"}, "twice"),
        ("dear", {"embedding": True}, {"most_cost": "0.001"}, "dear"),
        ("dear", {"cap": 1, "tokens": 1_024, "images": True}, {"most_cost": "0.3"}, ""),
    ],
)
def test_a_call_that_may_cost_more_than_rules_allow_is_not_made(
    acme: Tenant, model: str, how: dict[str, Any], then: dict[str, Any], to: str
) -> None:
    asked(acme, "one", model=model, **{"tokens": 10, **how})
    found = dry_run(rules({"name": "a", "then": then}), 100, EVERYBODY)
    assert [one.to for one in found.moves] == ([to] if to != model else [])
    assert (found.refused, found.caught) == (int(not to), {"a": 1})


def test_what_was_answered_within_its_bound_was_not_too_dear(acme: Tenant) -> None:
    """Its model's longest answer is shorter than what is reckoned with here."""
    bound = {"name": "a", "then": {"most_cost": "0.01"}}
    draft.save(rules(bound), ANNA)
    versions.publish(ANNA)
    asked(acme, "one")
    found = dry_run(rules(bound), 100, EVERYBODY)
    assert (found.moved, found.cost_before, found.cost_after) == (0, 30, 30)
    assert dry_run(rules(), 100, EVERYBODY).moved == 0
    other = {"name": "b", "then": {"use": ["cheap"]}}
    assert dry_run(rules(bound, other), 100, EVERYBODY).moves == (Move("dear", "cheap", 1, 30, 12),)
    assert dry_run(rules({"name": "a", "then": {"most_cost": "0.009"}}), 100, EVERYBODY).refused == 1


def test_it_ends_when_its_time_is_over_and_says_so(acme: Tenant) -> None:
    asked(acme, "one")
    found = dry_run(rules(), 100, EVERYBODY, within_s=-1)
    assert (found.is_cut, found.requests) == (True, 0)


def test_a_rule_is_tried_by_every_name_of_the_model_that_was_asked_for(acme: Tenant) -> None:
    for name in ("little", "cheap", "library/smollm2:135m", "smollm2:135m:local", "dear"):
        asked(acme, name, model=name)
    for named, caught in (("LITTLE", 2), ("Cheap", 2), ("smollm2:135m", 2), ("library/smollm2:135m", 2), ("here", 0)):
        rule = {"name": "a", "when": [{"fact": "model", "op": "is", "value": [named]}], "then": {"most_tokens": 5}}
        assert dry_run(rules(rule), 100, EVERYBODY).caught.get("a", 0) == caught


def test_a_rule_that_keeps_something_is_tried_on_a_place_by_its_own_name(acme: Tenant) -> None:
    for name in ("mine/small", "MINE/Small", "mine/big", "smollm2:135m", "library/smollm2:135m:local"):
        asked(acme, name, model=name)
    for named, then, caught, refused in (
        (["cheap", "here"], {"forbid": "no"}, 4, 4),
        (["Little"], {"cache": {"write": False}}, 2, 0),
        (["Little"], {"most_tokens": 5}, 0, 0),
        (["mine/*"], {"forbid": "no"}, 3, 3),
        (["mine/big"], {"never": ["nobody"]}, 1, 0),
    ):
        found = dry_run(
            rules({"name": "a", "when": [{"fact": "model", "op": "is", "value": named}], "then": then}), 100, EVERYBODY
        )
        assert (named, found.caught.get("a", 0), found.refused) == (named, caught, refused)
    for never, refused in (("cheap", 2), ("Little", 0), ("here", 2), ("mine/*", 3)):
        found = dry_run(rules({"name": "a", "then": {"never": [never]}}), 100, EVERYBODY)
        assert (never, found.refused) == (never, refused)


def test_a_model_of_which_no_place_may_be_asked_is_refused(acme: Tenant) -> None:
    for name in ("cheap", "dear", "here", "unknown"):
        asked(acme, name, model=name)
    for never, refused in ((["mine/big"], 1), (["mine/*"], 2), (["MINE/Big", "smollm2:135m"], 2), (["mine/odd"], 0)):
        found = dry_run(rules({"name": "a", "then": {"never": never}}), 100, EVERYBODY)
        assert (never, found.refused) == (never, refused)


def test_where_no_place_of_a_model_may_be_asked_its_fallbacks_are(acme: Tenant) -> None:
    asked(acme, "safe", model="safe")
    found = dry_run(rules({"name": "a", "then": {"never": ["mine/*"]}}), 100, EVERYBODY)
    assert (found.refused, [(one.instead_of, one.to) for one in found.moves]) == (0, [("safe", "here")])
    assert dry_run(rules({"name": "a", "then": {"never": ["mine/*", "here"]}}), 100, EVERYBODY).refused == 1


def test_what_another_release_wrote_is_counted_and_passed_over(acme: Tenant) -> None:
    for text in ("", "[]", "{}", '{"facts": []}', '{"facts": {}, "verdict": {"use": 5}}'):
        RouteDecision.objects.create(request_id="x", tenant=acme, at=timezone.now(), rules=0, document=text)
    asked(acme, "one")
    RouteDecision.objects.of(EVERYBODY).update(at=timezone.now() - timedelta(days=1))
    found = dry_run(rules(), 100, EVERYBODY)
    assert (found.requests, found.unread) == (1, 5)


@pytest.mark.django_db(transaction=True)
async def test_it_reads_what_is_written_down_of_real_requests(
    client: httpx.AsyncClient, parts: Parts, recorded: Callable[[int], Awaitable[list[RequestRecord]]]
) -> None:
    """One that a live rule caught by its text, one that it did not, and one that was refused."""
    watch = RuleWatch(WorkerThread("rules"), parts.generation.policy)
    object.__setattr__(parts, "rules", watch)
    live = rules(
        {
            "name": "poems",
            "when": [{"fact": "text", "op": "contains", "value": ["poem"]}],
            "then": {"use": ["openai/big"]},
        },
        {"name": "no", "when": [{"fact": "tags", "op": "has", "value": ["bad"]}], "then": {"forbid": "No."}},
        {"name": "all", "then": {"most_tokens": 500}},
    )
    await parts.managing.run(60, lambda: (draft.save(live, ANNA), versions.publish(ANNA)))
    for text, tags in (("Write a poem", ""), ("Hello", ""), ("Hello", "bad")):
        body = {"model": "tiny", "stream": False, "messages": [{"role": "user", "content": text}]}
        await client.post("/api/chat", json=body, headers={"X-Orchestrator-Tags": tags} if tags else {})
    await recorded(3)
    found = await parts.managing.run(60, dry_run, live, 100, EVERYBODY)
    assert (found.requests, found.unread, found.moved, found.uncertain) == (3, 0, 0, 0)
    assert found.caught == {"poems": 1, "no": 1, "all": 2}
    spent = {"name": "spent", "when": [{"fact": "budget_left", "op": "below", "value": 0.2}], "then": {"forbid": "no"}}
    found = await parts.managing.run(60, dry_run, rules(spent), 100, EVERYBODY)
    assert (found.caught, found.unheard) == ({}, {"spent": 3})
    other = rules(*({"name": one.name, "when": [], "then": {"use": ["tiny"]}} for one in live.rules[:1]))
    found = await parts.managing.run(60, dry_run, other, 100, EVERYBODY)
    assert {(one.instead_of, one.to, one.requests) for one in found.moves} == {
        ("openai/big", "tiny", 1),
        ("", "tiny", 1),
    }
