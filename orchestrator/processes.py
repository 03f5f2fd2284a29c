"""The processes this one was started with, and what they take of the machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What one process takes at this moment, and has taken since it began."""

    resident_bytes: int
    open_fds: int
    cpu_s: float


def running(folder: Path) -> Running | None:
    """What this process's own supervisor runs, by its files in `folder`; None without one."""
    for file in folder.glob("*processes.json"):
        try:
            found = msgspec.json.decode(file.read_bytes(), type=Running)
        except (OSError, msgspec.MsgspecError):  # it ends, or begins
            continue
        if found.supervisor == os.getppid():  # another's may be of another machine, and its numbers mean others here
            return found
    return None


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
