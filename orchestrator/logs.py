"""How a line of the log is written: without secrets, and so that nobody from outside writes lines of their own."""

from __future__ import annotations

import logging
from types import TracebackType

from orchestrator.core.redaction import redacted
from orchestrator.core.text import escaped

Info = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Line(logging.Formatter):
    """One line for a message; a traceback keeps its lines."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and a traceback where there is one."""
        return redacted(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The line."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Info) -> str:  # noqa: N802
        """The traceback, whose last lines say what somebody sent."""
        return "\n".join(map(escaped, super().formatException(ei).split("\n")))
