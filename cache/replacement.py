"""Which value goes when there is no room for another."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)


class Replacement(Protocol[K]):
    """Chooses victims. It is told of everything that happens to the keys it chooses among."""

    def added(self, key: K, size: int) -> None:
        """`key` was stored, with `size` bytes."""
        ...

    def used(self, key: K) -> None:
        """`key` was found."""
        ...

    def removed(self, key: K) -> None:
        """`key` was dropped for a reason of its own: expired, purged, replaced."""
        ...

    def victim(self) -> K:
        """Take one key out of the running, and return it. Raises KeyError when there is none."""
        ...


class S3Fifo(Generic[K]):
    """Three first-in-first-out queues: small (a tenth of the bytes) for newcomers, main, and traces of the evicted.

    A newcomer that is asked for twice moves to main; one that is not leaves early, so a flood of
    questions asked once does not wash out the ones asked often. A newcomer that was evicted lately
    starts in main. In main, each use buys another round, three at most. Every step is O(1).
    Source: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.
    """

    _SMALL_SHARE = 0.1
    _MOST_USES = 3

    def __init__(self) -> None:
        self._small: OrderedDict[K, int] = OrderedDict()  # key → bytes, oldest first
        self._main: OrderedDict[K, int] = OrderedDict()
        # By their hashes: keys may be long, and two that are taken for one cost a wrong choice at worst.
        self._ghosts: OrderedDict[int, None] = OrderedDict()
        self._uses: dict[K, int] = {}
        self._small_bytes = 0
        self._main_bytes = 0

    def added(self, key: K, size: int) -> None:
        """`key` was stored, with `size` bytes."""
        self._uses[key] = 0
        ghost = hash(key)
        if ghost in self._ghosts:
            del self._ghosts[ghost]
            self._main[key] = size
            self._main_bytes += size
        else:
            self._small[key] = size
            self._small_bytes += size

    def used(self, key: K) -> None:
        """`key` was found."""
        uses = self._uses[key]
        if uses < self._MOST_USES:
            self._uses[key] = uses + 1

    def removed(self, key: K) -> None:
        """`key` was dropped for a reason of its own: expired, purged, replaced."""
        del self._uses[key]
        if key in self._small:
            self._small_bytes -= self._small.pop(key)
        else:
            self._main_bytes -= self._main.pop(key)

    def victim(self) -> K:
        """Take one key out of the running, and return it. Raises KeyError when there is none."""
        while True:
            if self._small and (
                not self._main or self._small_bytes > self._SMALL_SHARE * (self._small_bytes + self._main_bytes)
            ):
                key, size = self._small.popitem(last=False)
                self._small_bytes -= size
                if self._uses[key] < 2:
                    del self._uses[key]
                    self._remember(key)
                    return key
                self._uses[key] = 0
                self._main[key] = size
                self._main_bytes += size
            else:
                key, size = self._main.popitem(last=False)
                if not self._uses[key]:
                    del self._uses[key]
                    self._main_bytes -= size
                    return key
                self._uses[key] -= 1
                self._main[key] = size

    def _remember(self, key: K) -> None:
        self._ghosts[hash(key)] = None
        while len(self._ghosts) > len(self._main) + len(self._small):
            self._ghosts.popitem(last=False)
