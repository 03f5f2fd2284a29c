"""Who can reach it, and what they may do unasked."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core import checks

from orchestrator.checks import DOCTOR, START
from orchestrator.checks.finding import Found, fatal, unsafe, unwise

SHORTEST_TOKEN = 20  # characters


@checks.register(DOCTOR, deploy=True)
def someone_is_asked_for_a_key(**_: Any) -> Found:
    """`serve` refuses this by itself, when it knows what the name stands for."""
    if not (settings.IS_LOOPBACK or settings.REQUIRE_KEYS or settings.ALLOW_OPEN):
        yield fatal(
            1,
            f"{settings.ADDRESS} can be reached from other machines, and nobody is asked for a key.",
            "Set ORCHESTRATOR_REQUIRE_KEYS=1 and hand out keys (`manage.py issue_key`), or listen on 127.0.0.1.",
        )


@checks.register(START)
def errors_are_private(**_: Any) -> Found:
    """Django's error pages show source and settings."""
    if settings.DEBUG and not settings.IS_LOOPBACK:
        yield fatal(
            2,
            f"Error pages with source code and settings are shown to anyone who reaches {settings.ADDRESS}.",
            "Set ORCHESTRATOR_ENV=production, or listen on 127.0.0.1.",
        )


@checks.register(START)
def address_is_guarded(**_: Any) -> Found:
    """ORCHESTRATOR_ALLOW_OPEN was said, so it is allowed; still nobody should forget it."""
    if not settings.IS_LOOPBACK and settings.ALLOW_OPEN and not settings.REQUIRE_KEYS:
        yield unsafe(
            2,
            f"Anyone who reaches {settings.ADDRESS} may use every model and see what it cost.",
            "Unset ORCHESTRATOR_ALLOW_OPEN, set ORCHESTRATOR_REQUIRE_KEYS=1 and hand out keys.",
        )


@checks.register(START)
def hosts_are_named(**_: Any) -> Found:
    """A page that may be asked for under any name can be attacked by DNS rebinding."""
    if "*" in settings.ALLOWED_HOSTS:
        yield unsafe(
            3,
            "The dashboard answers under any host name, so that a page elsewhere can be made to pass for it.",
            "Name the ones it is reached by: ORCHESTRATOR_HOSTS=orchestrator.example.org",
        )


@checks.register(START)
def what_is_said_cannot_be_overheard(**_: Any) -> Found:
    """Keys and prompts go over the network as they are."""
    if not settings.IS_LOOPBACK and not settings.TRUSTED_PROXY:
        yield unsafe(
            20,
            f"Keys, prompts and answers cross the network readable: {settings.ADDRESS} speaks plain HTTP.",
            "Put a proxy that ends TLS in front, let this listen where only the proxy reaches it, and set"
            " ORCHESTRATOR_BEHIND_TLS=1.",
        )


@checks.register(START)
def proxies_are_named(**_: Any) -> Found:
    """What a caller says of itself in X-Forwarded-For and -Proto would be believed."""
    named = os.environ.get("ORCHESTRATOR_TRUSTED_PROXIES", "").strip()
    if settings.TRUSTED_PROXY and not settings.IS_LOOPBACK and not named:
        yield unsafe(
            19,
            "X-Forwarded-Proto and -For are believed whoever near enough says them, so that a caller who comes by plain"
            " HTTP can pass for one who came by TLS, and from elsewhere.",
            "Name the proxies that may say it: ORCHESTRATOR_TRUSTED_PROXIES=10.0.0.5; or listen on 127.0.0.1.",
        )


@checks.register(START)
def web_pages_are_named(**_: Any) -> Found:
    """Any page somebody opens may call, with what their browser holds."""
    if "*" in settings.ORIGINS:
        open_to = "with any key they know" if settings.REQUIRE_KEYS else "and is asked for no key"
        yield unsafe(
            17,
            f"Every web page that somebody opens may call from their browser, {open_to}: OLLAMA_ORIGINS is *.",
            "Name the origins that need it: OLLAMA_ORIGINS=https://chat.example.org",
        )


@checks.register(START)
def origins_cannot_be_forged(**_: Any) -> Found:
    """Who is on the way to a page in plain HTTP may put a script of theirs into it."""
    plain = [origin for origin in settings.ORIGINS if origin.lower().startswith("http://") and "*" not in origin]
    if plain and not settings.IS_LOOPBACK:
        yield unwise(
            17,
            f"Pages from {', '.join(plain)} may call; who is on the way to them may change them.",
            "Serve them over TLS and write https:// in OLLAMA_ORIGINS.",
        )


@checks.register(START)
def figures_are_private(**_: Any) -> Found:
    """They name models, tenants and keys, and what was asked of them."""
    if not settings.IS_LOOPBACK and not settings.REQUIRE_KEYS and not settings.METRICS_TOKEN:
        yield unsafe(
            18,
            f"/metrics tells anyone who reaches {settings.ADDRESS} which models and providers are used, and how much.",
            "Set ORCHESTRATOR_METRICS_TOKEN, or ORCHESTRATOR_REQUIRE_KEYS=1.",
        )
    if 0 < len(settings.METRICS_TOKEN) < SHORTEST_TOKEN:
        yield unsafe(
            22,
            f"ORCHESTRATOR_METRICS_TOKEN has {len(settings.METRICS_TOKEN)} characters and can be guessed.",
            "Make one of 43: python3 -c 'import secrets; print(secrets.token_urlsafe())'",
        )


@checks.register(START)
def log_is_short(**_: Any) -> Found:
    """As much as there is, is more than is needed."""
    if settings.LOG_LEVEL == "debug" and settings.ORCHESTRATOR_ENV == "production":
        yield unwise(
            30,
            "Everything is logged, which tells whoever reads the log who asked which model when, and fills the disk.",
            "Unset OLLAMA_DEBUG and ORCHESTRATOR_LOG_LEVEL when the search is over.",
        )


@checks.register(START)
def details_are_off(**_: Any) -> Found:
    """On loopback the pages with details are for whoever sits there; in production nobody does."""
    if settings.DEBUG and settings.IS_LOOPBACK:
        yield unwise(
            31,
            "Error pages show source code and settings, and Django keeps every query in memory.",
            "Set ORCHESTRATOR_ENV=production where nobody develops.",
        )
