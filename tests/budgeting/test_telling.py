"""Who is told when a share of a budget is reached: once, signed, and again where it was not taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from asyncio import run
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from orchestrator import tasks
from orchestrator.budgeting import claiming, rows, telling
from orchestrator.budgeting.alerts import in_words, shown
from orchestrator.core.tasks import Stoppable
from orchestrator.identity.acting import at_terminal
from orchestrator.identity.asked import BudgetChange, read
from orchestrator.models import Budget, BudgetAlert, Machine, Tenant
from tests.budgeting.conftest import Receiver
from tests.servers import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = f"whsec_{base64.b64encode(b'thirty-two bytes of a secret key').decode()}"
NOVEMBER = date(2026, 11, 1)
Reach = Callable[..., BudgetAlert]


@pytest.fixture
def reach() -> Reach:
    """A function that has a share reached."""
    tenant = Tenant.objects.create(name="acme")
    budget = Budget.objects.create(name="team", period="month", each="tenant", amount_microusd=50_000_000)

    def reach(share: int = 80, **fields: Any) -> BudgetAlert:
        told = {"budget_id": budget.pk, "under": str(tenant.pk), "begins": NOVEMBER, "at": timezone.now()}
        return BudgetAlert.objects.create(**(told | {"share": share, "spent_microusd": 40_010_000} | fields))

    return reach


@pytest.fixture(autouse=True)
def _stoppable(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(tasks, "tells", Stoppable())
    settings.ALERT_URL, settings.ALERT_SECRET = "", ""


@pytest.fixture
def webhook(receiver: Receiver, settings: Any) -> Receiver:
    settings.ALERT_URL, settings.ALERT_SECRET = receiver.url(), SECRET
    return receiver


def due_again(alert: BudgetAlert) -> None:
    """Its time has come."""
    BudgetAlert.objects.filter(pk=alert.pk).update(again_at=timezone.now())


def test_without_a_webhook_it_is_logged_once(reach: Reach, caplog: pytest.LogCaptureFixture) -> None:
    alert = reach()
    for _ in range(2):
        tasks.tell_alerts()
    alert.refresh_from_db()
    assert alert.told_at
    assert [record.message for record in caplog.records if record.name == telling.__name__] == [
        'Budget "team" for tenant acme: 80 % of 50.00 USD are reached, 40.01 are spent in the month from 2026-11-01.'
    ]


def test_who_was_killed_before_it_told_has_it_told_again(reach: Reach, caplog: pytest.LogCaptureFixture) -> None:
    alert = reach(80, tries=1, again_at=timezone.now())
    for _ in range(2):
        tasks.tell_alerts()
    alert.refresh_from_db()
    assert alert.told_at
    assert [record.message[:13] for record in caplog.records if record.name == telling.__name__] == ['Budget "team"']


def test_who_was_killed_before_it_said_that_it_tells_says_so_now(
    reach: Reach, webhook: Receiver, settings: Any, own_redis: RedisServer
) -> None:
    settings.REDIS_URL = settings.REDIS_LOCATION = own_redis.url
    Machine.objects.create(name="0" * 16, is_own=True)
    ours, theirs = (reach(share, tries=1, again_at=timezone.now()) for share in (50, 80))
    assert run(claiming.claim(claiming.place_of(theirs), "f" * 16))
    tasks.tell_alerts()
    assert [json.loads(one.body)["data"]["share"] for one in webhook.told] == [50]
    assert not run(claiming.claim(claiming.place_of(ours), "f" * 16))
    assert not BudgetAlert.objects.filter(told_at=None).exists()


def test_of_several_machines_the_first_one_tells(
    reach: Reach, caplog: pytest.LogCaptureFixture, settings: Any, own_redis: RedisServer
) -> None:
    settings.REDIS_URL = settings.REDIS_LOCATION = own_redis.url
    machine = Machine.objects.create(name="0" * 16, is_own=True)
    ours, theirs, unknown = reach(50), reach(80), reach(100)
    assert run(claiming.claim(claiming.place_of(ours), machine.name))
    assert run(claiming.claim(claiming.place_of(theirs), "f" * 16))
    BudgetAlert.objects.filter(pk=unknown.pk).update(again_at=timezone.now() + timedelta(hours=1))
    tasks.tell_alerts()
    own_redis.kill()
    due_again(unknown)
    tasks.tell_alerts()
    told = [record.message for record in caplog.records if record.name == telling.__name__]
    assert [re.findall(r"(\d+) %", line) for line in told] == [["50"], ["100"]], "twice rather than never"
    assert not BudgetAlert.objects.filter(told_at=None).exists()


def test_who_told_of_a_share_of_one_amount_is_not_waited_for_with_another(
    reach: Reach, caplog: pytest.LogCaptureFixture, settings: Any, own_redis: RedisServer
) -> None:
    settings.REDIS_URL = settings.REDIS_LOCATION = own_redis.url
    machine = Machine.objects.create(name="0" * 16, is_own=True)
    alert = reach(80)
    assert run(claiming.claim(claiming.place_of(alert), "f" * 16))
    assert not run(claiming.claim(claiming.place_of(alert), machine.name))
    Budget.objects.update(amount_microusd=45_000_000)
    tasks.tell_alerts()
    told = [record.message for record in caplog.records if record.name == telling.__name__]
    assert [re.findall(r"80 % of [0-9.]+", line) for line in told] == [["80 % of 45.00"]]


@pytest.mark.parametrize("is_deleted", [False, True])
def test_who_told_of_what_was_forgotten_is_not_waited_for(
    reach: Reach, caplog: pytest.LogCaptureFixture, settings: Any, own_redis: RedisServer, *, is_deleted: bool
) -> None:
    settings.REDIS_URL = settings.REDIS_LOCATION = own_redis.url
    Machine.objects.create(name="0" * 16, is_own=True)
    alert = reach(80, begins=timezone.now().date().replace(day=1))
    assert run(claiming.claim(claiming.place_of(alert), "f" * 16))
    if is_deleted:
        rows.delete(at_terminal(), "team")
        Budget.objects.create(
            pk=alert.budget_id, name="team", period="month", each="tenant", amount_microusd=50_000_000
        )
    else:
        for amount in ("100", "50"):
            rows.change(at_terminal(), "team", read(BudgetChange, {"amount_usd": amount}))
    assert not BudgetAlert.objects.exists()
    reach(80, begins=alert.begins)
    tasks.tell_alerts()
    told = [record.message for record in caplog.records if record.name == telling.__name__]
    assert [re.findall(r"80 % of [0-9.]+", line) for line in told] == [["80 % of 50.00"]]


def test_a_change_is_made_where_redis_is_out(
    reach: Reach, caplog: pytest.LogCaptureFixture, settings: Any, own_redis: RedisServer
) -> None:
    settings.REDIS_URL = settings.REDIS_LOCATION = own_redis.url
    reach(80, begins=timezone.now().date().replace(day=1))
    own_redis.kill()
    assert rows.change(at_terminal(), "team", read(BudgetChange, {"amount_usd": "100"})).amount_microusd == 10**8
    assert not BudgetAlert.objects.exists()
    assert "Redis did not forget who told of 1 alerts" in caplog.text


def test_a_budget_that_is_never_renewed_is_spent_in_all(reach: Reach) -> None:
    alert = reach()
    Budget.objects.filter(pk=alert.budget_id).update(period="total")
    said = in_words(shown([alert])[0])
    assert said == 'Budget "team" for tenant acme: 80 % of 50.00 USD are reached, 40.01 are spent in all'


def test_it_is_sent_once_and_signed(reach: Reach, webhook: Receiver) -> None:
    alert = reach()
    for _ in range(2):
        tasks.tell_alerts()
    (told,) = webhook.told
    assert told.path == "/hook/secret-part"
    assert told.headers["content-type"] == "application/json"
    key = b"thirty-two bytes of a secret key"
    content = f"{told.headers['webhook-id']}.{told.headers['webhook-timestamp']}.".encode() + told.body
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    assert told.headers["webhook-signature"] == f"v1,{signature}"
    assert told.headers["webhook-id"] == f"alert_{alert.pk}"
    body = json.loads(told.body)
    sent_at = datetime.fromisoformat(body["timestamp"])
    assert (body["type"], int(sent_at.timestamp())) == ("budget.share_reached", int(told.headers["webhook-timestamp"]))
    assert body["data"] | {"at": None} == {
        "number": alert.pk, "at": None, "budget": "team", "tenant": None, "each": "tenant", "counted": "acme",
        "period": "month", "begins": "2026-11-01", "share": 80, "amount_usd": "50.00", "spent_usd": "40.01",
        "is_hard": True, "told_at": None, "tries": 1,
    }  # fmt: skip


def test_what_is_not_taken_is_sent_again_later_and_what_waits_behind_it_with_it(
    reach: Reach, webhook: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = reach(50), reach(80)
    webhook.answers = [500]
    tasks.tell_alerts()
    assert len(webhook.told) == 1, "the second waits: it would not be taken either"
    tasks.tell_alerts()
    assert [told.headers["webhook-id"] for told in webhook.told] == [f"alert_{first.pk}", f"alert_{second.pk}"]
    first.refresh_from_db()
    assert (first.told_at, first.tries) == (None, 1)
    assert first.again_at
    assert timedelta(seconds=20) < first.again_at - timezone.now() <= timedelta(seconds=30)
    due_again(first)
    tasks.tell_alerts()
    first.refresh_from_db()
    assert first.told_at
    assert webhook.told[2].headers["webhook-id"] == webhook.told[0].headers["webhook-id"]
    assert "(HTTP 500), and is sent again" in caplog.text
    assert "secret-part" not in caplog.text
    assert caplog.text.count("50 % of 50.00 USD are reached") == 1


@pytest.mark.parametrize("status", [302, 400, 410])
def test_a_redirect_or_a_refusal_is_not_taken_and_nothing_follows_it(
    reach: Reach, webhook: Receiver, status: int
) -> None:
    alert = reach()
    webhook.answers = [status]
    tasks.tell_alerts()
    alert.refresh_from_db()
    assert (alert.told_at, [told.path for told in webhook.told]) == (None, ["/hook/secret-part"])


def test_after_half_a_day_it_is_given_up(reach: Reach, webhook: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    alert = reach()
    webhook.answers = [503] * 100
    waits = []
    for _ in range(telling.MOST_TRIES + 2):
        before = timezone.now()
        tasks.tell_alerts()
        alert.refresh_from_db()
        assert alert.again_at
        waits.append(round((alert.again_at - before).total_seconds(), -1))
        due_again(alert)
    assert len(webhook.told) == telling.MOST_TRIES
    assert waits[: telling.MOST_TRIES] == [30 * 4**n for n in range(telling.MOST_TRIES)]
    assert sum(waits[: telling.MOST_TRIES - 1]) > 11 * 3600
    assert alert.told_at is None
    assert "is given up" in caplog.text


def test_who_is_not_there_is_told_later(reach: Reach, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.ALERT_URL, settings.ALERT_SECRET = "http://127.0.0.1:9/", "plain words"
    alert = reach()
    tasks.tell_alerts()
    alert.refresh_from_db()
    assert (alert.told_at, alert.tries) == (None, 1)
    assert re.search(r"\(Connect\w+\), and is sent again", caplog.text)


def test_a_worker_that_stops_leaves_it_for_the_next(reach: Reach, webhook: Receiver) -> None:
    alert = reach()
    tasks.tells.stop()
    tasks.tell_alerts()
    alert.refresh_from_db()
    assert (alert.told_at, webhook.told) == (None, [])
    due_again(alert)
    tasks.tells = Stoppable()
    tasks.tell_alerts()
    assert len(webhook.told) == 1


def test_two_workers_tell_it_once(reach: Reach, webhook: Receiver) -> None:
    """The other comes while the first has it on its way."""
    reach()

    def run(sending: Any) -> int | None:
        assert telling.tell_due(tasks.tells.run) == 0
        return tasks.tells.run(sending)

    assert telling.tell_due(run) == 1
    assert len(webhook.told) == 1


def test_an_alert_of_a_budget_that_is_gone_goes_too(reach: Reach, webhook: Receiver) -> None:
    reach()
    Budget.objects.all().delete()
    tasks.tell_alerts()
    assert (webhook.told, BudgetAlert.objects.exists()) == ([], False)


def test_what_was_told_is_not_looked_through_for_what_is_to_be_told(reach: Reach) -> None:
    assert "USING INDEX alert_to_tell" in telling.due(timezone.now())[: telling.MOST_AT_ONCE].explain()
    told, given_up, due = (
        reach(50, told_at=timezone.now()), reach(80, tries=telling.MOST_TRIES), reach(100, tries=1)
    )  # fmt: skip
    assert told.pk < given_up.pk < due.pk
    assert [one.pk for one in telling.due(timezone.now())] == [due.pk]


def test_no_more_than_a_few_are_told_at_once(reach: Reach) -> None:
    for share in range(telling.MOST_AT_ONCE + 3):
        reach(share)
    assert telling.tell_due(tasks.tells.run) == telling.MOST_AT_ONCE
    assert telling.tell_due(tasks.tells.run) == 3


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("plain words", b"plain words"),
        (SECRET, b"thirty-two bytes of a secret key"),
        ("whsec_no base64", b"whsec_no base64"),
    ],
)
def test_what_is_signed_with(secret: str, key: bytes) -> None:
    assert telling.key_of(secret) == key
