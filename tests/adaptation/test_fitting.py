"""Question and model are made to fit; what already fits stays as it is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orchestrator.adaptation import trimming
from orchestrator.adaptation.fitting import fit
from orchestrator.adaptation.json_answers import WrongForm
from orchestrator.adaptation.system_role import folded, is_lacking
from orchestrator.core.errors import ContextTooLong
from orchestrator.core.types import JSON, ChatRequest, Done, Message, Model, Reply, StopReason, ToolCall
from tests.adaptation.pieces import Spoken, answered, text_of
from tests.adaptation.test_json_answers import SCHEMA
from tests.adaptation.test_tool_calls import CALL, TOOL

MODEL = Model(name="p/m", digest="0" * 64, engine="p", remote_name="m", takes=frozenset({"stop", "format"}))
BARE = replace(MODEL, takes=frozenset())
QUESTION = ChatRequest(
    model="auto", messages=(Message(role="system", content="Be brief."), Message(role="user", content="Hello"))
)
ASKING = replace(QUESTION, tools=(TOOL,), options={"stop": ["END"]})


def test_what_fits_stays_as_it_is() -> None:
    model = replace(MODEL, capabilities=frozenset({"completion", "tools"}))
    assert fit(ASKING, model, is_chosen=True).request is ASKING
    assert fit(ASKING, model, is_chosen=True).steps == ()


def test_who_names_a_model_hears_that_it_knows_no_functions() -> None:
    assert fit(ASKING, BARE, is_chosen=False).request.tools
    assert not fit(ASKING, BARE, is_chosen=False, wish="always").request.tools
    assert not fit(ASKING, BARE, is_chosen=True).request.tools
    assert fit(ASKING, BARE, is_chosen=True, wish="never").request is ASKING


async def test_everything_at_once() -> None:
    fitted = fit(ASKING, BARE, is_chosen=True)
    assert fitted.said == ("tools", "stop")
    assert "stop" not in fitted.request.options
    heard = await answered(fitted, Spoken(*f"{CALL} END and more"))
    assert [call.name for chunk in heard for call in chunk.tool_calls] == ["weather"]
    assert text_of(heard) == ""


async def test_a_stop_string_that_a_provider_does_not_take_is_seen_to_here() -> None:
    model = replace(MODEL, takes=frozenset({"stop unless blank"}))
    asking = replace(QUESTION, options={"stop": ["\n", "END", " "], "seed": 1})
    fitted = fit(asking, model, is_chosen=False)
    assert fitted.said == ("stop",)
    assert fitted.request.options == {"stop": ["END"], "seed": 1}
    assert fitted.as_asked(fitted.request, asking).options == asking.options
    assert text_of(await answered(fitted, Spoken("one", "\ntwo"))) == "one"
    assert fit(replace(asking, options={"stop": ["\n"]}), model, is_chosen=False).request.options == {}
    told = replace(asking, options={"stop": ["END"]})
    assert fit(told, model, is_chosen=False).request is told


@pytest.mark.parametrize("model", [MODEL, BARE])
async def test_a_call_that_a_stop_string_ended_is_none(model: Model) -> None:
    half = CALL.removesuffix("}")
    heard = await answered(fit(ASKING, model, is_chosen=True), Spoken(*half))
    assert text_of(heard) == half
    heard = await answered(fit(replace(ASKING, options={}), model, is_chosen=True), Spoken(*half))
    assert [call.name for chunk in heard for call in chunk.tool_calls] == ["weather"]


@pytest.mark.parametrize("model", [MODEL, BARE])
async def test_json_that_a_stop_string_ended_is_not_completed(model: Model) -> None:
    said = '{"n": 1, "why": "x '
    asking = replace(QUESTION, format=SCHEMA, options={"stop": ["END"]})
    for spoken in (Spoken(said), Spoken(said + "END")):
        heard = await answered(fit(asking, model, is_chosen=False), spoken)
        assert text_of(heard) == said if model is BARE else text_of(heard).startswith(said)
    heard = await answered(fit(replace(asking, options={}), model, is_chosen=False), Spoken(said))
    assert json.loads(text_of(heard))["n"] == 1


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_json_is_held_until_it_is_whole_unless_somebody_listens(is_streamed: bool) -> None:
    question = replace(QUESTION, format="json", stream=is_streamed)
    taken, untaken = fit(question, MODEL, is_chosen=False), fit(question, BARE, is_chosen=False)
    assert taken.request.format == "json"
    assert len(taken.steps) == (0 if is_streamed else 1)
    assert untaken.request.format is None
    assert untaken.said == ("format",)
    heard = await answered(untaken, Spoken('{"a": ', "1,}"))
    assert json.loads(text_of(heard)) == {"a": 1}
    assert (taken.check is not None, untaken.check) == (is_streamed, None)


@pytest.mark.parametrize(
    ("said", "reason", "stop", "is_kept"),
    [
        (' {"n": 1}\n', "stop", "", True),
        ('```json\n{"n": 1}\n```', "stop", "", False),  # right for who asks for the whole only once it is taken out
        ('{"n": "one"}', "stop", "", False),
        ('{"n": 1', "stop", "", False),
        ('{"n": 1', "stop", "END", True),  # the next place would be cut there too
        ('{"n": "one"}', "stop", "END", False),
        ('{"n": 1', "length", "", True),
        ("[" * 100_000, "stop", "", False),
    ],
)
async def test_what_was_streamed_is_kept_as_a_whole_answer_would_be(
    said: str, reason: StopReason, stop: str, is_kept: bool
) -> None:
    asking = replace(QUESTION, format=SCHEMA, stream=True)
    fitted = fit(asking, MODEL, is_chosen=False)
    told = Reply(model="p/m", text=said, done=Done(reason=reason, stop_string=stop))
    assert fitted.check is not None
    assert await fitted.check(told) is is_kept
    if stop:  # not every provider tells
        fitted = fit(replace(asking, options={"stop": [stop]}), MODEL, is_chosen=False)
        assert fitted.check is not None
        assert await fitted.check(replace(told, done=Done(reason=reason))) is is_kept


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        ("google/gemma-2-9b-it", True),
        ("gemma-3-27b-it", True),
        ("gemma3:4b", True),
        ("gemma-3n-e4b-it", True),
        ("gemma-4-27b", False),
        ("o1-mini", True),
        ("o1", False),
        ("gpt-4o-mini", False),
        ("codegemma", False),
    ],
)
def test_who_knows_no_system_role(name: str, lacks: bool) -> None:
    assert is_lacking(replace(MODEL, remote_name=name)) is lacks


def test_what_the_system_says_opens_what_the_user_says() -> None:
    gemma = replace(MODEL, remote_name="gemma-2-9b-it")
    fitted = fit(QUESTION, gemma, is_chosen=False)
    assert fitted.said == ("system",)
    assert fitted.request.messages == (Message(role="user", content="Be brief.\n\nHello"),)
    only = (Message(role="system", content="Go"),)
    assert folded(only) == (Message(role="user", content="Go"),)


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        ("claude-opus-4-6", True),
        ("claude-sonnet-4-6-20260217", True),
        ("claude-opus-4-10", True),
        ("anthropic/claude-opus-4.7", True),
        ("us.anthropic.claude-opus-4-8-v1:0", True),
        ("claude-sonnet-5", True),
        ("claude-haiku-5-5", True),
        ("claude-mythos-preview", True),
        ("claude-opus-4-5-20251101", False),
        ("claude-haiku-4-5", False),
        ("claude-opus-4-20250514", False),
        ("claude-opus-4-1", False),
        ("claude-3-7-sonnet-latest", False),
        ("claude-3-opus", False),
        ("claude-instant-1.2", False),
        ("claude-v1", False),
        ("glm-5", False),
    ],
)
def test_who_does_not_go_on_from_an_answer_that_was_begun_is_asked_to(name: str, *, lacks: bool) -> None:
    begun = replace(QUESTION, messages=(*QUESTION.messages, Message(role="assistant", content="Once upon ")))
    fitted = fit(begun, replace(MODEL, remote_name=name), is_chosen=False)
    if not lacks:
        assert fitted.request is begun
        return
    assert fitted.said == ("prefill",)
    *before, last = fitted.request.messages
    assert tuple(before) == begun.messages
    assert (last.role, "repeat nothing" in last.content) == ("user", True)


@pytest.mark.parametrize(
    "last",
    [
        Message(role="assistant", content=" "),
        Message(role="assistant", content="Hm.", tool_calls=(ToolCall(id="1", name="weather", arguments={}),)),
        Message(role="tool", content="sun", tool_call_id="1"),
    ],
)
def test_what_is_no_beginning_of_an_answer_is_left_as_it_is(last: Message) -> None:
    asking = replace(QUESTION, messages=(*QUESTION.messages, last))
    assert fit(asking, replace(MODEL, remote_name="claude-opus-4-6"), is_chosen=False).request is asking


BEGUN = [
    ("{", '"user": {"n": 2}, "n": 1}'),
    ("{", '"n": 1}'),
    ("```json\n", '{"n": 1}\n```'),
    ("Here it is:", ' {"n": 1}'),
    ('{"m": {"n": 1}, "n":', " 1}"),
    ("{", '{"n": 1}'),  # begun anew
    ("{", '```json\n{"n": 1}\n```'),
]


@pytest.mark.parametrize(("begun", "said"), BEGUN)
@pytest.mark.parametrize("model", [MODEL, BARE, replace(BARE, remote_name="claude-opus-4-6")])
@pytest.mark.parametrize("wanted", ["json", SCHEMA])
async def test_json_that_goes_on_from_what_was_begun_stays_as_it_is(
    begun: str, said: str, model: Model, wanted: str | dict[str, JSON]
) -> None:
    turn = Message(role="assistant", content=begun)
    asking = replace(QUESTION, format=wanted, messages=(*QUESTION.messages, turn))
    assert text_of(await answered(fit(asking, model, is_chosen=False), Spoken(said))) == said


@pytest.mark.parametrize("said", ['"n": "one"}', "No.", '{"n": "one"}'])
async def test_what_goes_on_wrongly_from_what_was_begun_is_no_answer(said: str) -> None:
    asking = replace(QUESTION, format=SCHEMA, messages=(*QUESTION.messages, Message(role="assistant", content="{")))
    with pytest.raises(WrongForm):
        await answered(fit(asking, MODEL, is_chosen=False), Spoken(said))


@pytest.mark.parametrize(
    ("said", "is_kept"),
    [('"m": {"n": 2}, "n": 1}', True), ('{"n": 1}', True), ('"n": "one"}', False), ('"n": 1', False)],
)
async def test_what_was_streamed_is_kept_if_it_is_right_with_what_was_begun(said: str, is_kept: bool) -> None:
    turns = (*QUESTION.messages, Message(role="assistant", content="{"))
    fitted = fit(replace(QUESTION, format=SCHEMA, stream=True, messages=turns), MODEL, is_chosen=False)
    assert fitted.check is not None
    assert await fitted.check(Reply(model="p/m", text=said, done=Done(reason="stop"))) is is_kept


def long(exchanges: int) -> ChatRequest:
    """A conversation of so many exchanges of about 200 tokens."""
    turns = [Message(role="system", content="Be brief.")]
    for at in range(exchanges):
        turns += [Message(role="user", content=f"{at}" + "x" * 300), Message(role="assistant", content="y" * 300)]
    return replace(QUESTION, messages=(*turns, Message(role="user", content="Last")))


def test_the_oldest_exchanges_are_left_out_where_a_rule_says_so() -> None:
    model = replace(MODEL, context_length=2048)
    question = long(40)
    assert fit(question, model, is_chosen=True).request is question
    fitted = fit(question, model, is_chosen=True, trims=True)
    kept = fitted.request.messages
    assert fitted.said == ("context",)
    assert kept[0].role == "system"
    assert kept[1].role == "user"
    assert kept[1:] == question.messages[-len(kept) + 1 :]
    assert 10 < len(kept) < 40
    assert fit(long(2), model, is_chosen=True, trims=True).said == ()
    with pytest.raises(ContextTooLong, match="2,048 tokens"):
        fit(question, model, is_chosen=True, trims=False)
    assert fit(long(2), model, is_chosen=True, trims=False).said == ()


def test_what_the_system_says_stays_where_it_becomes_a_users_words() -> None:
    """With the functions or the format that were told in words, for which there is room left."""
    gemma = replace(BARE, remote_name="gemma-2-9b-it", context_length=2048)
    for asking, told in (({"tools": (TOOL,)}, TOOL["function"]), ({"format": SCHEMA}, SCHEMA)):
        question = replace(long(40), **asking)
        fitted = fit(question, gemma, is_chosen=True, trims=True)
        kept = fitted.request.messages
        assert set(fitted.said) == {*asking, "system", "context"}
        assert kept[0].role == "user"
        assert kept[0].content.startswith("Be brief.\n\n")
        assert json.dumps(told) in kept[0].content
        assert kept[-1].content == "Last"
        assert kept[1:] == question.messages[-len(kept) + 1 :]
        assert 10 < len(kept) < 40
        assert trimming.trimmed(fitted.request, gemma) is fitted.request
        with pytest.raises(ContextTooLong):
            fit(question, gemma, is_chosen=True, trims=False)


def test_calls_of_functions_take_room() -> None:
    call = ToolCall(id="1", name="write", arguments={"text": "x" * 6000})
    exchanges = (
        *(Message(role="user", content="Write"), Message(role="assistant", tool_calls=(call,))),
        *(Message(role="tool", tool_call_id="1", content="Done"), Message(role="user", content="Last")),
    )
    model = replace(MODEL, context_length=2048)
    fitted = fit(replace(QUESTION, messages=exchanges), model, is_chosen=True, trims=True)
    assert fitted.request.messages == exchanges[-1:]


def test_the_last_exchange_stays_however_long_it_is() -> None:
    question = replace(QUESTION, messages=(Message(role="user", content="z" * 50_000),))
    model = replace(MODEL, context_length=2048)
    assert fit(question, model, is_chosen=True, trims=True).request is question


def test_what_is_done_here_tells_questions_apart() -> None:
    """Who asks for an end or for functions has another answer than who does not, though the model hears the same."""
    fitted = fit(ASKING, BARE, is_chosen=True)
    known = fitted.as_asked(fitted.request, ASKING)
    assert (known.tools, known.options["stop"]) == (ASKING.tools, ["END"])
    assert known.messages == fitted.request.messages
