"""What models write is read beside, where others are served meanwhile."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from orchestrator.adaptation import json_answers, tool_calls, written
from orchestrator.adaptation.fitting import Step
from tests.adaptation.pieces import Spoken, through

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("module", "name", "step"),
    [
        (json_answers, "json_in", json_answers.checking("json")),
        (tool_calls, "calls_in", tool_calls.reading([TOOL])),
    ],
)
async def test_nobody_else_waits_while_an_answer_is_mended(
    module: Any, name: str, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[threading.Thread] = []
    read = getattr(module, name)

    def beside(*given: Any, **named: Any) -> Any:
        readers.append(threading.current_thread())
        return read(*given, **named)

    monkeypatch.setattr(module, name, beside)
    await through(step, Spoken('{"name": "f", "arguments": {},}'))
    assert readers
    assert threading.main_thread() not in readers


def test_what_is_long_and_wrong_is_not_mended() -> None:
    assert written.json_in("{" * (written.LONGEST + 1)) is written.MISSING
    assert written.json_in("{'n': 1}") == {"n": 1}


@pytest.mark.parametrize(
    "said", ["{'", '{"\\"', "```{", "```{'", "[{}", "{:'", "```json\n{}```", "<tool_call>[", "{,}", "{} ", "```{,}"]
)
def test_whatever_it_says_an_answer_is_read_in_linear_time(said: str) -> None:
    began = time.process_time()
    for size in (60_000, 2_000_000):
        text = "x" + said * (size // len(said))
        written.json_in(text)
        written.json_in(text, may_be_cut=True)
        tool_calls.calls_in(f"<tool_call>{text[1:][: tool_calls.LONGEST]}", {"f"})
    assert time.process_time() - began < 5
