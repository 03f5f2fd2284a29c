"""What is wrong with an account is found, whatever its form, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import NamedTuple

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.permissions import EVERYBODY
from orchestrator.identity.acting import at_terminal
from orchestrator.invoices import comparison, keeping, telling
from orchestrator.invoices.charged import by_day, kept_from
from orchestrator.invoices.comparison import Comparison
from orchestrator.invoices.forms import FORMS, read
from orchestrator.models import Charge, SpendDay, UsageImport
from tests.invoices import exports
from tests.invoices.exports import FIRST, Call, charge, some_calls

pytestmark = pytest.mark.django_db
OPENAI = ("gpt-4o-2024-08-06", "gpt-4.1", "o5-mini")
CLAUDE = tuple(exports.SHOWN)
VENDORS = ("anthropic/claude-sonnet-4.5", "openai/gpt-4.1", "deepseek/deepseek-r1:free")
LAST = FIRST + timedelta(days=exports.DAYS)
UNHEARD_OF = "no-such-model-1"


class Export(NamedTuple):
    """A form, with what is made in it."""

    form: str
    provider: str
    models: tuple[str, ...]
    make: Callable[[list[Call]], bytes]
    tells_tokens: bool = True
    tells_cost: bool = True
    tokens: int = 3000
    has_cache_writes: bool = True


EXPORTS = [
    Export("openai-costs-csv", "openai", OPENAI, exports.openai_costs_csv, tells_tokens=False, has_cache_writes=False),
    Export(
        "openai-costs-json", "openai", OPENAI, exports.openai_costs_json, tells_tokens=False, has_cache_writes=False
    ),
    Export("openai-usage-csv", "openai", OPENAI, exports.openai_usage_csv, tells_cost=False, has_cache_writes=False),
    Export("openai-usage-json", "openai", OPENAI, exports.openai_usage_json, tells_cost=False, has_cache_writes=False),
    Export("anthropic-cost-csv", "claude", CLAUDE, exports.anthropic_cost_csv, tells_tokens=False, tokens=90_000),
    Export("anthropic-cost-json", "claude", CLAUDE, exports.anthropic_cost_json, tells_tokens=False),
    Export("anthropic-usage-csv", "claude", CLAUDE, exports.anthropic_usage_csv, tells_cost=False),
    Export("openrouter-csv", "openrouter", VENDORS, exports.openrouter_csv),
    Export("openrouter-json", "openrouter", VENDORS, exports.openrouter_json),
    Export("csv", "others", OPENAI, exports.generic_csv),
]
BY_CALL = "openrouter-csv"
every_export = pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.form)
seeds = st.integers(0, 2**32)
many = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def compared(export: Export, here: list[Call], there: list[Call]) -> Comparison:
    """Charge what was called here, and import what they say was called."""
    Charge.objects.of(EVERYBODY).delete()
    UsageImport.objects.all().delete()
    charge(here, export.provider)
    charge(some_calls(Random(7), OPENAI), "somebody-else")
    content = export.make(there)
    account = read(content, first=FIRST, last=LAST)
    assert account.form == export.form
    return comparison.compare(keeping.keep(at_terminal(), account, content, export.provider).account)


def calls_of(export: Export, random: Random) -> list[Call]:
    return some_calls(random, export.models, tokens=export.tokens, has_cache_writes=export.has_cache_writes)


def places(found: Comparison) -> set[tuple[date, str]]:
    """Where it differs, by the name here."""
    learned = dict(found.learned)
    return {(one.day, learned.get(one.model, one.model)) for one in found.real}


def named(export: Export, model: str) -> str:
    """What the names of a model have in common: in the console's costs Claude Opus 4 has no date."""
    return model.removesuffix("-20250514") if export.form == "anthropic-cost-csv" else model


@every_export
@given(seed=seeds)
@settings(many, max_examples=20)
def test_nothing_is_found_where_nothing_is_wrong(export: Export, seed: int) -> None:
    calls = calls_of(export, Random(seed))
    found = compared(export, calls, calls)
    assert found.differences == []
    assert not found.calls
    assert found.is_same
    assert found.ours.entries == len(calls)


class Planted(NamedTuple):
    """An error, the calls there with it, and the places where it shows: a day, and a model here or there."""

    there: list[Call]
    shows: set[tuple[date, str]]
    kind: str
    what: tuple[str, ...]


