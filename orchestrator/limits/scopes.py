"""Which limits are about a request, and what each of them counts it under."""

from __future__ import annotations

from orchestrator.core.limits import Limit, network_of
from orchestrator.core.types import Caller
from orchestrator.limits.scripts import PREFIX

UNITS = {"tokens": ';qu="tokens"', "concurrent": ';qu="concurrent-requests"'}
MOST_MODEL = 255  # characters, as many as a name has that there is


def limits_about(caller: Caller, model: str, address: str) -> list[Limit]:
    """The limits that count a question to `model`, from `address`."""
    return [limit for limit in caller.limits if limit.is_about(model, address)]


def counted_under(limit: Limit, caller: Caller, model: str, address: str) -> str:
    """The key in Redis: of the limit, and of what it counts apart."""
    match limit.each:
        case "key":
            value = str(caller.key_id or 0)
        case "team":
            value = str(caller.team_id or 0)
        case "tenant":
            value = str(caller.tenant_id)
        case "model":
            value = model[:MOST_MODEL]
        case "address":
            value = network_of(address)
        case _:
            value = ""
    return counter(limit, value)


def counter(limit: Limit, value: str = "") -> str:
    """The key in Redis for one of those that the limit counts apart: an id, a model or a network; empty: all."""
    return f"{PREFIX}{limit.kind}:{limit.id}:{value}"


def policy(limit: Limit) -> str:
    """The limit as an item of `RateLimit-Policy`."""
    window = f";w={limit.per_s}" if limit.per_s else ""
    return f'"{limit.name}";q={limit.amount}{window}{UNITS.get(limit.kind, "")}'


def in_words(limit: Limit) -> str:
    """What it allows: for whoever meets it."""
    what = {"requests": "requests", "tokens": "tokens", "concurrent": "requests at a time"}[limit.kind]
    within = f" in {limit.per_s} s" if limit.per_s else ""
    each = "for all together" if limit.each == "all" else f"for each {limit.each}"
    return f'Limit "{limit.name}" allows {limit.amount:,} {what}{within} {each}'
