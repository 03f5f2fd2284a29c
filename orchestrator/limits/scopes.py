"""Which limits are about a request, and what each of them counts it under."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from orchestrator.core.limits import Limit
from orchestrator.core.types import Caller
from orchestrator.limits.scripts import PREFIX

UNITS = {"tokens": ';qu="tokens"', "concurrent": ';qu="concurrent-requests"'}
SUBNET = 64  # bits of an IPv6 address: what one customer is given at the least
MOST_MODEL = 255  # characters, as many as a name has that there is


def limits_about(caller: Caller, model: str, address: str) -> list[Limit]:
    """The limits that count a question to `model`, from `address`."""
    ip = _ip(address)
    return [limit for limit in caller.limits if limit.is_about(model, str(ip or ""))]


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
    return f"{PREFIX}{limit.kind}:{limit.id}:{value}"


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the network that a customer has, in which addresses are free to make up."""
    ip = _ip(address)
    if isinstance(ip, IPv6Address):
        return f"{IPv6Address(int(ip) >> (128 - SUBNET) << (128 - SUBNET))}/{SUBNET}"
    return str(ip or "")


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


def _ip(address: str) -> IPv4Address | IPv6Address | None:
    """What `address` says, without its zone; one of IPv4 in the clothes of IPv6 is one of IPv4."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip
