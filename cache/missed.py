"""Why an answer was not there, as far as this process can tell without asking anybody.

It remembers of the last answers it kept under which key, and until when they were good: enough to tell what was asked
for the first time from what was here once. Hits do not touch it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from cache.entries import CacheKey, Entry
from orchestrator.core.types import CacheControl, Reply

MOST_REMEMBERED: Final = 20_000  # some 200 bytes each

NEW: Final = "new"  # nothing was kept under its key, that is remembered
EXPIRED: Final = "expired"
PURGED: Final = "purged"
GONE: Final = "gone"  # it was kept, and made room for others; or its tier did not answer
TOO_OLD: Final = "too_old"  # for a caller who set how old it may be
TOO_LONG: Final = "too_long"  # for a caller who set how long it may be
NOT_ASKED: Final = "not_asked"  # the caller or a rule wanted a fresh one
REASONS: Final = (NEW, GONE, EXPIRED, PURGED, TOO_OLD, TOO_LONG, NOT_ASKED)


class Remembered:
    """The last answers that were kept, without the answers."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, Entry] = OrderedDict()

    def keep(self, entry: Entry) -> None:
        """`entry` was kept."""
        name = bytes.fromhex(entry.key.hash)
        self._kept[name] = _bare(entry)
        self._kept.move_to_end(name)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def why(
        self,
        keys: Sequence[CacheKey],
        control: CacheControl,
        cap: int | None,
        now: float,
        is_purged: Callable[[CacheKey, Entry], bool],
    ) -> str:
        """Why nothing was found under `keys`; one of REASONS."""
        if not control.read:
            return NOT_ASKED
        for key in keys:
            entry = self._kept.get(bytes.fromhex(key.hash))
            if entry is None:
                continue
            if is_purged(key, entry):
                return PURGED
            if not entry.is_fresh(now):
                return EXPIRED
            if control.max_age_s is not None and now - entry.created_at > control.max_age_s:
                return TOO_OLD
            return GONE if entry.serves(cap) else TOO_LONG
        return NEW


def _bare(entry: Entry) -> Entry:
    """The same without its text."""
    reply = entry.reply
    return replace(entry, reply=Reply(model=reply.model, done=replace(reply.done, context=())))
