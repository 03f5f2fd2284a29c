"""What traffic says of answers is written soon, and nobody waits for it."""

from __future__ import annotations

import pytest

from orchestrator.core.clock import Clock
from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import AnswerOutcome
from orchestrator.outcomes import posting
from orchestrator.outcomes.posting import Noted, Outcomes
from orchestrator.parts import Parts


async def test_they_are_written_together_and_the_last_word_counts(parts: Parts) -> None:
    outcomes = Outcomes(Clock(), parts.reads)
    caller = await parts.identity.caller("", "", "127.0.0.1")
    for number, good in ((1, 0.0), (2, 1.0), (1, 0.5)):
        outcomes.note(Noted(caller.tenant_id, f"r{number}", "m", "judge", good, by="judge"))
    await outcomes.aclose()
    outcomes.note(Noted(caller.tenant_id, "r2", "m", "judge", 0.25, by="judge"))
    await outcomes.aclose()
    rows = await parts.reads.run(60, lambda: list(AnswerOutcome.objects.of(EVERYBODY).order_by("request_id")))
    assert [(one.request_id, one.good) for one in rows] == [("r1", 0.5), ("r2", 0.25)]


async def test_what_cannot_be_written_is_dropped_and_said_once(
    parts: Parts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = Outcomes(Clock(), parts.reads)
    for number in range(posting.MOST_WAITING + 5):
        outcomes._waiting.append((None, Noted(-1, str(number), "m", "judge", 1.0)))  # type: ignore[arg-type]
    assert len(outcomes._waiting) == posting.MOST_WAITING
    for _ in range(2):
        outcomes.note(Noted(-1, "r", "m", "judge", 1.0))  # no such tenant
        await outcomes.aclose()
    assert caplog.text.count("cannot be written, and is dropped") == 1
