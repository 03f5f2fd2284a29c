"""How many files a process may have open, and how many callers that is enough for."""

from __future__ import annotations

import contextlib
import resource

ENOUGH = 65_536  # more is never needed here, and some programs walk through all that are allowed
RESERVED = 256  # databases, logs, sockets between processes
A_CALLER = 2  # its own connection, and one to whoever answers


def raise_limit() -> int:
    """Allow this process, and those it will start, as many open files as it may have; return how many."""
    soft, hard = (ENOUGH if limit == resource.RLIM_INFINITY else limit for limit in _limits())
    wanted = max(soft, min(hard, ENOUGH))
    with contextlib.suppress(ValueError, OSError):  # some systems allow less than they say: it stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, _limits()[1]))
    return most_open()


def leave_no_core() -> None:
    """Have this process, and those it will start, leave no image of their memory when they crash: secrets are in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def most_open() -> int:
    """How many files this process may have open."""
    soft, _ = _limits()
    return ENOUGH if soft == resource.RLIM_INFINITY else soft


def most_callers() -> int:
    """How many callers may be connected, so that no file is missing when each of them needs an answer made."""
    return max((most_open() - RESERVED) // A_CALLER, 1)


def _limits() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_NOFILE)
