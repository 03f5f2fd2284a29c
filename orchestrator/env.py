"""Typed reading of environment variables.

Each reader records what it read in `SETTINGS`, which the README's table is tested against. A value
that cannot be used stops the start and names the variable and what is allowed; empty means unset.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TypeVar

from orchestrator.core.addresses import check_address, is_key
from orchestrator.core.durations import parse_duration
from orchestrator.core.redis_address import SCHEME, sentinels

T = TypeVar("T")


class BadSetting(Exception):
    """A variable holds something that cannot be used, or settings contradict each other."""

    exit_code = 78  # EX_CONFIG, sysexits.h


@dataclass(frozen=True, slots=True)
class Setting:
    """A variable the product reads."""

    name: str
    default: str
    help: str
    is_secret: bool = False
    section: str = ""
    is_set: bool = False  # in the environment

    @property
    def shown(self) -> str:
        """Its value as it may be shown; what stands in the environment, or the default."""
        if not self.is_set:
            return self.default
        return "set, not shown" if self.is_secret else os.environ.get(self.name, "")


SETTINGS: dict[str, Setting] = {}
_section = ""


def section(words: str) -> None:
    """What is read from here on belongs together, under that heading."""
    global _section
    _section = words


def _read(
    name: str,
    default: T,
    help: str,
    parse: Callable[[str], T],
    allowed: str,
    *,
    shown: str | None = None,
    is_secret: bool = False,
) -> T:
    value = os.environ.get(name, "").strip().strip("\"'").strip()
    SETTINGS[name] = Setting(name, str(default) if shown is None else shown, help, is_secret, _section, bool(value))
    if not value:
        return default
    try:
        return parse(value)
    except ValueError:
        raise BadSetting(f"{name}={'…' if is_secret else value} cannot be used: {allowed}.") from None


def text(name: str, default: str, help: str, *, shown: str | None = None) -> str:
    """Any text."""
    return _read(name, default, help, str, "any text is allowed", shown=shown)


def choice(name: str, default: str, help: str, *, of: tuple[str, ...]) -> str:
    """One word of a few."""

    def parse(value: str) -> str:
        if value.lower() not in of:
            raise ValueError
        return value.lower()

    return _read(name, default, help, parse, "allowed are " + ", ".join(of))


def secret(name: str, help: str) -> str:
    """Text that is never shown; empty when unset."""
    return _read(name, "", help, str, "any text is allowed", is_secret=True)


def key(name: str, help: str) -> str:
    """A secret that goes into an HTTP header."""

    def parse(value: str) -> str:
        if not is_key(value):
            raise ValueError
        return value

    return _read(name, "", help, parse, "a key is of ASCII characters, without spaces", is_secret=True)


def flag(name: str, help: str, *, default: bool = False) -> bool:
    """Yes or no, in the forms Go's `strconv.ParseBool` takes; any other text means yes, as in Ollama."""

    def parse(value: str) -> bool:
        return value.lower() not in {"0", "f", "false", "no", "off"}

    return _read(name, default, help, parse, "1 or 0", shown="1" if default else "0")


def integer(name: str, default: int, help: str, *, least: int = 0, most: int = 2**31, shown: str | None = None) -> int:
    """A whole number from `least` to `most`."""

    def parse(value: str) -> int:
        number = int(value)
        if not least <= number <= most:
            raise ValueError
        return number

    return _read(name, default, help, parse, f"a whole number from {least} to {most} is allowed", shown=shown)


def size(name: str, default: int, help: str, *, least: int = 0, shown: str | None = None) -> int:
    """A number of bytes, at least `least`: `500000`, `64MB`, `2GiB` (K, M and G count in 1024s)."""

    def parse(value: str) -> int:
        match = re.fullmatch(r"(\d+)\s*([KMG]?)(?:i?B)?", value, re.IGNORECASE)
        if match is None:
            raise ValueError
        number = int(match[1]) << 10 * " KMG".index(match[2].upper() or " ")
        if number < least:
            raise ValueError
        return number

    return _read(
        name,
        default,
        help,
        parse,
        f"a number of bytes of at least {least}, such as 67108864, 64MB or 2GB, is allowed",
        shown=shown,
    )


def seconds(name: str, default: float, help: str, *, least: float = 0.0) -> float:
    """A length of time: plain seconds, or with units as in `1h30m`."""

    def parse(value: str) -> float:
        try:
            length = float(value)
        except ValueError:
            length = parse_duration(value)
        if not least <= length < float("inf"):
            raise ValueError
        return length

    return _read(
        name,
        default,
        help,
        parse,
        f"seconds, or a duration such as 5m, of at least {least:g}s is allowed",
        shown=f"{default:g}",
    )