def planted(export: Export, calls: list[Call], random: Random) -> Planted:
    """One of the errors that the form can tell of."""
    one = random.choice(calls)
    rest = [call for call in calls if call is not one]
    errors = ["missing", "doubled", "renamed", "moved", *(["dearer", "cheaper"] if export.tells_cost else [])]
    error = random.choice([*errors, *(["token"] if export.tells_tokens else [])])
    here = (one.day, one.model)
    if error == "missing":
        return Planted(rest, {here}, "only here", ())
    if error == "doubled":
        return Planted([*calls, one], {here}, "twice there", ("requests",))
    if error == "renamed":
        other = random.choice([UNHEARD_OF, *(model for model in export.models if model != one.model)])
        return Planted([*rest, replace(one, model=other)], {here, (one.day, other)}, "differs", ("model",))
    if error == "moved":
        day = one.day + timedelta(days=1)
        return Planted([*rest, replace(one, day=day)], {here, (day, one.model)}, "differs", ("day",))
    if error == "token":
        return Planted([*rest, replace(one, answer=one.answer + 1)], {here}, "differs", ("completion_tokens",))
    if not export.tells_cost:
        return Planted(rest, {here}, "only here", ())
    more = Decimal("0.10") if error == "dearer" else -one.costs[0] / 2
    return Planted([*rest, replace(one, more=more)], {here}, "differs", ("cost_usd",))


@every_export
@given(seed=seeds)
@many
def test_what_is_wrong_is_found_and_nothing_else(export: Export, seed: int) -> None:
    random = Random(seed)
    calls = calls_of(export, random)
    error = planted(export, calls, random)
    found = compared(export, calls, error.there)
    assert places(found) == {(day, named(export, model)) for day, model in error.shows}
    assert not found.is_same
    if export.form == BY_CALL:
        assert found.calls is not None
        assert [(one.kind, set(error.what) <= set(one.differing)) for one in found.calls] == [(error.kind, True)]
    else:
        assert found.calls is None


@pytest.mark.parametrize("export", [one for one in EXPORTS if one.form != BY_CALL], ids=lambda export: export.form)
@given(seed=seeds)
@settings(many, max_examples=15)
def test_what_went_over_midnight_is_no_error(export: Export, seed: int) -> None:
    """A call begun just before it, for each of some days in a row; counted on the next day there."""
    random = Random(seed)
    calls = calls_of(export, random)
    late = [over_midnight(random.choice(calls), number, export) for number in range(random.randint(1, 3))]
    found = compared(export, [*calls, *late], [*calls, *late])
    assert {one.day for one in found.differences} != set()
    assert found.real == []
    assert found.is_same
    wrong = compared(export, [*calls, *late], [*calls, *late[:-1]])
    assert wrong.real != []
    assert not wrong.is_same


def over_midnight(like: Call, number: int, export: Export) -> Call:
    day = FIRST + timedelta(days=number)
    at = datetime(day.year, day.month, day.day, 23, 50, tzinfo=UTC)
    more = {"fresh": like.fresh + number, "ref": f"late-{number}", "model": export.models[0]}
    return replace(like, at=at, day=day + timedelta(days=1), **more)  # type: ignore[arg-type]  # its own fields


@given(seed=seeds)
@many
def test_a_call_that_is_known_is_counted_on_the_day_it_is_counted_on_there(seed: int) -> None:
    export = next(one for one in EXPORTS if one.form == BY_CALL)
    random = Random(seed)
    calls = calls_of(export, random)
    calls += [over_midnight(random.choice(calls), number, export) for number in range(4)]
    found = compared(export, calls, calls)
    assert (found.differences, found.calls) == ([], [])


def test_a_call_at_noon_goes_over_no_midnight() -> None:
    export = EXPORTS[0]
    calls = calls_of(export, Random(1))
    found = compared(export, calls, [replace(calls[0], day=calls[0].day + timedelta(days=1)), *calls[1:]])
    assert {one.day for one in found.real} == {calls[0].day, calls[0].day + timedelta(days=1)}


def test_every_form_is_tried() -> None:
    assert [export.form for export in EXPORTS] == list(FORMS)


@given(seed=seeds)
@settings(many, max_examples=20)
def test_calls_whose_names_were_not_kept_are_compared_by_day(seed: int) -> None:
    export = next(one for one in EXPORTS if one.form == BY_CALL)
    random = Random(seed)
    calls = calls_of(export._replace(models=VENDORS[1:]), random)  # a name that only calls could explain is left out
    late = over_midnight(calls[0], 1, export._replace(models=VENDORS[1:]))
    nameless = {call.ref for call in [*random.sample(calls, 3), late]}
    here = [replace(call, ref="") if call.ref in nameless else call for call in [*calls, late]]
    found = compared(export, here, [*calls, late])
    assert (found.real, found.calls, found.is_same) == ([], [], True)
    gone = random.choice([call for call in calls if call.ref not in nameless])
    wrong = compared(export, [call for call in here if call.ref != gone.ref], [*calls, late])
    beside = {
        (late.at.date(), late.model),
        (late.day, late.model),
    }  # which fit together no more when one of them is wrong
    assert (gone.day, gone.model) in places(wrong)
    assert places(wrong) <= {(gone.day, gone.model), *(beside if (gone.day, gone.model) in beside else ())}


