"""What is allowed but unwise is warned of, with what to do about it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from django.core.checks import CheckMessage, run_checks
from pytest_django.fixtures import Settings

from orchestrator.checks import TAG
from orchestrator.env import Address


@pytest.fixture(autouse=True)
def _wise(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set-up with nothing to warn of."""
    tmp_path.chmod(0o700)
    (tmp_path / "keys").mkdir(mode=0o700)
    settings.DATA_DIR = tmp_path
    settings.ADDRESS, settings.IS_LOOPBACK, settings.ALLOWED_HOSTS = Address("127.0.0.1", 1), True, ["localhost"]
    settings.DEBUG, settings.ALLOW_OPEN, settings.REQUIRE_KEYS = False, False, False
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def warnings() -> list[CheckMessage]:
    found = run_checks(tags=[TAG])
    assert all(message.hint for message in found)
    return found


def ids() -> list[str]:
    return [str(message.id) for message in warnings()]


def test_a_fresh_checkout_is_warned_of_nothing() -> None:
    assert ids() == []


def test_an_old_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    assert ids() == ["orchestrator.W001"]


def test_an_open_address(settings: Settings) -> None:
    settings.IS_LOOPBACK, settings.ALLOW_OPEN = False, True
    assert ids() == ["orchestrator.W002"]
    settings.REQUIRE_KEYS = True
    assert ids() == []


def test_any_host_name(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    assert ids() == ["orchestrator.W003"]


def test_error_pages_for_everyone(settings: Settings) -> None:
    settings.DEBUG, settings.IS_LOOPBACK = True, False
    assert ids() == ["orchestrator.W004"]


def test_a_data_directory_others_can_read(tmp_path: Path) -> None:
    (tmp_path / "keys").chmod(0o755)
    (message,) = warnings()
    assert message.id == "orchestrator.W005"
    assert message.hint == f"chmod go-rwx {tmp_path / 'keys'}"


@pytest.mark.parametrize(("has_marker", "expected"), [(False, ["orchestrator.W006"]), (True, [])])
def test_root_outside_a_container(monkeypatch: pytest.MonkeyPatch, has_marker: bool, expected: list[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "exists", lambda self: has_marker)
    assert ids() == expected


def test_a_provider_that_would_be_ourselves_is_off_and_said(settings: Settings) -> None:
    settings.PROVIDER_ADDRESSES = settings.PROVIDER_ADDRESSES | {
        "anthropic": "http://localhost:1",
        "ollama": "http://h:1",
    }
    (message,) = warnings()
    assert message.id == "orchestrator.W007"
    assert message.msg == "ANTHROPIC_BASE_URL is this server's own address, so anthropic is off."
