"""`manage.py savings` tells the sums, and `verify` finds whatever is not as it was written."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin import site
from django.core.management import CommandError, call_command
from django.db import connection

from orchestrator.admin.records import RequestRecordAdmin
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.prices import Price
from orchestrator.models import Charge, RequestRecord, SpendDay, Tenant
from orchestrator.pricing.rows import numbered
from routing.models import RuleVersion
from tests.dashboard.site import record

pytestmark = pytest.mark.django_db(transaction=True)
NOON = datetime.now(UTC).replace(hour=0, minute=0, second=1) - timedelta(days=2)
DAY = NOON.date().isoformat()
PAID: dict[str, Any] = {"model": "openai/big", "provider": "openai", "prompt_tokens": 100, "completion_tokens": 10}
BY_PRICE, CHARGED = 230, 200


def charge(request_id: str, cost: int | None = CHARGED, **fields: Any) -> None:
    """Of a call that had 100 tokens of a question, and 10 of an answer."""
    plain = dict.fromkeys(("cached_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens"), 0)
    plain |= {"purpose": "answer", "outcome": "done", "source": "price", "is_estimated": False, **PAID}
    tenant = Tenant.objects.get_or_create(name="acme")[0]
    row = plain | {"request_id": request_id, "cost_microusd": cost, "at": NOON, "tenant_id": tenant.pk} | fields
    Charge.rows.create(hold=f"{request_id} {Charge.rows.count()}", **row)


def claim(amount: int | None, why: str, of: str | None = "paid", **fields: Any) -> None:
    record(NOON, **PAID | {"saved_microusd": amount, "saved_why": why, "saved_of": of, "cost_microusd": 0} | fields)


@pytest.fixture(autouse=True)
def ledger() -> Price:
    """Two answers from memory and one from Redis by the price, one shared, one free, one of which nobody knows."""
    (price,) = numbered([("openai", "big", Price(input=Decimal(2), output=Decimal(3), source="operator"))])
    record(NOON, **PAID | {"tier": "miss", "is_paid": True, "cost_microusd": CHARGED, "request_id": "paid"})
    charge("paid")
    for tier in ("memory", "memory", "redis"):
        claim(BY_PRICE, "price", tier=tier, saved_price_id=price.number)
    claim(CHARGED, "charge", tier="collapsed")
    claim(0, "free", None, model="tiny:latest")
    claim(None, "unknown")
    tenant = Tenant.objects.get(name="acme")
    SpendDay.rows.create(
        day=NOON.date(), tenant_id=tenant.pk, provider="openai", model="openai/big", saved_calls=4, saved_microusd=890
    )
    return price


def run(*args: str) -> tuple[str, int]:
    """What it says, and its exit code."""
    out = StringIO()
    try:
        call_command("savings", *args, stdout=out, stderr=out)
    except SystemExit as end:
        return out.getvalue(), int(str(end.code))
    return out.getvalue(), 0


def verify(*args: str) -> tuple[dict[str, Any], int]:
    said, code = run("verify", "--json", *args)
    return json.loads(said), code


def test_it_is_proven_and_what_answered_nobody_is_told_apart() -> None:
    charge("judged", cost=30, purpose="judge")
    charge("looked up", cost=5, purpose="lookup")
    charge("looked up", cost=None, purpose="lookup")
    found, code = verify()
    assert (code, found["differing"], found["differences"]) == (0, 0, [])
    assert (found["answers"], found["free"], found["unknown"]) == (6, 1, 1)
    assert found["claimed_microusd"] == found["proven_microusd"] == 3 * BY_PRICE + CHARGED == 890
    assert (found["spent_microusd"], found["unpriced"]) == ({"judge": 30, "lookup": 5}, 1)
    assert found["net_microusd"] == 855
    text, code = run("verify")
    assert code == 0
    for said in (
        "Proven: 0.000890 USD",
        "Spent apart from that, on judging answers and trying models, which saves nothing: 0.000030 USD for judge",
        "1 calls of that kind cost nobody knows how much",
        "Proven savings less what was spent apart: 0.000855 USD",
        "Every claim is",
    ):
        assert said in text


def test_where_nothing_was_spent_apart_savings_stand_alone() -> None:
    text, code = run("verify")
    assert code == 0
    assert "apart" not in text


def test_what_was_paid_for_vectors_is_no_cost_of_saving() -> None:
    Charge.objects.of(EVERYBODY).update(purpose="embedding")
    found, code = verify()
    assert (code, found["proven_microusd"], found["spent_microusd"]) == (0, 890, {})


def test_what_a_dead_process_did_not_write_is_neither_proven_nor_wrong() -> None:
    """An answer may be kept a moment before its charge is written. A sibling then charges what was reserved."""
    Charge.objects.of(EVERYBODY).update(outcome="lost", cost_microusd=9999)
    found, code = verify()
    assert (code, found["proven_microusd"], found["lost_microusd"]) == (0, 0, 890)
    assert "Not proven: 0.000890 USD" in run("verify")[0]


def test_estimates_are_said_to_be_such() -> None:
    Charge.objects.of(EVERYBODY).update(is_estimated=True)
    assert verify()[0]["estimated_microusd"] == 890


CLAIM = "UPDATE orchestrator_requestrecord SET {} WHERE id = (SELECT max(id) FROM orchestrator_requestrecord WHERE {})"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            CLAIM.format("saved_microusd = 231", "tier = 'memory' AND saved_why = 'price'"),
            "it claims 231, and by the call of request paid it is 230",
            id="a micro-dollar more",
        ),
        pytest.param(
            CLAIM.format("saved_microusd = 199", "tier = 'collapsed'"), "it claims 199, and by the call", id="less"
        ),
        pytest.param(
            CLAIM.format("saved_of = 'nobody'", "tier = 'redis'"), "no such call was charged", id="a call of nobody's"
        ),
        pytest.param(
            CLAIM.format("saved_price_id = 99", "tier = 'redis'"), "price 99, which is not there", id="a price of none"
        ),
        pytest.param(CLAIM.format("tier = 'miss'", "tier = 'redis'"), "and is done by miss", id="a call"),
        pytest.param(
            CLAIM.format("outcome = 'cancelled'", "tier = 'redis'"), "and is cancelled by redis", id="half an answer"
        ),
        pytest.param(
            CLAIM.format("saved_microusd = 7", "saved_why = 'free'"), "it claims 7 by free", id="something for nothing"
        ),
        pytest.param(
            CLAIM.format("saved_microusd = 7", "saved_why = 'unknown'"), "it claims 7 by unknown", id="a guess"
        ),
        pytest.param(
            CLAIM.format("saved_why = NULL", "tier = 'redis'"), "it claims 230 by nothing", id="without a reason"
        ),
        pytest.param(
            CLAIM.format("saved_why = 'price', saved_price_id = 1", "tier = 'collapsed'"),
            "it shared a call",
            id="a shared call by another price",
        ),
        pytest.param(
            "UPDATE orchestrator_charge SET cost_microusd = 1, completion_tokens = 9",
            "by the call of request paid it is 227",
            id="another charge",
        ),
        pytest.param(
            "UPDATE orchestrator_charge SET tenant_id = tenant_id + 1", "no such call was charged", id="somebody else's"
        ),
        pytest.param(
            """UPDATE orchestrator_pricerow SET rates = '[{"input": "2.01", "output": "3"}]'""",
            "which is not there as it was written",
            id="another price",
        ),
        pytest.param("UPDATE orchestrator_pricerow SET rates = '[]'", "not there as it was written", id="no price"),
        pytest.param(
            "DELETE FROM orchestrator_requestrecord WHERE tier = 'redis'",
            f"{DAY}, tenant {{tenant}}: the records claim 660, the sum of the day is 890",
            id="a record less",
        ),
        pytest.param(
            "UPDATE orchestrator_spendday SET saved_microusd = 0",
            f"{DAY}, tenant {{tenant}}: the records claim 890, the sum of the day is 0",
            id="another sum of the day",
        ),
    ],
)
def test_what_was_tampered_with_is_named(change: str, words: str, ledger: Price) -> None:
    with connection.cursor() as cursor:
        cursor.execute(change)
    found, code = verify()
    assert code == 1
    words = words.format(tenant=Tenant.objects.get(name="acme").pk)
    named = next(difference for difference in found["differences"] if words in difference["words"])
    if "the sum of the day" not in words:
        one = RequestRecord.objects.of(EVERYBODY).get(pk=named["record"])
        assert one.request_id == named["request_id"]
    assert words in run("verify")[0]


def test_the_first_are_named_and_all_are_counted() -> None:
    for number in range(50):
        claim(number + 1, "charge", f"nobody {number}", request_id=f"r{number}\x1b[31m")
    SpendDay.objects.of(EVERYBODY).update(saved_microusd=890 + sum(range(51)))
    found, code = verify()
    assert (code, found["differing"]) == (1, 50)
    assert [difference["words"] for difference in found["differences"]] == [
        f"it claims {number + 1} for the call of request nobody {number}, and no such call was charged"
        for number in range(20)
    ]
    text, _ = run("verify")
    assert "50 records and days differ in all." in text
    assert "\x1b" not in text


def test_an_id_that_came_twice_is_of_the_call_that_fits() -> None:
    """Callers choose it."""
    charge("paid", cost=1, prompt_tokens=5)
    assert verify()[1] == 0


def test_what_another_machine_paid_for_is_in_its_ledger(tmp_path: Path) -> None:
    theirs = tmp_path / "their ledger?.sqlite3"
    with connection.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(theirs)])
    Charge.objects.of(EVERYBODY).delete()
    found, code = verify()
    assert (code, found["proven_microusd"]) == (1, 0)
    found, code = verify("--with", str(theirs))
    assert (code, found["proven_microusd"]) == (0, 890)


def test_it_says_from_which_day_on_it_can_prove(settings: Any) -> None:
    """Of an earlier day records are gone, though its sum is kept."""
    settings.RECORD_DAYS = 2
    RequestRecord.objects.of(EVERYBODY).delete()
    found, code = verify("--since", "2020-01-01")
    days = {(NOON.date() + timedelta(days=after)).isoformat() for after in (1, 2)}  # midnight may have passed
    assert code == 0
    assert found["since"] in days
    settings.RECORD_DAYS = 90
    assert verify()[1] == 1
    settings.CHARGE_DAYS = 2
    assert verify()[1] == 0
    settings.CHARGE_DAYS = 90
    assert verify("--until", (NOON.date() - timedelta(days=1)).isoformat())[1] == 0


def test_a_charge_that_may_be_gone_for_its_age_is_no_error(settings: Any) -> None:
    """An answer is kept for as long as the settings say, or any version of the rules."""
    settings.CHARGE_DAYS, settings.CACHE_TTL_S = 5, 60
    Charge.objects.of(EVERYBODY).delete()
    assert verify()[1] == 1
    settings.CACHE_TTL_S = 4 * 86400
    found, code = verify()
    assert (code, found["gone_microusd"], found["differing"]) == (1, 3 * BY_PRICE, 1)  # a shared call's is of its day
    RequestRecord.objects.of(EVERYBODY).filter(tier="collapsed").delete()
    SpendDay.objects.of(EVERYBODY).update(saved_microusd=3 * BY_PRICE)
    found, code = verify()
    assert (code, found["gone_microusd"], found["proven_microusd"]) == (0, 3 * BY_PRICE, 0)
    text, _ = run("verify")
    assert "Not proven: 0.000690 USD, for calls of so long ago" in text
    assert "Every other claim is" in text
    settings.CACHE_TTL_S = 60
    actions = ({"cache": {"ttl_s": 4 * 86400}}, {"cache": {"ttl_s": None}}, {"cache": None}, {})
    for number, then in enumerate(actions, 1):
        document = {"rules": [{"name": "a"}, {"name": "b", "then": then}]}
        RuleVersion.objects.create(number=number, at=NOON, by="a", document=document)
    found, code = verify()
    assert (code, found["gone_microusd"]) == (0, 3 * BY_PRICE)
    settings.CHARGE_DAYS = 90
    assert verify()[1] == 1


@pytest.mark.parametrize("command", [(), ("verify",)])
def test_there_is_no_day_after_the_last_of_all(command: tuple[str, ...]) -> None:
    assert run(*command, "--until", "9999-12-31")[1] == 0


def test_a_ledger_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("nothing of the kind" * 100)
    for path in (tmp_path / "none", tmp_path / "missing"):
        with pytest.raises(CommandError, match="cannot be read") as refused:
            run("verify", "--with", str(path))
        assert refused.value.returncode == 2
    assert not (tmp_path / "missing").exists()


def test_the_sums_are_told_apart_by_what_is_asked() -> None:
    rows = json.loads(run("--json")[0])
    assert sum(Decimal(row["saved_usd"]) for row in rows) == Decimal("0.000890")
    assert {(row["day"], row["tenant"]) for row in rows} == {(DAY, "acme")}
    by_tier = {row["tier"]: row for row in json.loads(run("--json", "--by", "tier")[0])}
    assert by_tier["redis"] == {"tier": "redis", "answers": 1, "free": 0, "unknown": 0, "saved_usd": "0.000230"}
    assert by_tier["memory"] == {"tier": "memory", "answers": 4, "free": 1, "unknown": 1, "saved_usd": "0.000460"}
    assert run("--by", "model", "--until", DAY)[0].splitlines()[0].split() == [
        *("MODEL", "ANSWERS", "FREE", "UNKNOWN", "SAVED", "USD")
    ]
    assert "No answer has saved a call" in run("--since", (NOON.date() + timedelta(days=1)).isoformat())[0]


def test_the_page_of_a_record_says_who_paid_but_not_of_another_tenant() -> None:
    page = RequestRecordAdmin(RequestRecord, site)
    records = list(RequestRecord.objects.of(EVERYBODY).order_by("id"))
    assert [page.saved(one) for one in records] == [
        "-",
        *["0.000230, by price; paid by request paid"] * 3,
        "0.000200, by charge; paid by request paid",
        "0.000000",
        "unknown, by unknown; paid by request paid",
    ]
    records[1].granted_by_id = 99
    assert page.saved(records[1]) == "0.000230, by price; paid by request another tenant's"