@given(seed=seeds)
@settings(many, max_examples=40)
def test_several_errors_at_once_are_all_found(seed: int) -> None:
    """One in each model, of different kinds."""
    random = Random(seed)
    export = random.choice([one for one in EXPORTS if one.tells_cost])
    calls = calls_of(export, random)
    there, shows = list(calls), set()
    for model, error in zip(export.models, random.sample(["missing", "doubled", "dearer", "moved"], 3), strict=True):
        one = random.choice([call for call in calls if call.model == model])
        shows.add((one.day, named(export, model)))
        if error != "doubled":
            there.remove(one)
        if error == "doubled":
            there.append(one)
        elif error == "dearer":
            there.append(replace(one, more=Decimal("0.30")))
        elif error == "moved":
            there.append(replace(one, day=one.day + timedelta(days=1)))
            shows.add((one.day + timedelta(days=1), named(export, model)))
    found = compared(export, calls, there)
    assert places(found) == shows
    if export.form == BY_CALL:
        assert found.calls is not None
        assert len(found.calls) == 3


@given(seed=seeds)
@settings(many, max_examples=20)
def test_an_account_without_models_is_compared_by_whole_days(seed: int) -> None:
    export = EXPORTS[0]._replace(make=ungrouped)
    random = Random(seed)
    calls = calls_of(export, random)
    found = compared(export, calls, calls)
    assert (found.is_by_day, found.differences) == (True, [])
    gone = random.choice(calls)
    wrong = compared(export, calls, [call for call in calls if call is not gone])
    assert places(wrong) == {(gone.day, "")}


def ungrouped(calls: list[Call]) -> bytes:
    rows = []
    for day in exports.every_day():
        here = [call.cost for call in calls if call.day == day]
        rows.append([exports.seconds(day), f"{sum(here):f}" if here else "", "usd" if here else "", ""])
    return exports.table("start_time,amount_value,amount_currency,line_item", rows)


def test_calls_of_unknown_cost_and_estimated_tokens_are_said_beside() -> None:
    export = EXPORTS[-1]
    calls = calls_of(export, Random(4))
    charge_row = Charge.objects.of(EVERYBODY).filter(provider_ref=calls[0].ref)
    compared(export, calls, calls)
    charge_row.update(cost_microusd=None, is_estimated=True, source="unknown")
    exports.sum_days()
    found = comparison.compare(UsageImport.objects.get())
    (one,) = found.real
    assert [figure.name for figure in one.differing] == ["cost_usd"]
    assert (one.ours.unpriced, one.ours.estimated) == (1, 1)
    assert one.differing[0].difference == pytest.approx(calls[0].cost, abs=Decimal("0.00001"))
    assert "What 1 call here cost is not known" in telling.verdict(found)


def test_days_whose_charges_are_gone_are_named() -> None:
    export = EXPORTS[-1]
    calls = calls_of(export, Random(6))
    first, second, *_ = sorted({call.day for call in calls})
    compared(export, calls, calls)
    SpendDay.rows.create(day=LAST, tenant_id=1, provider=export.provider, model="m", saved_calls=1)
    whole = comparison.compare(UsageImport.objects.get())
    assert (whole.is_same, whole.kept_from) == (True, None)
    assert "kept no longer" not in telling.verdict(whole)
    Charge.objects.of(EVERYBODY).filter(at__lt=datetime(second.year, second.month, second.day, tzinfo=UTC)).delete()
    part = comparison.compare(UsageImport.objects.get())
    since = first + timedelta(days=1)
    assert part.kept_from == since
    assert f"Charges here of before {since} are kept no longer" in telling.verdict(part)
    assert telling.compared(part)["kept_from"] == since.isoformat()
    later = comparison.compare(UsageImport.objects.get(), first=since)
    assert (later.is_same, later.kept_from) == (True, None)
    Charge.objects.of(EVERYBODY).filter(provider=export.provider).delete()
    none = comparison.compare(UsageImport.objects.get())
    assert none.kept_from == max(call.day for call in calls) + timedelta(days=1)


PARTLY = "day,model,cost_usd,input_tokens,output_tokens"


def partly(calls: list[Call], told: Callable[[Call], str]) -> Comparison:
    """An account with a line for each call. `told` says what it tells: `c`osts, `t`okens."""

    def row(call: Call) -> list[object]:
        tokens = [call.prompt, call.answer] if "t" in told(call) else ["", ""]
        return [call.day, call.model, call.cost if "c" in told(call) else "", *tokens]

    return compared(EXPORTS[-1]._replace(make=lambda there: exports.table(PARTLY, map(row, there))), calls, calls)


def names_of(found: Comparison) -> list[str]:
    return [figure.name for figure in found.totals]


