"""Whoever writes the ledger waits for a turn, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction

from orchestrator.core.turnstile import Turnstile
from orchestrator.models import Tenant
from orchestrator.sqlite.base import DatabaseWrapper, turn, written_directly


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def passes(turnstile: Turnstile, within_s: float = 0.0) -> bool:
    if turnstile.take(within_s):
        turnstile.leave()
        return True
    return False


def test_one_at_a_time_has_a_turn(path: Path) -> None:
    first, second = Turnstile(path), Turnstile(path)
    assert first.take(0)
    assert not second.take(0)
    first.leave()
    assert second.take(0)
    assert not first.take(0)
    second.close()  # as the kernel does for who is gone
    assert passes(first)


def test_who_waits_is_next_whoever_had_a_turn_just_now(path: Path) -> None:
    had, waits = Turnstile(path), Turnstile(path)
    assert had.take(0)
    order: list[str] = []

    def wait() -> None:
        assert waits.take(10)
        order.append("waited")
        waits.leave()

    thread = threading.Thread(target=wait)
    thread.start()
    looks = Turnstile(path)
    while passes_first_lock(looks):  # until it is next
        pass
    had.leave()
    assert had.take(10)
    order.append("had one")
    thread.join(10)
    assert order == ["waited", "had one"]


def passes_first_lock(turnstile: Turnstile) -> bool:
    import fcntl

    try:
        fcntl.flock(turnstile._next, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(turnstile._next, fcntl.LOCK_UN)
    return True


@pytest.fixture
def other(transactional_db: None) -> Iterator[Turnstile]:
    """Another process that writes, as the ledger's connections see it."""
    turnstile = Turnstile(Path(connection.settings_dict["NAME"]))
    yield turnstile
    turnstile.close()


def make() -> None:
    Tenant.objects.create(name="acme")


def make_in_a_transaction() -> None:
    with transaction.atomic():
        list(Tenant.objects.all())


def change() -> None:
    Tenant.objects.update(priority=3)


def remove() -> None:
    Tenant.objects.all().delete()


def by_sql() -> None:
    with connection.cursor() as cursor:
        cursor.executemany("UPDATE orchestrator_tenant SET priority = %s", [(1,), (2,)])


def directly() -> None:
    with written_directly("default") as cursor:
        cursor.execute("UPDATE orchestrator_tenant SET priority = %s", [1])


WRITES = (make, make_in_a_transaction, change, remove, by_sql, directly)


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_every_way_to_write_waits_for_its_turn_and_no_longer_than_it_may(
    other: Turnstile, write: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.01)
    assert other.take(0)
    with pytest.raises(OperationalError, match="locked"):
        write()
    assert Tenant.objects.count() == 0, "who reads waits for nobody"
    other.leave()
    write()
    assert passes(other), "and it is over when the write is"


def fail_at_the_end() -> None:
    with transaction.atomic(), connection.cursor() as cursor:  # keys to other tables are looked at last
        cursor.execute(TEAM, [77])


TEAM = "INSERT INTO orchestrator_team (name, tenant_id, created_at) VALUES ('x', %s, '2026-01-01')"


def fail_at_the_end_directly() -> None:
    with written_directly("default") as cursor:
        cursor.execute(TEAM, [77])


def fail_in_the_middle_directly() -> None:
    with written_directly("default") as cursor:
        cursor.execute("INSERT INTO orchestrator_team (name) VALUES (%s)", [None])


def fail_in_the_middle() -> None:
    with transaction.atomic():
        make()
        raise IntegrityError


def lose_the_connection() -> None:
    with transaction.atomic():
        make()
        connection.close()
        raise IntegrityError


FAILURES = (
    *(fail_at_the_end, fail_in_the_middle, lose_the_connection),
    *(fail_at_the_end_directly, fail_in_the_middle_directly),
)


@pytest.mark.parametrize("write", FAILURES, ids=lambda write: write.__name__)
def test_a_turn_is_over_however_a_transaction_ends(other: Turnstile, write: Callable[[], None]) -> None:
    with pytest.raises(IntegrityError):
        write()
    assert passes(other)
    make()
    assert passes(other)


def test_what_is_written_directly_is_there_as_a_whole_or_not_at_all(other: Turnstile) -> None:
    make()
    tenant = Tenant.objects.get()
    with written_directly("default") as cursor:
        cursor.execute(TEAM, [tenant.pk])
        cursor.execute("UPDATE orchestrator_tenant SET priority = %s", [2])
        assert not passes(other)
    with suppress(KeyError), written_directly("default") as cursor:
        cursor.execute("UPDATE orchestrator_tenant SET priority = %s", [3])
        raise KeyError
    tenant.refresh_from_db()
    assert (tenant.priority, [team.name for team in tenant.teams.all()]) == (2, ["x"])


def test_a_turn_may_hold_many_transactions(other: Turnstile) -> None:
    with turn():
        make()
        with transaction.atomic():
            change()
        assert not passes(other)
        connection.close()
    assert passes(other)


def test_only_the_ledger_has_turns(transactional_db: None) -> None:
    assert isinstance(connections["default"], DatabaseWrapper)
    assert not isinstance(connections["cache"], DatabaseWrapper)
    with turn("cache"):
        pass
