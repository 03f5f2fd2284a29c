"""Which value goes when there is no room for another."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
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


class Fair(Generic[K]):
    """Whoever holds most loses first, by S3-FIFO among its own: nobody's flood drives out what is another's.

    Choosing takes a look at each of those who hold anything.
    """

    def __init__(self, owner_of: Callable[[K], Hashable]) -> None:
        self._owner_of = owner_of
        self._queues: dict[Hashable, S3Fifo[K]] = {}
        self._sizes: dict[K, int] = {}
        self._bytes: dict[Hashable, int] = {}

    def added(self, key: K, size: int) -> None:
        """`key` was stored, with `size` bytes."""
        owner = self._owner_of(key)
        queue = self._queues.get(owner)
        if queue is None:
            queue = self._queues[owner] = S3Fifo()
        queue.added(key, size)
        self._sizes[key] = size
        self._bytes[owner] = self._bytes.get(owner, 0) + size

    def used(self, key: K) -> None:
        """`key` was found."""
        self._queues[self._owner_of(key)].used(key)

    def removed(self, key: K) -> None:
        """`key` was dropped for a reason of its own: expired, purged, replaced."""
        owner = self._owner_of(key)
        self._queues[owner].removed(key)
        self._left(owner, key)

    def victim(self) -> K:
        """Take one key out of the running, and return it. Raises KeyError when there is none."""
        if not self._bytes:
            raise KeyError
        owner = max(self._bytes, key=self._bytes.__getitem__)
        key = self._queues[owner].victim()
        self._left(owner, key)
        return key

    def _left(self, owner: Hashable, key: K) -> None:
        self._bytes[owner] -= self._sizes.pop(key)
        if not self._bytes[owner]:
            # With its traces of the evicted, or those of tenants long gone would add up.
            del self._bytes[owner], self._queues[owner]
