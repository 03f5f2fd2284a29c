"""Power cuts: a disk in memory under SQLite that keeps what was synced, and of the rest whatever chance leaves.

A write that was not synced may be there, be missing, or be torn between two sectors, each for itself: a disk may write
in any order. What was synced is there. Between two files there is no order but by syncs. This is a VFS of apsw, whose
SQLite is another build than the product's; the statements and pragmas are the product's own. It knows no shared memory,
so the log is used in exclusive mode, by one connection.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512


class PowerCut(Exception):
    """There is no more power."""


class Disk(apsw.VFS):
    """Files in memory. The power is cut at the write or sync with the number `until`."""

    def __init__(self, name: str) -> None:
        super().__init__(name, base="", exclude={"xDlOpen", "xDlSym", "xDlClose", "xDlError"})
        self.now: dict[str, bytearray] = {}  # what readers see
        self.synced: dict[str, bytearray] = {}
        self.unsynced: dict[str, list[tuple[int, bytes] | int]] = {}  # writes, and lengths it was cut to
        self.steps = 0
        self.until = 0

    def load(self, name: str, content: bytes) -> None:
        """A file that is there from the start."""
        self.now[name], self.synced[name], self.unsynced[name] = bytearray(content), bytearray(content), []

    def step(self) -> None:
        """Something reaches for the disk. Raises PowerCut."""
        self.steps += 1
        if self.until and self.steps >= self.until:
            raise PowerCut

    def left(self, chance: random.Random) -> dict[str, bytes]:
        """What is on the disk when the power is back."""
        files = {}
        for name, content in self.synced.items():
            kept = bytearray(content)
            for one in self.unsynced[name]:
                if chance.random() < 0.5:
                    _apply(kept, _torn(one, chance) if chance.random() < 0.3 else one)
            files[name] = bytes(kept)
        return files

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802  # as SQLite calls it
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        flags[1] = flags[0]
        return _File(self, path or f"temporary {len(self.now)}")

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
        self.step()
        for files in (self.now, self.synced, self.unsynced):
            files.pop(name, None)

    def xAccess(self, name: str, flags: int) -> bool:  # noqa: N802
        return name in self.now

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name


class _File:
    def __init__(self, disk: Disk, name: str) -> None:
        self._disk, self._name = disk, name
        if name not in disk.now:
            disk.load(name, b"")

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return bytes(self._disk.now[self._name][offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.step()
        self._change((offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.step()
        self._change(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.step()
        self._disk.synced[self._name] = bytearray(self._disk.now[self._name])
        self._disk.unsynced[self._name].clear()

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._disk.now[self._name])

    def xLock(self, level: int) -> None:  # noqa: N802
        pass

    def xUnlock(self, level: int) -> None:  # noqa: N802
        pass

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, operation: int, pointer: int) -> bool:  # noqa: N802
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return SECTOR

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return 0  # nothing is promised

    def xClose(self) -> None:  # noqa: N802
        pass

    def _change(self, one: tuple[int, bytes] | int) -> None:
        _apply(self._disk.now[self._name], one)
        self._disk.unsynced[self._name].append(one)


def _apply(content: bytearray, one: tuple[int, bytes] | int) -> None:
    if isinstance(one, int):
        del content[one:]
        content.extend(bytes(one - len(content)))
        return
    offset, data = one
    content.extend(bytes(max(offset - len(content), 0)))
    content[offset : offset + len(data)] = data


def _torn(one: tuple[int, bytes] | int, chance: random.Random) -> tuple[int, bytes] | int:
    if isinstance(one, int) or len(one[1]) <= SECTOR:
        return one
    at = chance.randrange(SECTOR, len(one[1]), SECTOR)
    return (one[0], one[1][:at]) if chance.random() < 0.5 else (one[0] + at, one[1][at:])


class Cursor:
    """The SQL of the ledger, as apsw has it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._cursor = connection.cursor()

    def execute(self, sql: str, params: Any = None, /) -> Any:
        self._cursor.execute(sql.replace("%s", "?").replace("%%", "%"), params or ())

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self._cursor.fetchall())

    @property
    def rowcount(self) -> int:
        return self._cursor.connection.changes()


def write(files: dict[str, bytes], folder: Path) -> None:
    """Put what is left of a disk where others can open it."""
    for name, content in files.items():
        if not name.startswith("temporary"):
            (folder / Path(name).name).write_bytes(content)