def test_what_some_lines_do_not_tell_is_not_compared_for_them() -> None:
    calls = calls_of(EXPORTS[-1], Random(3))
    whole = partly(calls, lambda _: "ct")
    assert (whole.is_same, names_of(whole)) == (True, ["cost_usd", "prompt_tokens", "completion_tokens"])
    of_one_model = partly(calls, lambda call: "ct" if call.model == OPENAI[0] else "c")
    assert (of_one_model.differences, names_of(of_one_model)) == ([], ["cost_usd"])
    assert of_one_model.told == whole.told
    of_one_line = partly(calls, lambda call: "ct" if call is calls[0] else "c")
    assert (of_one_line.differences, names_of(of_one_line)) == ([], ["cost_usd"])
    Charge.objects.of(EVERYBODY).filter(provider_ref=calls[0].ref).update(completion_tokens=1, cost_microusd=1)
    exports.sum_days()
    (wrong,) = comparison.compare(UsageImport.objects.get()).real
    assert "cost_usd" in [figure.name for figure in wrong.differing]


def test_lines_of_costs_and_lines_of_tokens_make_one_account() -> None:
    calls = calls_of(EXPORTS[-1], Random(3))
    rows = [[call.day, call.model, call.cost, "", ""] for call in calls]
    rows += [[call.day, call.model, "", call.prompt, call.answer] for call in calls]
    export = EXPORTS[-1]._replace(make=lambda _: exports.table(PARTLY, rows))
    found = compared(export, calls, calls)
    assert (found.is_same, names_of(found)) == (True, ["cost_usd", "prompt_tokens", "completion_tokens"])
    Charge.objects.of(EVERYBODY).filter(provider_ref=calls[0].ref).update(completion_tokens=1, cost_microusd=1)
    exports.sum_days()
    (wrong,) = comparison.compare(UsageImport.objects.get()).real
    assert [figure.name for figure in wrong.differing] == ["cost_usd", "completion_tokens"]


def test_what_is_told_of_other_days_only_is_not_compared() -> None:
    calls = calls_of(EXPORTS[-1], Random(3))
    first = min(call.day for call in calls)
    partly(calls, lambda call: "ct" if call.day == first else "c")
    calls_later = Charge.objects.of(EVERYBODY).filter(provider="others", at__date__gt=first)
    day, model = calls_later.values_list("at__date", "model").order_by("at").first()
    UsageImport.objects.get().lines.filter(day=day, model=model.removeprefix("others/")).delete()
    account = UsageImport.objects.get()
    later = comparison.compare(account, first=first + timedelta(days=1))
    assert later.told == ("cost_usd",)
    assert [[figure.name for figure in one.figures] for one in later.real] == [["cost_usd"]]
    account.lines.filter(day__gt=first).delete()
    assert comparison.compare(account, first=first + timedelta(days=1)).told == comparison.compare(account).told


def test_charges_of_other_days_are_not_looked_at() -> None:
    midnight = datetime(LAST.year, LAST.month, LAST.day, tzinfo=UTC) + timedelta(days=1)
    charge([replace(some_calls(Random(1), OPENAI)[0], at=midnight)], "openai")
    SpendDay.rows.create(day=LAST, tenant_id=1, provider="openai", model="m", calls=1)
    with CaptureQueriesContext(connection) as queries:
        assert kept_from("openai", FIRST, LAST) == LAST + timedelta(days=1)
    (query,) = [one["sql"] for one in queries if "orchestrator_charge" in one["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {query}")
        (plan,) = (row[3] for row in cursor.fetchall())
    assert "(at>? AND at<?)" in plan


def test_whole_days_are_read_as_they_were_added_up_and_no_charge_of_them() -> None:
    calls = calls_of(EXPORTS[0], Random(1))
    calls.append(over_midnight(calls[0], 1, EXPORTS[0]))
    charge(calls, "openai")
    charges = Charge.objects.of(EVERYBODY)
    charges.filter(provider_ref=calls[0].ref).update(is_estimated=True)
    with CaptureQueriesContext(connection) as queries:
        whole, late = by_day("openai", FIRST, LAST)
    assert sum(sums.entries for sums in whole.values()) == len(calls)
    assert sum(sums.estimated for sums in whole.values()) == 1
    assert [(place, sums.entries) for place, sums in late.items()] == [
        ((FIRST + timedelta(days=1), f"openai/{OPENAI[0]}"), 1)
    ]
    with connection.cursor() as cursor:
        for sql in (one["sql"] for one in queries if "orchestrator_charge" in one["sql"]):
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            plan = " ".join(row[3] for row in cursor.fetchall())
            is_bounded = "23:45:00" in sql or "LIMIT 1" in sql or "COVERING INDEX charge_estimated" in plan
            assert is_bounded, (sql, plan)
