"""A limit: how much of something, for whom, in what time."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

Kind = Literal["requests", "tokens", "concurrent", "cache_bytes", "queue", "stream_s"]
Each = Literal["key", "team", "tenant", "model", "address", "all"]
KINDS: tuple[Kind, ...] = ("requests", "tokens", "concurrent", "cache_bytes", "queue", "stream_s")
EACH: tuple[Each, ...] = ("key", "team", "tenant", "model", "address", "all")
Network = IPv4Network | IPv6Network
SUBNET = 64  # bits of an IPv6 address: what one customer is given at the least
# This machine and what is not routed on the Internet.
_PRIVATE = "127.0.0.0/8 ::1/128 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 169.254.0.0/16 fc00::/7 fe80::/10"
PRIVATE_NETWORKS: tuple[Network, ...] = tuple(map(ip_network, _PRIVATE.split()))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a caller stands with its limits, as the headers `RateLimit-Policy` and `RateLimit` have it."""

    policy: str = ""
    now: str = ""
    lines: bytes = field(init=False, compare=False)  # of the two headers; empty without a limit

    def __post_init__(self) -> None:
        lines = f"ratelimit-policy: {self.policy}\r\nratelimit: {self.now}\r\n" if self.policy else ""
        object.__setattr__(self, "lines", lines.encode("latin-1"))


NO_LIMIT = Standing()


@lru_cache(maxsize=4096)
def read_ip(text: str) -> IPv4Address | IPv6Address | None:
    """What `text` says, without its zone; one of IPv4 in the clothes of IPv6 is one of IPv4. None when it is none."""
    try:
        ip = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the network that a customer has, in which addresses are free to make up."""
    ip = read_ip(address)
    if isinstance(ip, IPv6Address):
        return f"{IPv6Address(int(ip) >> (128 - SUBNET) << (128 - SUBNET))}/{SUBNET}"
    return str(ip or "")


def is_named(model: str, pattern: str) -> bool:
    """Whether a pattern is about a model by its full name: with or without `:latest`, in letters of either size."""
    full, wanted = model.lower(), pattern.lower()
    return fnmatchcase(full, wanted) or fnmatchcase(full.removesuffix(":latest"), wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Up to `amount` of `kind` for each of `each`: in `per_s` seconds where it is a rate, at a time otherwise.

    Who it is about was settled where the caller was made of a key; which models and addresses, is said here.
    """

    id: int
    name: str
    kind: Kind
    each: Each
    amount: int
    per_s: int = 0  # of requests and tokens
    burst: int = 0  # so many at once; 0: as many as the amount
    model: str = ""  # a pattern; empty: any
    network: Network | None = None  # None: anywhere

    def is_about(self, model: str, address: str) -> bool:
        """Whether it counts a question to `model` that comes from `address`; either may be unknown, hence empty."""
        if self.model and not (model and is_named(model, self.model)):
            return False
        if self.network is None:
            return True
        ip = read_ip(address)
        return ip is not None and ip in self.network
