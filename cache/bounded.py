"""A mapping that takes no more memory than it may."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from cache.replacement import Replacement, S3Fifo

V = TypeVar("V")
_LARGEST_SHARE = 0.25  # of the room, for one value: it would drive out too many others


class Bounded(Generic[V]):
    """Values under names, up to a number of bytes. When there is no room, what goes is chosen by `replacement`.

    Names should be short and of a fixed size: those of the evicted are remembered for a while. What they
    and the tables take belongs to the size that is given with a value.
    """

    def __init__(self, limit: int, replacement: type[Replacement[str]] = S3Fifo[str]) -> None:
        """`limit` is in bytes."""
        self._limit = limit
        self._replacement_type = replacement
        self.clear()

    def clear(self) -> None:
        """Drop everything, and what is remembered of names."""
        self._kept: dict[str, tuple[V, int]] = {}
        self._replacement = self._replacement_type()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[tuple[str, V, int]]:
        return ((name, value, size) for name, (value, size) in self._kept.items())

    def get(self, name: str) -> V | None:
        """Return the value, which is not yet to use it."""
        found = self._kept.get(name)
        return found[0] if found else None

    def used(self, name: str) -> None:
        """The value under `name` was of use."""
        self._replacement.used(name)

    def put(self, name: str, value: V, size: int) -> bool:
        """Keep `value`, of `size` bytes, instead of what was there; not when it takes too much of the room.

        Return whether it is kept.
        """
        self.drop(name)
        if size > self._limit * _LARGEST_SHARE:
            return False
        while self.bytes + size > self._limit:
            self.bytes -= self._kept.pop(self._replacement.victim())[1]
        self._kept[name] = value, size
        self.bytes += size
        self._replacement.added(name, size)
        return True

    def drop(self, name: str) -> None:
        """Let go of the value under `name`, if there is one."""
        dropped = self._kept.pop(name, None)
        if dropped is not None:
            self.bytes -= dropped[1]
            self._replacement.removed(name)
