"""Telling apart what a model writes."""

from typing import Any

import pytest

from orchestrator.core.types import Chunk
from orchestrator.modelhost.reply import ReplyReader, tool_calls


def read(text: str, *, piece: int, **kind: Any) -> tuple[str, str, list[tuple[str, Any]]]:
    """Thinking, text and calls of an answer that comes in pieces of a few characters."""
    reader = ReplyReader(**kind)
    chunks: list[Chunk] = []
    for start in range(0, len(text), piece):
        chunks += reader.feed(text[start : start + piece])
    chunks += reader.flush()
    calls = [(call.name, call.arguments) for chunk in chunks for call in chunk.tool_calls]
    return "".join(c.thinking for c in chunks), "".join(c.text for c in chunks), calls


@pytest.fixture(params=[1, 3, 1000])
def piece(request: pytest.FixtureRequest) -> int:
    """How many characters come at once."""
    size: int = request.param
    return size


def test_plain_text_passes_through(piece: int):
    assert read("a <think> b {", piece=piece) == ("", "a <think> b {", [])


def test_plain_text_is_not_held_back():
    assert ReplyReader().feed("Hel") == [Chunk(text="Hel")]


def test_thinking_comes_before_the_answer(piece: int):
    assert read("<think>\nwhy\n</think>\n\nbecause", piece=piece, thinks=True) == ("why\n", "because", [])


def test_thinking_may_be_open_already(piece: int):
    assert read("why</think>because", piece=piece, thinks=True, is_open=True) == ("why", "because", [])


def test_an_answer_without_thinking_is_text(piece: int):
    assert read("<the end>", piece=piece, thinks=True) == ("", "<the end>", [])


def test_thinking_that_is_cut_off_is_still_thinking(piece: int):
    assert read("<think>on and on", piece=piece, thinks=True) == ("on and on", "", [])


def test_a_call_between_tags(piece: int):
    answer = 'Let me see. <tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    assert read(answer, piece=piece, tools={"f"}) == ("", "Let me see. ", [("f", {"a": 1})])


def test_two_calls_after_thinking(piece: int):
    call = '<tool_call>{"name": "f", "arguments": {}}</tool_call>\n'
    assert read("<think>x</think>" + call * 2, piece=piece, thinks=True, tools={"f"}) == (
        "x",
        "",
        [("f", {}), ("f", {})],
    )


def test_an_answer_that_is_nothing_but_a_call(piece: int):
    assert read('{"name": "f", "parameters": {"a": 1}}', piece=piece, tools={"f"}) == ("", "", [("f", {"a": 1})])


def test_json_that_is_no_call_is_text(piece: int):
    assert read('{"a": 1}', piece=piece, tools={"f"}) == ("", '{"a": 1}', [])


@pytest.mark.parametrize(
    "answer",
    [
        '{"name": "Ada Lovelace", "born": 1815}',
        '{"name": "Ada Lovelace", "arguments": {}}',
        '{"name": "f", "born": 1815}',
        '[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]',
        'See: <tool_call>{"name": "g", "arguments": {}}</tool_call> Done.',
    ],
)
def test_what_calls_no_tool_that_was_offered_is_text(piece: int, answer: str):
    assert read(answer, piece=piece, tools={"f"}) == ("", answer, [])


def test_a_call_between_tags_needs_no_arguments(piece: int):
    answer = '<tool_call>{"name": "f"}</tool_call>'
    assert read(answer, piece=piece, tools={"f"}) == ("", "", [("f", {})])


def test_a_broken_call_is_shown_as_it_is(piece: int):
    assert read("<tool_call>{oops</tool_call>", piece=piece, tools={"f"}) == ("", "<tool_call>{oops</tool_call>", [])


def test_tags_mean_nothing_when_no_tools_were_offered(piece: int):
    text = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    assert read(text, piece=piece) == ("", text, [])


def test_a_call_gets_an_id_in_ollamas_form():
    (call,) = tool_calls('[{"name": "f", "arguments": {}}]', {"f"})
    assert call.id.startswith("call_")
    assert len(call.id) == 13


@pytest.mark.parametrize(
    "text", ["", "1", "[]", '{"name": 1, "arguments": {}}', '{"name": "f", "arguments": "x"}', "[" * 10**5]
)
def test_what_is_not_a_call_makes_none(text: str):
    assert tool_calls(text, {"f"}) == ()
