"""Which tool's answer belongs to which call, and which part of a stream to which."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.errors import EngineError
from orchestrator.core.types import Message, ToolCall
from orchestrator.engines.wires import WIRES
from orchestrator.engines.wires.base import with_call_ids
from orchestrator.engines.wires.openai import OpenAI
from tests.engines.exchange import read
from tests.speeches import SPEECHES, OpenAISpeech, Speech, sse


def calling(*names: str, id: str = "") -> Message:
    return Message(role="assistant", tool_calls=tuple(ToolCall(id=id, name=name, arguments={}) for name in names))


def told(name: str = "", id: str = "") -> Message:
    return Message(role="tool", content="x", tool_name=name, tool_call_id=id)


def ids(*messages: Message) -> list[str]:
    """The ids in a conversation, of calls and of answers, in order."""
    made = with_call_ids(messages)
    return [one for message in made for one in ([call.id for call in message.tool_calls] or [message.tool_call_id])]


def test_an_answer_belongs_to_the_turn_before_it() -> None:
    first, second, answer = ids(calling("look"), calling("look"), told("look"))
    assert first == answer != second, "one turn for each of two calls"
    first, words, second, answer = ids(calling("look"), Message(role="user", content="Stop."), calling("look"), told())
    assert (words, answer) == ("", second)
    assert first != second


def test_an_answer_of_another_tool_is_given_to_no_call() -> None:
    look, hear, heard, nothing, looked = ids(calling("look", "hear"), told("hear"), told("hear"), told())
    assert (heard, nothing, looked) == (hear, "", look)


def test_an_id_that_comes_again_means_the_call_of_its_turn() -> None:
    messages = with_call_ids([calling("look", id="c"), calling("x"), told(), calling("hear", id="c"), told(id="c")])
    assert [message.tool_name for message in messages if message.role == "tool"] == ["look", "hear"]


def test_ids_that_are_made_are_the_same_each_time_and_different_everywhere() -> None:
    conversation = [calling("a", "a"), told("a"), told("a"), calling("a"), told("a")]
    assert ids(*conversation) == ids(*conversation)
    assert ids(*conversation[:3]) == ids(*conversation)[:4]
    first, second, _, _, third, _ = ids(*conversation)
    assert len({first, second, third}) == 3


def parts(*chunks: list[dict[str, Any]]) -> list[tuple[str, str, dict[str, Any]]]:
    frames = [sse({"choices": [{"delta": {"tool_calls": chunk}}]}) for chunk in chunks]
    calls = read(OpenAI(), b"".join([*frames, *OpenAISpeech().answer(())])).tool_calls
    return [(call.id, call.name, dict(call.arguments)) for call in calls]


def part(arguments: str, id: str | None = None, name: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"function": function} | ({"id": id} if id else {}) | fields


def test_parts_without_an_index_are_told_apart_by_their_ids() -> None:
    two = [("1", "look", {"at": "it"}), ("2", "hear", {})]
    assert parts([part('{"at":', "1", "look")], [part('"it"}')], [part("{}", "2", "hear")]) == two
    assert parts([part('{"at":', "1", "look"), part("{", "2", "hear")], [part('"it"}', "1")], [part("}", "2")]) == two
    assert parts([part('{"at":"it"}', "1", "look", index=None), part("{}", "2", "hear", index=None)]) == two


def test_parts_without_index_and_id_begin_with_a_name() -> None:
    (first, *one), (second, *other) = parts([part('{"at":', name="look")], [part("1}")], [part("{}", name="hear")])
    assert (one, other) == (["look", {"at": 1}], ["hear", {}])
    (third, *_), _ = parts([part("{}", name="look"), part("{}", name="hear")])
    assert len({first, second, third}) == 3, "nor is an id the same in another answer"


def cut(arguments: str, reason: str) -> Any:
    calls = [part("{}", "1", "look", index=0), part(arguments, "2", "hear", index=1)]
    frames = [sse({"choices": [{"delta": {"tool_calls": calls}}]}), *OpenAISpeech().answer((), reason=reason)]
    return read(OpenAI(), b"".join(frames))


@pytest.mark.parametrize("arguments", ["", '{"at', '{"at": "it"'])
def test_a_call_that_was_cut_short_is_left_out(arguments: str) -> None:
    for reason in ("length", "content_filter"):
        reply = cut(arguments, reason)
        assert ([call.name for call in reply.tool_calls], reply.done.reason) == (["look"], reason)
    assert [call.name for call in cut('{"at": "it"}', "length").tool_calls] == ["look", "hear"]


def test_only_the_last_call_can_have_been_cut_short() -> None:
    with pytest.raises(EngineError, match="not a JSON object"):
        cut('{"at', "stop")
    calls = [part('{"at', "1", "look", index=0), part("{}", "2", "hear", index=1)]
    frames = [sse({"choices": [{"delta": {"tool_calls": calls}}]}), *OpenAISpeech().answer((), reason="length")]
    with pytest.raises(EngineError, match="not a JSON object"):
        read(OpenAI(), b"".join(frames))


@pytest.mark.parametrize("speech", SPEECHES, ids=lambda speech: speech.name)
def test_a_call_that_is_being_written_is_a_beginning(speech: Speech) -> None:
    """Whatever of it can be passed on: the wait for the first word is over."""
    answer = WIRES[speech.name]().answer()
    answer.read((speech.silence() + speech.silence()).split(b"\n"))
    assert not answer.is_underway
    frames = speech.answer((), calls=[("weather", {"city": "Rome"})])
    begun = next(place for place, frame in enumerate(frames) if b"weather" in frame)
    answer.read(b"".join(frames[: begun + 1]).split(b"\n"))
    assert answer.is_underway
