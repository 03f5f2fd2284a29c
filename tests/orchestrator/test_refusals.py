"""A refusal that was made before says the same as one that is made anew, but for the request's own id."""

from __future__ import annotations

import pytest

from orchestrator.api.table import told
from orchestrator.core.errors import Busy, OrchestratorError, TooMany
from orchestrator.core.limits import Standing
from orchestrator.refusals import MOST_KEPT, Refusals

ERRORS = [
    Busy("The server is busy.", retry_after_s=2.4),
    Busy("The server is busy.", retry_after_s=7.0),
    TooMany("As many wait as the limit web allows.", retry_after_s=1.0, standing=Standing('"web";q=5', '"web";r=0')),
    TooMany("As many wait as the limit web allows."),
]


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("request_id", ["0123456789abcdef" * 2, "mine"])
def test_it_says_the_same(path: str, request_id: str) -> None:
    refusals = Refusals({"X-Guard": "yes"})
    for error in ERRORS * 2:
        head, body = refusals.form(path, error, request_id)
        value, headers = told(path, error, request_id)
        assert body == value
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[:-1])
        assert lines == {name.lower(): text for name, text in {"X-Guard": "yes", **headers}.items()}


def test_no_more_forms_are_kept_than_may_be() -> None:
    refusals = Refusals({})
    errors: list[OrchestratorError] = [Busy(f"busy {number}") for number in range(3 * MOST_KEPT)]
    for error in errors:
        refusals.form("/api/chat", error, "mine")
    assert len(refusals._forms) <= MOST_KEPT
