"""Who changed what cannot be changed unseen."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.db import connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import audit
from orchestrator.audit import note, verify
from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import AuditEvent, AuditHead, Tenant
from tests.keys import issue_key

pytestmark = pytest.mark.django_db
EVENTS = 6


def write(count: int = EVENTS) -> None:
    tenant = Tenant.objects.create(name="acme")
    for number in range(count):
        note("user:anna", "key.issued", f"key {number}", tenant.pk, {"n": number, "words": ["ä", None, 1.5]}, "id-1")


def test_a_chain_that_nobody_touched_is_whole() -> None:
    assert verify() is None
    write()
    assert verify() is None
    assert [event.pk for event in AuditEvent.objects.of(EVERYBODY).all()] == [6, 5, 4, 3, 2, 1]


CHANGES: dict[str, object] = {
    "at": "2001-01-01 00:00:00",
    "actor": "user:mallory",
    "action": "key.revoked",
    "subject": "another",
    "tenant_id": None,
    "details": '{"n": 7}',
    "request_id": "id-2",
    "digest": "0" * 64,
}
NUMBERS = st.integers(1, EVENTS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=NUMBERS, column=st.sampled_from(sorted(CHANGES)))
def test_a_changed_event_is_named(db: None, number: int, column: str) -> None:
    with spoilt():
        sql(f"UPDATE orchestrator_auditevent SET {column} = %s WHERE id = %s", CHANGES[column], number)  # noqa: S608  # our own
        assert broken() == number


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dropped=st.sets(NUMBERS, min_size=1))
def test_the_first_dropped_event_is_named_also_at_the_end(db: None, dropped: set[int]) -> None:
    with spoilt():
        AuditEvent.objects.of(EVERYBODY).filter(pk__in=dropped).delete()
        assert broken() == min(dropped)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pair=st.tuples(NUMBERS, NUMBERS).filter(lambda pair: pair[0] != pair[1]))
def test_events_that_changed_places_are_named(db: None, pair: tuple[int, int]) -> None:
    with spoilt():
        for was, becomes in ((pair[0], 99), (pair[1], pair[0]), (99, pair[1])):
            sql("UPDATE orchestrator_auditevent SET id = %s WHERE id = %s", becomes, was)
        assert broken() == min(pair)


@pytest.mark.parametrize(
    ("spoil", "number"),
    [
        (lambda: sql("UPDATE orchestrator_auditevent SET at = 'never' WHERE id = 3"), 3),
        (AuditHead.objects.all().delete, EVENTS),
        (lambda: AuditHead.objects.update(event_id=3), EVENTS),
        (lambda: sql("UPDATE orchestrator_auditevent SET at = x'00ff' WHERE id = 3"), 3),
        (lambda: sql("UPDATE orchestrator_auditevent SET details = x'7b7d' WHERE id = 3"), 3),
        (lambda: sql("UPDATE orchestrator_auditevent SET id = -5 WHERE id = 3"), -5),
        (lambda: sql("INSERT INTO orchestrator_auditevent SELECT 7, at, actor, action, subject, details, request_id,"
                     " digest, tenant_id FROM orchestrator_auditevent WHERE id = 6"), 7),
    ],
)  # fmt: skip
def test_whatever_else_is_spoilt_is_named(spoil: Callable[[], object], number: int) -> None:
    write()
    spoil()
    assert broken() == number


def test_a_chain_of_more_than_is_read_at_once_is_whole_and_broken_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "BATCH", 4)
    write(9)
    assert verify() is None
    AuditEvent.objects.of(EVERYBODY).filter(pk=5).delete()
    assert broken() == 5


def test_what_is_cut_off_is_missed_after_more_was_added() -> None:
    write()
    AuditEvent.objects.of(EVERYBODY).filter(pk__gte=5).delete()
    note("user:anna", "key.issued", "one more")
    assert broken() == 5
    AuditHead.objects.all().delete()
    note("user:anna", "key.issued", "one more, with a head of its own")
    assert broken() == 5


def test_the_head_cannot_be_set_back_to_an_event_before_it() -> None:
    write()
    fifth = AuditEvent.objects.of(EVERYBODY).get(pk=5)
    AuditEvent.objects.of(EVERYBODY).filter(pk=6).delete()
    AuditHead.objects.update(event_id=5, digest=fifth.digest)
    assert broken() == 5


def test_no_event_holds_a_key() -> None:
    key = issue_key("web", "acme")
    event = note(f"key:{key}", "key.issued", key, details={"name": {"inner": [key]}, key: 1})
    event.refresh_from_db()
    assert key[16:] not in str(vars(event))
    assert key[:16] in event.subject
    assert verify() is None


def test_an_event_goes_with_the_change_it_tells_of() -> None:
    with transaction.atomic():
        note("user:anna", "key.issued", "never")
        transaction.set_rollback(True)
    assert not AuditEvent.objects.of(EVERYBODY).exists()
    note("user:anna", "tenant.changed", "x" * 300, details={"long": "x" * audit.LONGEST_DETAILS})
    assert verify() is None


@pytest.mark.django_db(transaction=True)
def test_writers_at_once_make_one_chain() -> None:
    start = threading.Barrier(4)

    def add(who: int) -> None:
        start.wait(10)
        for number in range(10):
            note(f"user:{who}", "key.issued", str(number))
        connections.close_all()

    threads = [threading.Thread(target=add, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert AuditEvent.objects.of(EVERYBODY).count() == 40
    assert verify() is None


class spoilt:  # noqa: N801  # reads as a word
    """A chain within, and none afterwards."""

    def __enter__(self) -> None:
        self._atomic = transaction.atomic()
        self._atomic.__enter__()
        write()

    def __exit__(self, *error: object) -> None:
        transaction.set_rollback(True)
        self._atomic.__exit__(None, None, None)


def broken() -> int:
    found = verify()
    assert found is not None
    return found.number


def sql(statement: str, *values: object) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement, values)


def test_a_terminal_tells_why_beside_what_was_changed(capsys: pytest.CaptureFixture[str]) -> None:
    note("user:anna", "limit.changed", "limit gently", None, {"amount": [1, 2], "reason": "they asked", "from": "::1"})
    call_command("audit", "list")
    said = capsys.readouterr().out
    assert "amount: 1 → 2" in said
    assert "they asked" in said


def test_a_look_may_begin_and_end_within_the_chain() -> None:
    write()
    assert audit.look(after=2) == (3, 6, 6, None)
    AuditEvent.objects.of(EVERYBODY).filter(pk=2).update(actor="user:mallory")
    assert audit.look(after=2).broken is None  # it is bound to what stands there, which is looked at before
    looked = audit.look(after=1)
    assert looked.broken is not None
    assert looked.broken.number == 2
