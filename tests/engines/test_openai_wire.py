"""How an answer in OpenAI's protocol ends, and what is asked of OpenAI itself."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.errors import EngineError
from orchestrator.engines.wires.openai import OpenAI
from tests.engines.test_wires import read
from tests.speeches import OpenAISpeech, sse


def event(**choice: Any) -> bytes:
    return sse({"choices": [{"index": 0, "delta": {}, **choice}]})


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("eos", "stop"),
        ("tool_calls", "stop"),
        ("function_call", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("content_filter", "content_filter"),
    ],
)
def test_the_good_ends_that_are_known(said: str, reason: str) -> None:
    assert read(OpenAI(), b"".join(OpenAISpeech().answer(reason=said))).done.reason == reason


@pytest.mark.parametrize("said", ["error", "insufficient_system_resource", "abort", "something_new", 1])
def test_after_any_other_end_it_may_be_half_an_answer(said: Any) -> None:
    with pytest.raises(EngineError, match=f"ended its answer with '{said}'"):
        read(OpenAI(), event(delta={"content": "Par"}) + event(finish_reason=said))


def test_an_empty_word_is_no_end_yet() -> None:
    with pytest.raises(EngineError, match="broke off before its end"):
        read(OpenAI(), event(delta={"content": "Par"}, finish_reason=""))
    frames = [event(delta={"content": "Par"}, finish_reason=""), *OpenAISpeech().answer(("is",))]
    assert read(OpenAI(), b"".join(frames)).text == "Paris"


def test_an_error_that_stands_in_the_choice_is_one() -> None:
    trouble = event(error={"code": 502, "message": "upstream is gone"}, finish_reason="error")
    with pytest.raises(EngineError, match="broke off: upstream is gone"):
        read(OpenAI(), event(delta={"content": "Par"}) + trouble)
