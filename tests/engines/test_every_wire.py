"""Every wire: bounds of what is sent, and what it makes of events that come whole, torn or in disorder."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.core.errors import EngineError, RateLimited
from orchestrator.engines.wires import WIRES
from orchestrator.engines.wires.anthropic import Anthropic
from orchestrator.engines.wires.base import Offer, Wire
from orchestrator.engines.wires.gemini import Gemini
from orchestrator.engines.wires.ollama import Ollama
from tests.engines.exchange import hello, read
from tests.speeches import KEY, SPEECHES, AnthropicSpeech, GeminiSpeech, OllamaSpeech, Speech, sse

WIRE_OF = {speech.name: WIRES[speech.name]() for speech in SPEECHES}
each_speech = pytest.mark.parametrize("speech", SPEECHES, ids=lambda speech: speech.name)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@each_speech
@given(data=st.data())
def test_whatever_is_in_an_event_is_read_or_an_error(speech: Speech, data: st.DataObject) -> None:
    """Some value within a good answer is another one."""
    frames = speech.answer(thinking="Hm.", calls=[("a", {"b": 1})])
    place = data.draw(st.integers(0, len(frames) - 1))
    head, brace, tail = frames[place].partition(b"{")
    if brace:
        value = json.loads(brace + tail)
        _spoil(value, data)
        frames[place] = head + json.dumps(value).encode() + b"\n\n"
    answer = WIRE_OF[speech.name].answer()
    answer.read(b"".join(frames).split(b"\n"))
    if not answer.trouble:
        try:
            end = answer.end(prompt_ns=1, eval_ns=1)
        except EngineError:
            return
        assert end.done is not None
        assert end.done.usage.completion_tokens >= 0


def _spoil(value: Any, data: st.DataObject) -> None:
    """Put something else somewhere into `value`."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if not isinstance(value[key], dict | list) or not value[key] or data.draw(st.booleans()):
            value[key] = data.draw(VALUES)
            return
        value = value[key]


@each_speech
@given(garbage=st.binary(min_size=1, max_size=60), place=st.integers(0, 20))
def test_an_event_of_garbage_is_an_error(speech: Speech, garbage: bytes, place: int) -> None:
    assume(garbage.strip() and b"\n" not in garbage and not garbage.strip().startswith((b"{", b"[DONE]")))
    frames = speech.answer()
    line = garbage if speech.name == "ollama" else b"data: " + garbage
    frames.insert(place % len(frames), line + b"\n\n")
    with pytest.raises(EngineError, match=r"not JSON|no object"):
        read(WIRE_OF[speech.name], b"".join(frames))


@each_speech
def test_an_error_within_an_answer_ends_it(speech: Speech) -> None:
    answer = WIRE_OF[speech.name].answer()
    chunks = answer.read((speech.answer()[0] + speech.trouble() + b"".join(speech.answer())).split(b"\n"))
    assert "overloaded" in str(answer.trouble)
    assert "".join(chunk.text for chunk in chunks) in {"", "Par"}


def test_too_many_requests_within_an_answer_are_that() -> None:
    limited = sse({"type": "error", "error": {"type": "rate_limit_error", "message": "slower"}})
    with pytest.raises(RateLimited, match="slower"):
        read(Anthropic(), limited)


@pytest.mark.parametrize("speech", [AnthropicSpeech(), GeminiSpeech(), OllamaSpeech()], ids=lambda speech: speech.name)
def test_an_end_that_is_of_no_known_kind_is_no_good_end(speech: Speech) -> None:
    for reason in ("insufficient_system_resource", "error", "STOPPED"):
        with pytest.raises(EngineError, match=reason):
            read(WIRE_OF[speech.name], b"".join(speech.answer(reason=reason)))
    nothing_said = b"".join(speech.answer(reason=""))
    if speech.name == "ollama":  # which says besides that it is done
        assert read(WIRE_OF[speech.name], nothing_said).done.reason == "stop"
    else:
        with pytest.raises(EngineError, match=r"broke off before its end|out of order"):
            read(WIRE_OF[speech.name], nothing_said)


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (Anthropic(), b"".join(AnthropicSpeech().answer(reason="x" * 30 + KEY))),
        (Ollama(), b"".join(OllamaSpeech().answer(reason="x" * 30 + KEY))),
        (Gemini(), b"".join(GeminiSpeech().answer(reason="x" * 30 + KEY))),
        (Gemini(), sse({"candidates": [{"content": {"parts": [{"x" * 30 + KEY: 1}]}}]})),
    ],
    ids=["anthropic", "ollama", "gemini", "a part of gemini"],
)
def test_what_is_repeated_of_an_odd_word_holds_a_key_whole_so_that_it_can_be_taken_out(wire: Wire, said: bytes) -> None:
    with pytest.raises(EngineError, match=KEY):
        read(wire, said)


@each_speech
def test_a_flood_of_tool_calls_has_an_end(speech: Speech) -> None:
    with pytest.raises(EngineError, match="more than 128 tools"):
        read(WIRE_OF[speech.name], b"".join(speech.answer((), calls=[("a", {})] * 129)))


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES.keys())
def test_a_key_is_in_the_headers_and_nowhere_else(wire: type[Wire]) -> None:
    made = wire()
    assert any("hush" in value for value in made.headers("hush").values())
    assert "Bearer" not in str(made.headers(""))
    assert "x-api-key" not in made.headers("")
    assert "key" not in made.listing


@pytest.mark.parametrize(
    ("asked_for", "can", "sent"), [(64_000, 8_192, 8_192), (64_000, 64_000, 64_000), (64_000, 0, 64_000), (5, 8_192, 5)]
)
def test_a_cap_is_held_to_what_the_model_can(asked_for: int, can: int, sent: int) -> None:
    offer, options = Offer(name="m", most_output=can), {"num_predict": asked_for}
    assert hello(Anthropic(), offer=offer, options=options)["max_tokens"] == sent
    assert hello(Gemini(), offer=offer, options=options)["generationConfig"]["maxOutputTokens"] == sent
