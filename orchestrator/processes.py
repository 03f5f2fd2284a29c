"""What the supervisor wrote down: where it serves, which processes, and what these take of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from django.conf import settings

PROC = Path("/proc")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Child(msgspec.Struct):
    """One process, as the supervisor wrote it down."""

    role: str  # web, pages, models, worker, redis
    name: str  # the role, numbered where there are several
    pid: int | None
    restarts: int


class Running(msgspec.Struct):
    """What the supervisor wrote down."""

    supervisor: int
    processes: list[Child]
    address: str | None = None  # host:port


def site(address: str | None = None) -> str:
    """Where a browser finds the pages: by way of the proxy, where one ends TLS, else at `address` (host:port).

    Without `address`: where the product that runs on this data directory says that it serves, or would serve.
    """
    if settings.TRUSTED_PROXY and settings.PUBLIC_HOSTS:
        return f"https://{settings.PUBLIC_HOSTS[0]}"
    at = address or _served_at(settings.RUN_DIR) or str(settings.ADDRESS)
    return f"http://{at.replace('0.0.0.0', '127.0.0.1')}"  # noqa: S104  # a browser cannot go to "every address"


def _served_at(folder: Path) -> str | None:
    return next((found.address for found in _written(folder) if found.address), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What one process takes at this moment, and has taken since it began."""

    resident_bytes: int
    open_fds: int
    cpu_s: float


def running(folder: Path) -> Running | None:
    """What this process's own supervisor runs, by its files in `folder`; None without one."""
    # Another's may be of another machine, and its numbers mean others here.
    return next((found for found in _written(folder) if found.supervisor == os.getppid()), None)


def _written(folder: Path) -> Iterator[Running]:
    for file in folder.glob("*processes.json"):
        with suppress(OSError, msgspec.MsgspecError):  # it ends, or begins
            yield msgspec.json.decode(file.read_bytes(), type=Running)


def use(pid: int) -> Use | None:
    """What a process takes, as Linux tells it; None when it is gone, or nobody tells."""
    folder = PROC / str(pid)
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()  # the name before may hold anything
        fds = sum(1 for _ in os.scandir(folder / "fd"))
    except OSError:
        return None
    user, system, resident = int(fields[11]), int(fields[12]), int(fields[21])  # proc_pid_stat(5), from the third on
    return Use(resident_bytes=resident * PAGE_BYTES, open_fds=fds, cpu_s=(user + system) / TICKS_A_SECOND)
