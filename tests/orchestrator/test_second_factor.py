"""Codes: which are right, and that each is so once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django_otp.oath import hotp

from orchestrator.identity import second_factor
from orchestrator.identity.second_factor import STEP_S
from orchestrator.models import RecoveryCode, SecondFactor

pytestmark = [pytest.mark.django_db(transaction=True)]
NOW = 1_800_000_000.0
TABLES = ("orchestrator_secondfactor", "orchestrator_recoverycode")


@pytest.fixture(autouse=True)
def _still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


@pytest.fixture
def mira() -> User:
    """Somebody without a second factor."""
    return User.objects.create_user("mira")


def code(secret: bytes, steps: int = 0) -> str:
    """What an authenticator shows so many steps from now."""
    return f"{hotp(secret, int(NOW) // STEP_S + steps):06}"


@pytest.fixture
def secret(mira: User) -> bytes:
    """Hers, in use since the step before this one."""
    second_factor.begin(mira)
    found = second_factor.offered(mira)
    assert found
    assert second_factor.confirm(mira, code(found, -1))
    return found


def test_the_codes_are_those_of_the_standard() -> None:
    """Source: RFC 6238, appendix B, to six digits."""
    for at, expected in ((59, "287082"), (1111111109, "081804"), (20000000000, "353130")):
        assert f"{hotp(b'12345678901234567890', at // STEP_S):06}" == expected


def test_it_is_in_use_once_a_code_confirmed_it(mira: User) -> None:
    second_factor.begin(mira)
    assert not second_factor.is_on(mira)
    found = second_factor.offered(mira)
    assert found
    assert second_factor.confirm(mira, "000000") is None
    codes = second_factor.confirm(mira, code(found))
    assert codes is not None
    assert len(set(codes)) == second_factor.RECOVERY_CODES
    assert second_factor.is_on(mira)
    assert second_factor.offered(mira) is None
    assert not second_factor.check(mira, code(found))  # it was used to confirm


def test_a_code_works_once_and_none_before_it(mira: User, secret: bytes) -> None:
    assert second_factor.check(mira, code(secret, 1))
    assert not second_factor.check(mira, code(secret, 1))
    assert not second_factor.check(mira, code(secret))


@pytest.mark.parametrize("steps", [-2, 2])
def test_a_code_that_is_too_old_or_of_the_future_does_not(mira: User, secret: bytes, steps: int) -> None:
    assert not second_factor.check(mira, code(secret, steps))


@pytest.mark.parametrize("typed", ["", "1", "12345", "1234567", "abcdef", "٣٤٥٦٧٨", "0x1234", "-12345", "1e5"])
def test_what_is_no_code_is_none(mira: User, secret: bytes, typed: str) -> None:
    assert not second_factor.check(mira, typed)


def test_a_code_may_be_typed_with_a_gap(mira: User, secret: bytes) -> None:
    right = code(secret)
    assert second_factor.check(mira, f" {right[:3]} {right[3:]}")


def test_a_code_that_comes_eight_times_at_once_works_once(mira: User, secret: bytes) -> None:
    paper = second_factor.renew_recovery_codes(mira)[0]
    for typed in (code(secret), paper):

        def attempt(_: int, typed: str = typed) -> bool:
            try:
                return second_factor.check(mira, typed)
            finally:
                connection.close()

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(attempt, range(8))).count(True) == 1


def test_a_recovery_code_works_once_however_it_is_typed(mira: User, secret: bytes) -> None:
    codes = second_factor.renew_recovery_codes(mira)
    assert second_factor.check(mira, codes[0].upper())
    assert not second_factor.check(mira, codes[0])
    assert second_factor.check(mira, codes[1].replace("-", ""))
    assert RecoveryCode.objects.count() == second_factor.RECOVERY_CODES - 2
    second_factor.renew_recovery_codes(mira)
    assert not second_factor.check(mira, codes[2])


def test_a_recovery_code_is_its_persons_own(mira: User, secret: bytes) -> None:
    codes = second_factor.renew_recovery_codes(mira)
    other = User.objects.create_user("anna")
    assert not second_factor.check(other, codes[0])


def test_while_another_is_set_up_the_one_before_works(mira: User, secret: bytes) -> None:
    second_factor.begin(mira)
    found = second_factor.offered(mira)
    assert found
    assert found != secret
    assert second_factor.check(mira, code(secret))
    assert second_factor.confirm(mira, code(found))
    assert not second_factor.check(mira, code(secret, 1))


def test_the_database_holds_neither_secret_nor_codes(mira: User, secret: bytes) -> None:
    codes = second_factor.renew_recovery_codes(mira)
    with connection.cursor() as cursor:
        rows = [cursor.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]  # noqa: S608  # our words
    everything = str(rows)
    assert str(mira.pk) in everything
    for shown in (secret.hex(), second_factor.shown(secret), *codes, *(one.replace("-", "") for one in codes)):
        assert shown.lower() not in everything.lower()


def test_a_secret_that_was_moved_to_another_person_opens_nothing(mira: User, secret: bytes) -> None:
    other = User.objects.create_user("anna")
    SecondFactor.objects.create(user=other, sealed=SecondFactor.objects.get(user=mira).sealed)
    assert not second_factor.check(other, code(secret))


def test_what_an_authenticator_is_told_names_product_and_person(mira: User, secret: bytes) -> None:
    told = second_factor.uri(mira, secret)
    assert told == f"otpauth://totp/Orchestrator%3Amira?secret={second_factor.shown(secret)}&issuer=Orchestrator"


def test_a_new_master_secret_seals_it_anew_and_the_old_one_opens_nothing_then(
    mira: User, secret: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = settings.SECOND_FACTOR_KEY, b"n" * 32
    monkeypatch.setattr(settings, "SECOND_FACTOR_KEY", new)
    monkeypatch.setattr(settings, "OLD_SECOND_FACTOR_KEYS", [old])
    assert second_factor.check(mira, code(secret))
    assert second_factor.reseal((new, old)) == (1, [])
    assert second_factor.reseal((new, old)) == (0, [])
    monkeypatch.setattr(settings, "OLD_SECOND_FACTOR_KEYS", [])
    assert second_factor.check(mira, code(secret, 1))
    done, unopened = second_factor.reseal((b"x" * 32,))
    assert done == 0
    assert unopened == ["mira"]
