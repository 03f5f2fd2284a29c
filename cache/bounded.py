"""A mapping that takes no more memory than it may."""

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from cache.replacement import Replacement, S3Fifo

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_LARGEST_SHARE = 0.25  # of the room, for one value: it would drive out too many others


class Bounded(Generic[K, V]):
    """Values by key, up to a number of bytes. When there is no room, what goes is chosen by `replacement`.

    The size that is given with a value holds what its key takes, and its places in the tables.
    """

    def __init__(self, limit: int, replacement: Callable[[], Replacement[K]] = S3Fifo[K]) -> None:
        """`limit` is in bytes."""
        self._limit = limit
        self._new_replacement = replacement
        self.clear()

    def clear(self) -> None:
        """Drop everything, and what is remembered of what was dropped."""
        self._kept: dict[K, tuple[V, int]] = {}
        self._replacement = self._new_replacement()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[tuple[K, V, int]]:
        return ((key, value, size) for key, (value, size) in self._kept.items())

    def get(self, key: K) -> V | None:
        """Return the value, which is not yet to use it."""
        found = self._kept.get(key)
        return found[0] if found else None

    def used(self, key: K) -> None:
        """The value under `key` was of use."""
        self._replacement.used(key)

    def put(self, key: K, value: V, size: int) -> bool:
        """Keep `value`, of `size` bytes, instead of what was there; not when it takes too much of the room.

        Return whether it is kept.
        """
        self.drop(key)
        if size > self._limit * _LARGEST_SHARE:
            return False
        while self.bytes + size > self._limit:
            self.bytes -= self._kept.pop(self._replacement.victim())[1]
        self._kept[key] = value, size
        self.bytes += size
        self._replacement.added(key, size)
        return True

    def drop(self, key: K) -> None:
        """Let go of the value under `key`, if there is one."""
        dropped = self._kept.pop(key, None)
        if dropped is not None:
            self.bytes -= dropped[1]
            self._replacement.removed(key)
