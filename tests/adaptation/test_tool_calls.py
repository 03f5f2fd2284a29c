"""Functions for models that know of none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adaptation import tool_calls
from orchestrator.core.types import ChatRequest, Chunk, Message, StopReason, ToolCall
from tests.adaptation.pieces import USAGE, Spoken, text_of, through

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    },
}
CALL = '{"name": "weather", "arguments": {"town": "Bern"}}'
OTHER = CALL.replace("Bern", "Genf")


@pytest.mark.parametrize(
    "said",
    [
        CALL,
        f'{{"tool_calls": [{CALL}]}}',
        f"[{CALL}]",
        f"```json\n{CALL}\n```",
        f"<tool_call>\n{CALL}\n</tool_call>",
        '[{"type": "function", "function": {"name": "weather", "arguments": "{\\"town\\": \\"Bern\\"}"}}]',
        '{"name": "weather", "parameters": {"town": "Bern"}}',
        '\n {"name": "weather", "arguments": {"town": "Bern",}}',
        CALL[:-1],
        f"<tool_call>{CALL[:-1]}</tool_call>",
        f"<tool_call>{CALL}",
        f"```tool_call\n{CALL}\n```",
        f"```\n<tool_call>{CALL}</tool_call>\n```",
        f"{CALL}</tool_call>",
        f"{CALL}<|im_end|>",
        f"{CALL}}}",
        f"<tool_call>{{{CALL}}}</tool_call>",
        f'{{"tool_calls": [{CALL}]}}}}',
        f'{{"tool_calls": [{CALL}}}',
        "{'name': 'weather', 'arguments': {'town': 'Bern'}}",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_call_is_read_in_any_form_models_write_it_in(said: str, size: int) -> None:
    pieces = [said[at : at + size] for at in range(0, len(said), size)]
    heard = await through(tool_calls.reading([TOOL]), Spoken(*pieces))
    assert text_of(heard) == ""
    calls = [call for chunk in heard for call in chunk.tool_calls]
    assert [(call.name, call.arguments) for call in calls] == [("weather", {"town": "Bern"})]
    assert calls[0].id.startswith("call_")
    assert heard[-1].done is not None


@pytest.mark.parametrize(
    "said",
    [
        f'{{"tool_calls": [{CALL}, {OTHER}]}}',
        f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{OTHER}\n</tool_call>",
        f"<tool_call>{CALL}<tool_call>{OTHER}",
        f"<tool_call>{CALL}\n{OTHER}</tool_call>",
        f"<tool_call>```json\n{CALL}\n```</tool_call><tool_call>{OTHER}",
        f"{CALL}\n{OTHER}",
        f"{CALL}; {OTHER}",
        f"```json\n{CALL}\n{OTHER}\n```",
        f"```json\n{CALL}\n```\n\n```json\n{OTHER}\n```",
    ],
)
async def test_several_calls_are_several(said: str) -> None:
    heard = await through(tool_calls.reading([TOOL]), Spoken(*said))
    calls = [call for chunk in heard for call in chunk.tool_calls]
    assert [call.arguments for call in calls] == [{"town": "Bern"}, {"town": "Genf"}]
    assert len({call.id for call in calls}) == 2
    assert text_of(heard) == ""


async def test_what_is_said_beside_tags_is_heard() -> None:
    said = f"<tool_call>{CALL}</tool_call>\nWait: ```\nx\n``` <tool_call>{OTHER}</tool_call> Not before Friday. {{}}```"
    heard = await through(tool_calls.reading([TOOL]), Spoken(*said))
    assert len([call for chunk in heard for call in chunk.tool_calls]) == 2
    assert text_of(heard) == "Wait: ```\nx\n```  Not before Friday. {}```"


@pytest.mark.parametrize(
    "text", ["a </tool_call> b", "<tool_call>{}", "```\\n{}\\n```", "}", 'say \\"}\\"', "it's {", "\\\\"]
)
@pytest.mark.parametrize("form", ["%s", "<tool_call>%s</tool_call>", "```json\n%s\n```", "<tool_call>%s"])
@pytest.mark.parametrize("fault", ["}}", "}", "}}}", "},}"])
async def test_what_a_call_holds_does_not_end_it(text: str, form: str, fault: str) -> None:
    said = form % f'{{"name": "weather", "arguments": {{"town": "{text}"{fault}'
    heard = await through(tool_calls.reading([TOOL]), Spoken(said))
    (call,) = [call for chunk in heard for call in chunk.tool_calls]
    assert call.arguments == {"town": json.loads(f'"{text}"')}


@pytest.mark.parametrize("reason", ["length", "content_filter"])
@pytest.mark.parametrize(
    "said", [CALL, CALL[:-1], CALL[:-4], f"<tool_call>{CALL}</tool_call>\n<tool_call>{OTHER[:-3]}"]
)
async def test_a_call_that_was_cut_is_passed_on_as_it_is(said: str, reason: StopReason) -> None:
    """Nobody knows what is missing, nor whether the same would come with more room."""
    heard = await through(tool_calls.reading([TOOL]), Spoken(*said, reason=reason))
    assert text_of(heard) == said
    assert not any(chunk.tool_calls for chunk in heard)
    assert heard[-1].done is not None
    assert heard[-1].done.reason == reason


async def test_where_a_stop_string_may_have_ended_it_a_call_has_to_be_whole() -> None:
    for said, is_call in ((CALL, True), (CALL[:-1], False)):
        heard = await through(tool_calls.reading([TOOL], has_stops=True), Spoken(said))
        assert any(chunk.tool_calls for chunk in heard) is is_call
        assert text_of(heard) == ("" if is_call else said)


@pytest.mark.parametrize(
    "said",
    [
        "It is sunny.",
        '{"name": "another", "arguments": {}}',
        f'{{"tool_calls": [{CALL}, {{"name": "another"}}]}}',
        '{"weather": "sunny"}',
        "[1, 2]",
        "```python\nprint(1)\n```",
        f"```json\n{CALL}\n```\nDo not do it before Friday.",
        f"{CALL}\nDo not do it before Friday.",
        f"{CALL[:-2]},}}}} Do not do it before Friday.",
        f"{CALL[:-1]} Do not do it before Friday.",
        f"<tool_call>{CALL} Do not do it before Friday.",
        f"<tool_call>{CALL} Do not do it before Friday.</tool_call>",
        f"<tool_call>{CALL}</tool_call><tool_call>Friday</tool_call>",
        f"<tool_call>{CALL}</tool_call><tool_call>{CALL[:-1]}</tool_call><tool_call>{CALL}</tool_call>",
        f"{CALL} or {OTHER}",
        '{"name": "weather", "arguments": {"days": 1',
        '{"name": "weather"',
        CALL[:-2],
        '{"name": "weather", "arguments": "{\\"town\\": \\"Bern\\"} not before Friday"}',
        '{"name": ["weather"], "arguments": {}}',
        "<tool_call>",
        "",
    ],
)
async def test_what_is_no_call_is_passed_on_as_it_is(said: str) -> None:
    heard = await through(tool_calls.reading([TOOL]), Spoken(*said))
    assert text_of(heard) == said
    assert not any(chunk.tool_calls for chunk in heard)


async def test_plain_words_are_heard_as_they_come() -> None:
    spoken = Spoken("It ", "is ", "sunny.")
    async for chunk in tool_calls.reading([TOOL])(spoken.chunks()):
        assert chunk.text == "It "
        break
    assert spoken.heard == 1


@pytest.mark.parametrize("said", ["It is sunny.", CALL])
async def test_what_is_thought_first_is_heard_as_it_comes(said: str) -> None:
    spoken = Spoken(Chunk(thinking="h"), Chunk(usage=USAGE), Chunk(thinking="m"), said)
    heard = []
    async for chunk in tool_calls.reading([TOOL])(spoken.chunks()):
        heard.append(chunk)
        assert spoken.heard == min(len(heard), 4)
    assert heard[:3] == spoken.pieces[:3]
    assert "".join(chunk.thinking for chunk in heard) == "hm"
    assert text_of(heard) == ("" if said == CALL else said)
    assert [call.name for chunk in heard for call in chunk.tool_calls] == (["weather"] if said == CALL else [])


async def test_the_model_is_told_of_functions_and_of_earlier_calls_in_words() -> None:
    request = ChatRequest(
        model="m",
        tools=(TOOL,),
        messages=(
            Message(role="system", content="Be brief."),
            Message(role="user", content="Weather in Bern?"),
            Message(role="assistant", tool_calls=(ToolCall(id="1", name="weather", arguments={"town": "Bern"}),)),
            Message(role="tool", tool_name="weather", tool_call_id="1", content="sunny"),
        ),
    )
    told = tool_calls.in_words(request)
    assert told.tools == ()
    assert [message.role for message in told.messages] == ["system", "system", "user", "assistant", "user"]
    assert json.dumps(TOOL["function"]) in told.messages[1].content
    assert not any(message.tool_calls or message.role == "tool" for message in told.messages)
    assert "sunny" in told.messages[-1].content
    assert "weather" in told.messages[-1].content
    # What it is told an earlier call looked like is what it is told to write.
    calls, _ = tool_calls.calls_in(told.messages[3].content, {"weather"})
    assert [call.name for call in calls] == ["weather"]


@given(st.lists(st.text(alphabet='{}[]",:`ab \n<>/_', max_size=6), max_size=12))
async def test_nothing_that_a_model_says_is_lost_or_raises(pieces: list[str]) -> None:
    heard = await through(tool_calls.reading([TOOL]), Spoken(*pieces, Chunk(thinking="hm")))
    said = "".join(pieces)
    assert text_of(heard) == said or any(chunk.tool_calls for chunk in heard)
    assert "".join(chunk.thinking for chunk in heard) == "hm"
    assert sum(bool(chunk.done) for chunk in heard) == 1
