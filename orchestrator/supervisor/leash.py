"""Run a program that dies with its parent: `python -I -S leash.py PARENT_PID NICE PROGRAM ARGUMENT…`.

The kernel remembers the wish across exec, so it also holds for programs that are not ours. On
systems without prctl the program only dies when it is told to.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
EXIT_NOT_FOUND = 127  # what shells say


def main() -> None:
    """Become the program; never returns."""
    parent, nice, *program = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != int(parent):  # it died before the kernel was told
        sys.exit(1)
    os.nice(int(nice))
    try:
        os.execvp(program[0], program)  # noqa: S606  # the supervisor says which
    except OSError as error:
        print(f"{program[0]} cannot be run: {error.strerror}", file=sys.stderr)  # noqa: T201  # nothing is set up yet
        sys.exit(EXIT_NOT_FOUND)


if __name__ == "__main__":
    main()