def keep_alive(name: str, default: float, help: str, *, shown: str) -> float:
    """A length of time as Ollama reads `OLLAMA_KEEP_ALIVE`: negative means for ever."""

    def parse(value: str) -> float:
        return float(value) if re.fullmatch(r"-?\d+", value) else parse_duration(value)

    return _read(name, default, help, parse, "seconds, or a duration such as 5m, is allowed", shown=shown)


def path(name: str, default: Path, help: str, *, shown: str) -> Path:
    """A folder or file, made absolute."""
    return _read(
        name, default, help, lambda value: Path(value).expanduser().resolve(), "a path is allowed", shown=shown
    )


def url(name: str, default: str, help: str, *, schemes: tuple[str, ...], shown: str | None = None) -> str:
    """An address with one of these schemes, to which paths are appended."""

    def parse(value: str) -> str:
        return check_address(value, schemes)

    return _read(
        name,
        default,
        help,
        parse,
        "an address that begins with "
        + " or ".join(f"{s}://" for s in schemes)
        + ", of a host, a port and a path at most, is allowed",
        shown=shown,
        is_secret=True,  # somebody's key may have ended up here
    )


def redis(name: str, help: str, *, shown: str) -> str:
    """Where Redis is; empty when unset. Its password is not shown."""

    def parse(value: str) -> str:
        if sentinels(value) is None and not re.match(r"(redis|rediss|unix)://.", value, re.IGNORECASE):
            raise ValueError
        return value

    allowed = (
        "redis://host:6379/0, rediss://…, unix://…"
        f" or, by way of Sentinels, {SCHEME}://[user:password@]host:26379,host2:26379/service/0 is allowed"
    )
    return _read(name, "", help, parse, allowed, shown=shown, is_secret=True)


def words(name: str, default: tuple[str, ...], help: str) -> tuple[str, ...]:
    """Words parted by commas."""

    def parse(value: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in value.split(",") if word.strip())

    return _read(name, default, help, parse, "words parted by commas are allowed", shown=",".join(default))


def ports(name: str, default: tuple[int, ...], help: str) -> frozenset[int]:
    """Ports parted by commas."""

    def parse(value: str) -> frozenset[int]:
        found = frozenset(int(word) for word in value.split(",") if word.strip())
        if not found or not all(0 < port < 65536 for port in found):
            raise ValueError
        return found

    shown = ",".join(map(str, default))
    return _read(name, frozenset(default), help, parse, "ports parted by commas are allowed", shown=shown)


def networks(
    name: str, default: tuple[IPv4Network | IPv6Network, ...], help: str, *, shown: str = ""
) -> tuple[IPv4Network | IPv6Network, ...]:
    """Addresses and networks, parted by commas."""

    def parse(value: str) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(word.strip()) for word in value.split(",") if word.strip())

    allowed = "addresses and networks (10.0.0.0/8) parted by commas are allowed"
    return _read(name, default, help, parse, allowed, shown=shown)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: str) -> Address:
    """Read `[scheme://]host[:port][/path]` as Ollama reads OLLAMA_HOST; a bad port means the scheme's."""
    scheme, separator, rest = value.partition("://")
    if not separator:
        scheme, rest = "", value
    port = {"http": 80, "https": 443}.get(scheme.lower(), 11434)
    rest = rest.partition("/")[0]
    match = re.fullmatch(
        r"\[(?P<six>[^\]]*)\](?::(?P<sixport>.*))?|(?P<host>[^:]*)(?::(?P<port>[^:]*))?|(?P<bare>.*)", rest
    )
    assert match is not None  # the last branch takes anything
    host = match["six"] or match["host"] or match["bare"] or "127.0.0.1"
    given = match["sixport"] or match["port"] or ""
    if given.isascii() and given.isdigit() and int(given) <= 65535:
        port = int(given)
    return Address(host, port)


def address(name: str, default: str, help: str) -> Address:
    """Where to listen, in Ollama's form."""
    return _read(name, parse_address(default), help, parse_address, "host:port is allowed", shown=default)


def secret_names() -> frozenset[str]:
    """The variables that may hold a secret: no process needs them that asks nobody else."""
    return frozenset(name for name, setting in SETTINGS.items() if setting.is_secret)


def check_names(prefix: str, besides: frozenset[str]) -> None:
    """Raises BadSetting for a variable that begins with `prefix` and is no setting: a misspelt one must not hide."""
    for name in sorted(os.environ):
        if name.startswith(prefix) and name not in SETTINGS and name not in besides:
            near = difflib.get_close_matches(name, SETTINGS, n=1)
            hint = f"; {near[0]} is" if near else ". The README lists them"
            raise BadSetting(f"{name} is not a setting{hint}.")
