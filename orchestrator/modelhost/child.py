"""The process that runs one model: `python -m orchestrator.modelhost.child FD PARENT`.

It ends when the host does, whichever way that happens.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
from pathlib import Path

from orchestrator.modelhost import wire
from orchestrator.modelhost.minilm import SUFFIX

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


def main() -> None:
    """Load what the host names and answer until it hangs up."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    _tie_to(parent)
    connection = socket.socket(fileno=descriptor)
    load = wire.to_child(connection)
    if not isinstance(load, wire.Load):
        raise TypeError("the host must say first what to load")
    # Not before: these libraries start threads, and taking the network away needs a process without.
    if load.weights.endswith(SUFFIX):
        from orchestrator.modelhost.embedding import EmbeddingSession

        EmbeddingSession(connection).run(load)
    else:
        from orchestrator.modelhost.session import Session

        Session(connection).run(load)


def _tie_to(parent: int) -> None:
    """Die with the parent, take no network, leave no core file, and be the first to go when memory is out."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)  # where it is not allowed, the process simply has no use for it
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the model host is gone")  # before the line above took effect
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the host decides when
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # not on every system
        Path("/proc/self/oom_score_adj").write_text("800")


if __name__ == "__main__":
    main()
