"""What can be an address or a key of a provider, and which addresses are this machine's own."""

from __future__ import annotations

import re
import socket
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_NO_PATH = re.compile(
    r"[\s\x00-\x1f\x7f]|%(?:[01][0-9a-f]|7f)", re.IGNORECASE
)  # spaces and controls, written out or not
_KEY = re.compile(r"[!-~]+")
NEAR = (".local", ".internal", ".lan", ".home.arpa")  # how names of private networks end


def check_address(value: str, schemes: Collection[str] = ("http", "https")) -> str:
    """Return `value` when it is an address to which paths can be appended: a scheme, a host, a port and a path at most.

    Raises ValueError, which does not repeat it: somebody's key may have ended up in it.
    """
    import httpx  # only where an address is set: it is much to load for a start

    scheme, separator, rest = value.partition("://")
    if not separator or not rest or scheme.lower() not in schemes:
        raise ValueError
    if _NO_PATH.search(value):
        raise ValueError
    parts = urlsplit(value)
    if not parts.hostname or parts.port == 0 or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError
    parts.hostname.encode("idna")  # as what looks the host up will have it
    try:
        httpx.URL(value)
    except httpx.InvalidURL:
        raise ValueError from None
    return value


def origin_of(address: str) -> str:
    """The scheme, host and port of an address in one form: `https://api.openai.com:443`; empty when it is none."""
    try:
        parts = urlsplit(address)
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").lower(), parts.port
    except ValueError:
        return ""
    if not scheme or not host:
        return ""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port or _PORTS.get(scheme, 0)}"


def is_key(value: str) -> bool:
    """Whether `value` fits into an HTTP header as a key."""
    return _KEY.fullmatch(value) is not None


def is_own(address: str) -> bool:
    """Whether an interface of this machine has the address: only such a one can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def is_public(host: str) -> bool:
    """Whether `host` is somewhere on the internet, as far as its name or number tells. A name is not looked up."""
    name = host.lower().rstrip(".")
    try:
        address = ip_address(name)
    except ValueError:
        return "." in name and not name.endswith(NEAR)
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_global


def leads_to(host: str, bound: str) -> bool:
    """Whether who calls `host` is heard by a server of this machine that listens on `bound`, the port aside.

    A name is not looked up. What stands for all addresses calls this machine, and listens on each it has.
    """
    name = host.lower()
    if name in {"localhost", bound.lower()}:
        return True
    if name == socket.gethostname().lower():
        return _is_unspecified(bound)
    try:
        address = ip_address(name)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_unspecified:
        return True
    return _is_unspecified(bound) and is_own(str(address))


def _is_unspecified(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
