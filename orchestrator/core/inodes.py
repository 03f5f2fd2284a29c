"""What tells a file from its copies, and from another that was put in its place."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

# FS_IOC_GETVERSION, _IOR('v', 1, long): an inode's generation, which is another one each time its number is given out.
# The kernel writes an int, whatever it says of a long.
GETVERSION = 2 << 30 | struct.calcsize("l") << 16 | ord("v") << 8 | 1

_kept_open: list[int] = []


def file_of(path: Path) -> str:
    """The file at `path`: `INODE:GENERATION`, or `INODE` where the file system tells no generation. Raises OSError.

    The number alone will not do: ext4 gives that of a deleted file to the next one that is made.
    """
    # Never closed: a process that closes a database loses every lock that SQLite has on it here.
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    _kept_open.append(opened)
    inode = str(os.fstat(opened).st_ino)
    said = bytearray(struct.calcsize("l"))
    try:
        fcntl.ioctl(opened, GETVERSION, said)
    except OSError:
        return inode
    return f"{inode}:{struct.unpack_from('I', said)[0]}"


def without_generation(file: str) -> str:
    """The same file by its number alone."""
    return file.partition(":")[0]
