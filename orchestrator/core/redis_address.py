"""Where Redis is, when Sentinels know: `redis+sentinel://[user:password@]host[:port],…/service[/db]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

SCHEME = "redis+sentinel"
PORT = 26379
_FORM = re.compile(
    r"(?:(?P<user>[^:@/]*):(?P<password>[^@/]*)@)?(?P<hosts>[^@/?#]+)/(?P<service>[\w.-]+)(?:/(?P<db>\d{1,5}))?/?"
)
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[\w.-]+))(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The Sentinels, and what to ask them for. User and password are for Redis, not for them."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int = 0
    username: str = ""
    password: str = ""


def sentinels(location: str) -> Sentinels | None:
    """Return what a `redis+sentinel://` address says; None for any other.

    Raises ValueError when it is not of the form above.
    """
    scheme, _, rest = location.partition("://")
    if scheme.lower() != SCHEME:
        return None
    match = _FORM.fullmatch(rest)
    if match is None:
        raise ValueError("it is not host[:port],…/service[/db]")
    return Sentinels(
        hosts=tuple(_host(host) for host in match["hosts"].split(",")),
        service=match["service"],
        db=int(match["db"] or 0),
        username=unquote(match["user"] or ""),
        password=unquote(match["password"] or ""),
    )


def password_of(location: str) -> str:
    """The password in an address of Redis; empty where there is none."""
    asked = sentinels(location)
    return asked.password if asked else unquote(urlsplit(location).password or "")


def _host(text: str) -> tuple[str, int]:
    match = _HOST.fullmatch(text.strip())
    port = int(match["port"] or PORT) if match else 0
    if match is None or not 0 < port < 65536:
        raise ValueError(f"{text} is no host")
    return match["six"] or match["host"], port
