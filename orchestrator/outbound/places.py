"""Which addresses may be fetched when somebody else names them, before anything is sent.

An address is read once, strictly: whatever two readers could take for different places is refused. So are the other
ways to write an IP address (decimal, octal, hex, short), which only serve to get past a check.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import quote, urljoin

import idna

from orchestrator.core.addresses import is_own
from orchestrator.core.errors import FetchRefused

IPAddress = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LONGEST_URL = 2048  # characters
PORTS = {"http": 80, "https": 443}

# Not on the public internet, or a way around: IANA's special-purpose registries, as of 2025. Python's `is_global` has
# most of them, but which ones depends on its patch release.
NOT_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' own, and a cloud's metadata
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's metadata, on a public address
        "2001::/23",  # Teredo, ORCHID and other protocols' own
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address within
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
GLOBAL_UNICAST = ip_network("2000::/3")  # of IPv6 nothing else is public: no mapped, NAT64, local or multicast address
# Whoever is let through to networks of ours is still not let through to these: they hand out keys of the machine.
METADATA: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "169.254.169.254/32",
        "169.254.170.0/24",
        "168.63.129.16/32",
        "100.100.100.200/32",
        "192.0.0.192/32",
        "fd00:ec2::/32",
        "fd20:ce::254/128",
    )
)

_UNREADABLE = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\ufeff\ud800-\udfff]")
_SPLIT = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<place>[^/?#]*)(?P<target>[^#]*)(?:#.*)?", re.DOTALL)
_PLACE = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]@%]+))(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be fetched besides what always holds."""

    ports: Collection[int] = (80, 443)
    hosts: Collection[str] = ()  # these only, `*.example.org` for all below it; none: any
    networks: Collection[Network] = ()  # of ours, that may be reached although they are not public


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address leads, in one form."""

    scheme: str
    host: str  # ASCII, lower case: a name, or an IP address as it is written canonically
    port: int
    target: str  # path and query

    @property
    def authority(self) -> str:
        """As the `Host` header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address as a whole."""
        return f"{self.scheme}://{self.authority}{self.target}"

    def joined(self, location: str) -> str:
        """Where a redirect from here to `location` leads."""
        return urljoin(self.url, location)


def read_place(url: str, rules: Rules) -> Place:
    """Read an address. Raises FetchRefused that says what is allowed, and does not say the address again at length."""
    if len(url) > LONGEST_URL:
        raise FetchRefused(f"An address may have {LONGEST_URL} characters at most.")
    if _UNREADABLE.search(url):
        raise FetchRefused("An address has no spaces, controls or backslashes; write them as %20 and the like.")
    split = _SPLIT.fullmatch(url)
    scheme = split["scheme"].lower() if split else ""
    if split is None or scheme not in PORTS:
        raise FetchRefused("Only addresses that begin with https:// or http:// are fetched.")
    if "@" in split["place"]:
        raise FetchRefused("An address that is fetched has no user or password in it.")
    place = _PLACE.fullmatch(split["place"])
    if place is None:
        raise FetchRefused("The host of the address cannot be read; write https://host/path.")
    host = _six(place["six"]) if place["six"] else _name(place["name"])
    port = int(place["port"]) if place["port"] else PORTS[scheme]
    if port not in rules.ports:
        allowed = ", ".join(map(str, sorted(rules.ports)))
        raise FetchRefused(f"Port {port} is not fetched from; allowed are {allowed} (ORCHESTRATOR_FETCH_PORTS).")
    if rules.hosts and not any(_matches(host, pattern) for pattern in rules.hosts):
        raise FetchRefused(f"{shown(host)} is not among the hosts that are fetched from (ORCHESTRATOR_FETCH_HOSTS).")
    # What is escaped stays as it is; what is not, and has to be, is.
    target = quote(split["target"], safe="/?:@!$&'()*+,;=%~-._[]")
    return Place(scheme, host, port, target if target.startswith("/") else f"/{target}")


def _six(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError:
        raise FetchRefused("The IPv6 address cannot be read; a zone is not allowed either.") from None


def _name(text: str) -> str:
    """A host name, or an IPv4 address of four decimal numbers."""
    try:
        name = text.lower() if text.isascii() else idna.encode(text, uts46=True, std3_rules=True).decode()
    except UnicodeError:  # idna's errors are such
        raise FetchRefused("The host of the address is no name that can be looked up.") from None
    name = name.removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # whatever looks it up takes it for an IP address, in any notation it knows
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise FetchRefused("An IPv4 address is written as four decimal numbers, such as 192.0.2.1.") from None
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise FetchRefused("The host of the address is no name that can be looked up.")
    return name


def _matches(host: str, pattern: str) -> bool:
    pattern = pattern.lower().removesuffix(".")
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def is_allowed(address: str, rules: Rules) -> bool:
    """Whether a connection to this IP address may be made."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if any(found in network for network in METADATA):
        return False
    if any(found in network for network in rules.networks):
        return True
    if isinstance(found, IPv6Address) and found not in GLOBAL_UNICAST:
        return False
    if not found.is_global or found.is_multicast or any(found in network for network in NOT_PUBLIC):
        return False
    return not is_own(address)  # public, and still this machine's


def shown(host: str) -> str:
    """A host as an error may say it."""
    return host if len(host) <= 80 else f"{host[:80]}…"
