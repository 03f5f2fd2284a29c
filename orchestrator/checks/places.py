"""Where it sends what it is asked, and where it keeps answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.db import DatabaseError

from orchestrator.checks import DOCTOR, START
from orchestrator.checks.finding import Found, unsafe, unwise
from orchestrator.checks.ledger import has_ledger
from orchestrator.core.addresses import NEAR, origin_of
from orchestrator.core.presets import PRESETS, is_at
from orchestrator.core.redis_address import sentinels

SHORTEST_PASSWORD = 16
MOST_SKEW_S = 5.0
ASK_S = 2.0


@checks.register(START)
def providers_are_others(**_: Any) -> Found:
    """A shell whose clients are pointed here has our own address where a provider's would be."""
    for provider in PRESETS:
        address = settings.PROVIDER_ADDRESSES[provider.name]
        if address and is_at(address, settings.ADDRESS.host, settings.ADDRESS.port):
            yield unwise(
                7,
                f"{provider.address_variable} is this server's own address, so {provider.name} is off.",
                f"Unset {provider.address_variable} where the server is started.",
            )


@checks.register(START)
def redis_is_guarded(**_: Any) -> Found:
    """It holds answers, counts of limits and the queue."""
    host, password, is_encrypted = _redis()
    if is_loopback(host):
        return
    if not password:
        yield unsafe(
            11,
            f"REDIS_URL names no password: whoever reaches {host} reads answers, and deletes the counts of limits.",
            "Set one there (`requirepass` or an ACL user) and write redis://:PASSWORD@… in REDIS_URL.",
        )
    elif len(password) < SHORTEST_PASSWORD:
        yield unwise(
            11,
            f"Redis' password has {len(password)} characters; a Redis takes a million guesses a second.",
            "Make one of 43: python3 -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    if not is_encrypted:
        how_heavy, where = (unwise, "the private network") if is_near(host) else (unsafe, "the network")
        yield how_heavy(
            12,
            f"Answers and Redis' password cross {where} to {host} readable.",
            "Use TLS (rediss://), or a Redis on this machine.",
        )


@checks.register(START)
def providers_cannot_be_overheard(**_: Any) -> Found:
    """Their keys and all prompts go there."""
    for provider in PRESETS:
        if _is_overheard(settings.PROVIDER_ADDRESSES[provider.name]):
            yield _overheard(provider.name, origin_of(settings.PROVIDER_ADDRESSES[provider.name]))


@checks.register(DOCTOR, deploy=True)
def registered_providers_are_guarded(**_: Any) -> Found:
    """The same, for those in the registry; and whether their keys can be opened."""
    from orchestrator.registry.models import Provider
    from orchestrator.registry.seal import origin_of_sealed
    from orchestrator.registry.settled import sealer

    if not has_ledger():
        return
    try:
        rows = list(Provider.objects.order_by("name"))
    except DatabaseError:
        return  # said by what looks at the ledger
    for row in rows:
        if _is_overheard(row.address):
            yield _overheard(row.name, origin_of(row.address))
        if row.sealed_key and sealer().opens(row.sealed_key, row.name, origin_of_sealed(row.sealed_key)) is None:
            yield unsafe(
                36,
                f"The key of {row.name} cannot be opened, so it is off: another secret sealed it, or it was changed.",
                "Put the secret back (keys/master), use `manage.py registry reseal`, or give the key again.",
            )


@checks.register(DOCTOR, deploy=True)
def redis_answers(**_: Any) -> Found:
    """And has the same time: what it counts by its clock is compared with ours."""
    import redis

    location = settings.REDIS_URL
    if not location or sentinels(location):
        return
    try:
        with redis.Redis.from_url(location, socket_timeout=ASK_S, socket_connect_timeout=ASK_S) as client:
            before = time.time()
            seconds, micros = client.time()
            after = time.time()
    except (redis.RedisError, OSError, ValueError) as error:
        yield unsafe(
            35,
            f"Redis does not answer ({type(error).__name__}): each process keeps answers and counts limits for itself.",
            "Start it, or correct REDIS_URL.",
        )
        return
    theirs = seconds + micros / 1e6
    skew_s = max(before - theirs, theirs - after, 0.0)
    if skew_s > MOST_SKEW_S:
        yield unsafe(
            34,
            f"The clocks of this machine and of Redis differ by {skew_s:.0f} s: limits and keys end early or late.",
            "Run a time service (chrony, systemd-timesyncd) on both.",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine hears what is sent to `host`; also for no host, which is a socket."""
    if host.lower() in {"", "localhost"}:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_near(host: str) -> bool:
    """Whether `host` is of a private network, as far as its name or number tells."""
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host or host.lower().endswith(NEAR)


def _is_overheard(address: str) -> bool:
    parts = urlsplit(address)
    host = parts.hostname or ""
    return parts.scheme.lower() == "http" and not is_loopback(host) and not is_near(host)


def _overheard(name: str, origin: str) -> checks.CheckMessage:
    return unsafe(
        21,
        f"Prompts, answers and the key of {name} cross the internet readable: {origin} is plain HTTP.",
        "Write https:// in its address.",
    )


def _redis() -> tuple[str, str, bool]:
    """Host, password, and whether it is spoken to in TLS; no host for one of our own."""
    location = settings.REDIS_URL
    if asked := sentinels(location):
        return next(_beyond(asked.hosts), ""), asked.password, False
    parts = urlsplit(location)
    if parts.scheme.lower() == "unix":
        return "", "", True
    return parts.hostname or "", parts.password or "", parts.scheme.lower() == "rediss"


def _beyond(hosts: tuple[tuple[str, int], ...]) -> Iterator[str]:
    return (host for host, _ in hosts if not is_loopback(host))
