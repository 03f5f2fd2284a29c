"""Warnings at the start about what is allowed but unwise, each with what to do about it."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks

from orchestrator.core.presets import PRESETS, is_at

TAG = "orchestrator"
SAFE_SQLITE = (3, 51, 3)
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@checks.register(TAG)
def sqlite_is_safe(**_: Any) -> Iterable[checks.CheckMessage]:
    """SQLite before 3.51.3 can corrupt a database when it resets its write-ahead log."""
    if sqlite3.sqlite_version_info < SAFE_SQLITE:
        yield checks.Warning(
            f"SQLite {sqlite3.sqlite_version} has a fault that can corrupt the databases.",
            hint="Install the pysqlite3 package (`make install` does), which carries a newer one.",
            id="orchestrator.W001",
        )


@checks.register(TAG)
def address_is_guarded(**_: Any) -> Iterable[checks.CheckMessage]:
    """ORCHESTRATOR_ALLOW_OPEN was said, so it is allowed; still nobody should forget it."""
    if not settings.IS_LOOPBACK and settings.ALLOW_OPEN and not settings.REQUIRE_KEYS:
        yield checks.Warning(
            f"Anyone who reaches {settings.ADDRESS} may use every model and see what it cost.",
            hint="Unset ORCHESTRATOR_ALLOW_OPEN, set ORCHESTRATOR_REQUIRE_KEYS=1 and hand out keys.",
            id="orchestrator.W002",
        )


@checks.register(TAG)
def hosts_are_named(**_: Any) -> Iterable[checks.CheckMessage]:
    """A page that may be asked for under any name can be attacked by DNS rebinding."""
    if "*" in settings.ALLOWED_HOSTS:
        yield checks.Warning(
            "The dashboard answers under any host name.",
            hint="Name the ones it is reached by: ORCHESTRATOR_HOSTS=orchestrator.example.org",
            id="orchestrator.W003",
        )


@checks.register(TAG)
def errors_are_private(**_: Any) -> Iterable[checks.CheckMessage]:
    """Django's error pages show source and settings."""
    if settings.DEBUG and not settings.IS_LOOPBACK:
        yield checks.Warning(
            f"Error pages with source code are shown to anyone who reaches {settings.ADDRESS}.",
            hint="Set ORCHESTRATOR_ENV=production, or listen on 127.0.0.1.",
            id="orchestrator.W004",
        )


@checks.register(TAG)
def data_is_private(**_: Any) -> Iterable[checks.CheckMessage]:
    """The data directory holds keys, answers and records."""
    for path in (settings.DATA_DIR, settings.DATA_DIR / "keys"):
        if os.name == "posix" and path.stat().st_mode & OTHERS:
            yield checks.Warning(
                f"{path} can be read by other users of this machine.",
                hint=f"chmod go-rwx {path}",
                id="orchestrator.W005",
            )


@checks.register(TAG)
def user_is_ordinary(**_: Any) -> Iterable[checks.CheckMessage]:
    """A flaw in native code should not own the machine. In a container root owns little."""
    is_container = Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()
    if hasattr(os, "geteuid") and os.geteuid() == 0 and not is_container:
        yield checks.Warning(
            "Running as root.",
            hint="Run it as a user of its own; nothing it does needs root.",
            id="orchestrator.W006",
        )


@checks.register(TAG)
def providers_are_others(**_: Any) -> Iterable[checks.CheckMessage]:
    """A shell whose clients are pointed here has our own address where a provider's would be."""
    for provider in PRESETS:
        address = settings.PROVIDER_ADDRESSES[provider.name]
        if address and is_at(address, settings.ADDRESS.host, settings.ADDRESS.port):
            yield checks.Warning(
                f"{provider.address_variable} is this server's own address, so {provider.name} is off.",
                hint=f"Unset {provider.address_variable} where the server is started.",
                id="orchestrator.W007",
            )
