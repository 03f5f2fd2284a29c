"""From token bytes to text that may be sent: whole characters, and nothing of a stop string."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence


class TextOut:
    """Holds back what may yet turn out to be part of a character or of a stop string."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stopped_by = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = re.compile("|".join(re.escape(stop) for stop in stops)) if stops else None
        self._beginnings = {stop[:length] for stop in stops for length in range(1, len(stop))}
        self._longest = max((len(stop) for stop in stops), default=0) - 1
        self._held = ""

    def feed(self, piece: bytes) -> str:
        """Take a token's bytes and return the text that is certain now."""
        if self.stopped_by:
            return ""
        text = self._held + self._decoder.decode(piece)
        if self._stop is None:
            return text
        match = self._stop.search(text)
        if match:
            self.stopped_by, self._held = match[0], ""
            return text[: match.start()]
        keep = self._tail(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """The end has come: return what was held back, without a last character that is not whole."""
        rest, self._held = self._held, ""
        return rest

    @property
    def is_holding(self) -> bool:
        """Whether something was taken and not yet returned."""
        return bool(self._held or self._decoder.getstate()[0])

    def _tail(self, text: str) -> int:
        """How much of the end of `text` may be the beginning of a stop string."""
        for length in range(min(self._longest, len(text)), 0, -1):
            if text[len(text) - length :] in self._beginnings:
                return length
        return 0
