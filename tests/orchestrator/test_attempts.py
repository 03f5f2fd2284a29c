"""Guessing: how long one waits, and who."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from orchestrator.identity import attempts
from orchestrator.identity.attempts import FREE, MOST_PAUSE, forgive, wait_s
from orchestrator.models import SignInAttempts

pytestmark = [pytest.mark.django_db(transaction=True)]
MIRA = {"account": "mira", "address": "192.0.2.1"}


def test_a_few_attempts_are_free_and_then_each_waits_longer_up_to_a_quarter_of_an_hour() -> None:
    now = timezone.now()
    assert [wait_s({"account": "mira"}, now) for _ in range(FREE["account"])] == [0] * FREE["account"]
    waits = []
    for _ in range(14):
        wait = wait_s({"account": "mira"}, now)
        waits.append(wait)
        now += timedelta(seconds=wait)
        assert wait_s({"account": "mira"}, now) == 0
    assert waits == sorted(waits)
    assert waits[:4] == [2, 3, 5, 9]  # 1, 2, 4, 8 and what is left of a second
    assert waits[-1] == MOST_PAUSE.total_seconds() + 1


def test_what_waits_counts_nothing() -> None:
    now = timezone.now()
    for _ in range(20):
        wait_s(MIRA, now)
    assert SignInAttempts.objects.order_by("count").values_list("count", flat=True)[0] == FREE["account"]


def test_one_name_is_not_held_up_by_another_but_one_address_is() -> None:
    now = timezone.now()
    for number in range(FREE["address"]):
        assert wait_s({"account": f"name{number}", "address": "192.0.2.1"}, now) == 0
    assert wait_s({"account": "mira", "address": "192.0.2.1"}, now) > 0
    assert wait_s({"account": "mira", "address": "192.0.2.2"}, now) == 0


def test_the_addresses_of_one_customer_are_one() -> None:
    now = timezone.now()
    for number in range(FREE["address"]):
        wait_s({"address": f"2001:db8:1:2::{number:x}"}, now)
    assert wait_s({"address": "2001:db8:1:2:ffff::1"}, now) > 0
    assert wait_s({"address": "2001:db8:1:3::1"}, now) == 0


def test_capitals_make_no_other_name() -> None:
    now = timezone.now()
    for name in ("mira", "Mira", "MIRA", "mIRA", "miRA"):
        wait_s({"account": name}, now)
    assert wait_s({"account": "MiRa"}, now) > 0


def test_who_was_right_begins_anew_but_an_address_keeps_its_other_attempts() -> None:
    now = timezone.now()
    for _ in range(FREE["account"] - 1):
        wait_s(MIRA, now)
    assert wait_s(MIRA, now) == 0
    forgive(MIRA)
    assert SignInAttempts.objects.get().count == FREE["account"] - 1
    assert wait_s(MIRA, now) == 0


def test_an_hour_without_another_is_forgotten() -> None:
    now = timezone.now()
    for _ in range(FREE["account"] + 1):
        wait_s(MIRA, now)
    later = now + attempts.FORGOTTEN_AFTER
    assert [wait_s(MIRA, later) for _ in range(FREE["account"])] == [0] * FREE["account"]


def test_a_hundred_at_once_are_not_a_hundred_free_guesses() -> None:
    at_once = timezone.now()  # whatever it takes them: the first pause is a second

    def guess(_: int) -> int:
        try:
            return wait_s({"account": "mira"}, at_once)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        waits = list(threads.map(guess, range(100)))
    assert waits.count(0) == FREE["account"]


def test_the_table_stays_small_and_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MOST_ROWS", 10)
    for number in range(25):
        wait_s({"account": f"name{number}"})
    assert SignInAttempts.objects.count() == 10
    assert not any("name" in row.subject for row in SignInAttempts.objects.all())
