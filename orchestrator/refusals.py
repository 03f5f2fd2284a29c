"""What is told to those who are sent away before anything is done for them, as bytes that are ready.

Where ten times as much is asked as can be answered, nine refusals are made for each answer: what they cost is what the
answers lack.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.api.policy import dialect_of
from orchestrator.api.table import told
from orchestrator.core.errors import OrchestratorError, TooMany

MOST_KEPT = 256
_ID = "f" * 32  # in place of the request's id

Form = tuple[bytes, bytes]  # lines of headers, and the body


class Refusals:
    """The forms of refusals; `guards` are headers that each of them has."""

    def __init__(self, guards: Mapping[str, str]) -> None:
        self._guards = guards
        self._forms: dict[tuple[object, ...], Form] = {}

    def form(self, path: str, error: OrchestratorError, request_id: str) -> Form:
        """The headers, as lines, and the body of `error` as whoever asks for `path` reads it."""
        if dialect_of(path) == "anthropic":  # which has another id in its body, made of this one
            return self._made(path, error, request_id)
        again_s = None if error.retry_after_s is None else round(error.retry_after_s)
        standing = error.standing if isinstance(error, TooMany) else None
        # All that `told` looks at, but for the id.
        key = (path, type(error), str(error), again_s, standing)
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= MOST_KEPT:
                self._forms.clear()
            form = self._forms[key] = self._made(path, error, _ID)
        own = request_id.encode()
        head, body = form
        return head.replace(_ID.encode(), own), body.replace(_ID.encode(), own)

    def _made(self, path: str, error: OrchestratorError, request_id: str) -> Form:
        body, headers = told(path, error, request_id)
        lines = {**self._guards, **headers}
        return "".join([f"{name.lower()}: {value}\r\n" for name, value in lines.items()]).encode("latin-1"), body
