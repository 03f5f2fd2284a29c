"""Every wire: what it sends for a question, and what it makes of events that come whole, torn or in disorder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from orchestrator.api.options import READERS
from orchestrator.capabilities import settle
from orchestrator.core.errors import BadRequest, EngineError, ModelNotFound, RateLimited
from orchestrator.core.types import ChatRequest, Chunk, Message, Model, Reply, ReplyBuilder, ToolCall
from orchestrator.engines.wires import WIRES
from orchestrator.engines.wires.anthropic import ADAPTIVE, ALL_EFFORTS, SAMPLING, Anthropic
from orchestrator.engines.wires.base import Offer, Wire
from orchestrator.engines.wires.gemini import UNSIGNED, Gemini
from orchestrator.engines.wires.ollama import Ollama
from orchestrator.engines.wires.openai import Mistral, OpenAI
from orchestrator.engines.wires.strict_schema import can_be_said, strict
from tests.speeches import KEY, SPEECHES, AnthropicSpeech, GeminiSpeech, OllamaSpeech, OpenAISpeech, Speech, sse

PNG, JPEG = "iVBORw0KGgo=", "/9j/4AAQ"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Look.", "parameters": SCHEMA}}
CONVERSATION = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="How is it there?", images=(PNG, JPEG)),
    Message(
        role="assistant",
        content="Let me see.",
        thinking="Hm.",
        tool_calls=(
            ToolCall(id="", name="weather", arguments={"city": "Rome"}),
            ToolCall(id="functions.weather:1", name="weather", arguments={"city": "Oslo"}),
        ),
    ),
    Message(role="tool", content="snow", tool_call_id="functions.weather:1"),
    Message(role="tool", content="sun", tool_name="weather"),
    Message(role="user", content="And?"),
)


def asked(wire: Wire, messages: Sequence[Message] = CONVERSATION, name: str = "m", **fields: Any) -> dict[str, Any]:
    offer = fields.pop("offer", None) or wire.guess(name)
    return wire.chat(ChatRequest(model="x", messages=tuple(messages), **fields), offer).body


def hello(wire: Wire, name: str = "m", **fields: Any) -> dict[str, Any]:
    return asked(wire, [Message(role="user", content="hi")], name, **fields)


def settle_for(offer: Offer, **fields: Any) -> tuple[ChatRequest, tuple[str, ...]]:
    """What such a model is asked, and what is left out."""
    assert offer.takes is not None
    model = Model(name="m", digest="", engine="p", capabilities=offer.capabilities, takes=offer.takes)
    return settle(ChatRequest(model="m", messages=(Message(role="user", content="hi"),), **fields), model, "warn")


def read(wire: Wire, data: bytes) -> Reply:
    """The whole answer. Raises EngineError when it is none."""
    answer = wire.answer()
    builder = ReplyBuilder("m")
    chunks: list[Chunk] = answer.read(data.split(b"\n"))
    if answer.trouble:
        raise answer.trouble
    for chunk in [*chunks, answer.end(prompt_ns=1, eval_ns=1)]:
        builder.add(chunk)
    reply = builder.reply()
    assert reply is not None
    return reply


# Anthropic


def test_a_conversation_is_sent_as_anthropic_has_it() -> None:
    body = asked(Anthropic(), tools=(TOOL,), options={"temperature": 0.5, "top_k": 3, "stop": ["x"], "num_ctx": 9})
    TypeAdapter(MessageCreateParamsStreaming).validate_python(body)
    assert body["system"] == [{"type": "text", "text": "Be brief."}]
    assert body["tools"] == [{"name": "weather", "description": "Look.", "input_schema": SCHEMA}]
    assert (body["temperature"], body["top_k"], body["stop_sequences"], body["max_tokens"]) == (0.5, 3, ["x"], 8192)
    assert "num_ctx" not in body
    user, assistant, results = body["messages"]
    assert [block["type"] for block in user["content"]] == ["text", "image", "image"]
    assert [block["source"]["media_type"] for block in user["content"][1:]] == ["image/png", "image/jpeg"]
    assert [block["type"] for block in assistant["content"]] == ["text", "tool_use", "tool_use"]
    rome, oslo = (block["id"] for block in assistant["content"][1:])
    answered = {block["tool_use_id"]: block["content"][0]["text"] for block in results["content"][:2]}
    assert answered == {rome: "sun", oslo: "snow"}
    assert all(part.isalnum() for part in oslo.split("_"))
    assert results["content"][2]["text"] == "And?"


def test_a_caller_without_a_cap_gets_what_anthropics_model_can() -> None:
    offer = Offer(name="m", most_output=20_000)
    assert hello(Anthropic(), offer=offer)["max_tokens"] == 20_000
    assert hello(Anthropic(), offer=Offer(name="m", most_output=128_000))["max_tokens"] == 32_000
    assert hello(Anthropic(), offer=offer, options={"num_predict": 5})["max_tokens"] == 5
    assert hello(Anthropic(), offer=offer, options={"num_predict": -1})["max_tokens"] == 20_000


@pytest.mark.parametrize(
    ("asked_for", "can", "sent"), [(64_000, 8_192, 8_192), (64_000, 64_000, 64_000), (64_000, 0, 64_000), (5, 8_192, 5)]
)
def test_a_cap_is_held_to_what_the_model_can(asked_for: int, can: int, sent: int) -> None:
    offer, options = Offer(name="m", most_output=can), {"num_predict": asked_for}
    assert hello(Anthropic(), offer=offer, options=options)["max_tokens"] == sent
    assert hello(Gemini(), offer=offer, options=options)["generationConfig"]["maxOutputTokens"] == sent


@pytest.mark.parametrize(
    ("think", "thinking", "effort"),
    [
        (None, None, None),
        (False, {"type": "disabled"}, None),
        (True, {"type": "adaptive", "display": "summarized"}, None),
        ("low", {"type": "adaptive", "display": "summarized"}, "low"),
        ("max", {"type": "adaptive", "display": "summarized"}, "max"),
    ],
)
def test_newer_models_of_anthropic_think_as_they_find_right(think: Any, thinking: Any, effort: str | None) -> None:
    body = hello(Anthropic(), think=think, offer=Offer(name="m", traits=frozenset({ADAPTIVE, ALL_EFFORTS})))
    assert (body.get("thinking"), body.get("output_config", {}).get("effort")) == (thinking, effort)


def test_older_models_of_anthropic_think_within_a_budget() -> None:
    name = "claude-sonnet-4-5-20250929"
    assert hello(Anthropic(), name, think="low")["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert hello(Anthropic(), name, think=True)["thinking"]["budget_tokens"] == 4096  # half of what it may say
    with pytest.raises(BadRequest, match="needs `num_predict` over 1024"):
        hello(Anthropic(), name, think=True, options={"num_predict": 1024})
    assert hello(Anthropic(), name, think=True, options={"num_predict": 1025})["thinking"]["budget_tokens"] == 1024
    assert "thinking" not in asked(Anthropic(), CONVERSATION[:-1], name, think=True)  # its thoughts were signed


OLDER = "claude-sonnet-4-5-20250929"
LOOKED = (
    Message(role="user", content="How is it there?"),
    Message(role="assistant", tool_calls=(ToolCall(id="toolu_1", name="weather", arguments={}),)),
)
SUN = Message(role="tool", content="sun", tool_call_id="toolu_1")


@pytest.mark.parametrize(
    "messages",
    [
        (*LOOKED, SUN),
        (*LOOKED, SUN, Message(role="user", content="And?")),
        (*LOOKED, Message(role="user", content="Well?"), SUN),
        (Message(role="user", content="hi"), Message(role="assistant", content="It is")),
    ],
    ids=["a tool answered", "and more was said", "and something was said before", "an answer to go on with"],
)
@pytest.mark.parametrize("think", [None, False, True, "high"])
def test_anthropic_takes_a_conversation_that_is_in_the_middle_of_a_turn(
    messages: Sequence[Message], think: Any
) -> None:
    body = asked(Anthropic(), messages, OLDER, think=think)
    AnthropicSpeech().check("/v1/messages", body)
    assert body.get("thinking", {}).get("type") != "enabled"


def test_anthropic_thinks_again_when_the_turn_with_tools_is_over() -> None:
    over = (*LOOKED, SUN, Message(role="assistant", content="Sunny."), Message(role="user", content="And there?"))
    assert asked(Anthropic(), over, OLDER, think=True)["thinking"]["type"] == "enabled"


@pytest.mark.parametrize(
    ("messages", "first", "system"),
    [
        ([Message(role="assistant", content="Hello!"), Message(role="user", content="hi")], "…", None),
        ([Message(role="assistant", content="Once")], "…", None),
        ([Message(role="system", content="Tell a joke.")], "Tell a joke.", None),
        ([Message(role="system", content="Be brief."), Message(role="assistant", content="Once")], "…", "Be brief."),
    ],
)
def test_a_conversation_that_no_user_began_is_one_that_anthropic_takes(
    messages: Sequence[Message], first: str, system: str | None
) -> None:
    body = asked(Anthropic(), messages)
    AnthropicSpeech().check("/v1/messages", body)
    assert body["messages"][0] == {"role": "user", "content": [{"type": "text", "text": first}]}
    assert body.get("system", [{"text": None}])[0]["text"] == system


def test_a_conversation_in_which_nothing_is_said_is_refused_before_anthropic_does() -> None:
    for messages in ([], [Message(role="user", content=" ")], [Message(role="system", content=" ")]):
        with pytest.raises(BadRequest, match="needs a message that says something"):
            asked(Anthropic(), messages)


def test_anthropic_is_asked_for_no_warmer_answer_than_it_gives() -> None:
    assert hello(Anthropic(), options={"temperature": 1.8})["temperature"] == 1.0
    assert hello(Anthropic(), options={"temperature": 0})["temperature"] == 0


@pytest.mark.parametrize("name", ["claude-3-7-sonnet-20250219", "glm-5"])
@pytest.mark.parametrize(("think", "left_out"), [(True, ("temperature", "top_k", "top_p")), (False, ()), (None, ())])
def test_how_to_choose_words_is_left_out_where_anthropic_thinks_and_that_is_said(
    name: str, think: Any, left_out: tuple[str, ...]
) -> None:
    wire = Anthropic()
    offer = wire.guess(name)
    options = {"temperature": 0.2, "top_p": 0.5, "top_k": 3, "stop": ["x"]}
    settled, said = settle_for(offer, think=think, options=options)
    assert said == left_out
    AnthropicSpeech().check("/v1/messages", wire.chat(settled, offer).body | {"stream": True})


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("claude-v1", []),
        ("claude-3-5-haiku-20241022", []),
        ("claude-3-opus-latest", []),
        ("claude-sonnet-4-20250514", []),
        ("claude-opus-4-1-20250805", ["top_p"]),
        ("claude-haiku-4-5", ["top_p"]),
        ("claude-opus-4.6", ["top_p"]),
        ("claude-opus-4-7", ["temperature", "top_k", "top_p"]),
        ("claude-opus-4-8-20260601", ["temperature", "top_k", "top_p"]),
        ("claude-sonnet-5", ["temperature", "top_k", "top_p"]),
        ("claude-fable-5-1", ["temperature", "top_k", "top_p"]),
        ("claude-mythos-preview", ["temperature", "top_k", "top_p"]),
        ("minimax-m3", []),
    ],
)
def test_ways_to_choose_words_that_a_model_of_anthropic_refuses_are_left_out_and_said(
    name: str, left_out: list[str]
) -> None:
    offer = Anthropic().guess(name)
    settled, said = settle_for(offer, options={"temperature": 0.2, "top_p": 0.5, "top_k": 3})
    assert (list(said), sorted(SAMPLING - Anthropic().chat(settled, offer).body.keys())) == (
        left_out,
        left_out,
    )
    listed = Anthropic().offers(json.dumps({"data": [{"id": name, "capabilities": {}}]}).encode())
    assert listed[0].takes == offer.takes
    _, said = settle_for(offer, options={"top_p": 0.5})
    assert said == (("top_p",) if "temperature" in left_out else ())


def test_a_blank_stop_string_is_not_for_anthropic() -> None:
    offer = Anthropic().guess("claude-sonnet-4-5")
    assert settle_for(offer, options={"stop": ["x", "\n"]})[1] == ("stop",)
    assert settle_for(offer, options={"stop": ["x\n"]})[1] == ()


@pytest.mark.parametrize(
    ("name", "thinks", "is_adaptive"),
    [
        ("claude-3-5-haiku-latest", False, False),
        ("claude-3-7-sonnet-20250219", True, False),
        ("claude-opus-4-1", True, False),
        ("claude-opus-4-6", True, True),
        ("claude-haiku-5", True, True),
        ("glm-5", True, False),
    ],
)
def test_how_an_unlisted_model_of_anthropic_thinks_is_told_by_its_name(
    name: str, *, thinks: bool, is_adaptive: bool
) -> None:
    offer = Anthropic().guess(name)
    assert ("thinking" in offer.capabilities, ADAPTIVE in offer.traits) == (thinks, is_adaptive)


def test_what_comes_again_is_marked_for_anthropics_cache() -> None:
    long = Message(role="system", content="word " * 2000)
    short = hello(Anthropic())
    marked = asked(Anthropic(), [long, Message(role="user", content="hi")], tools=(TOOL,))
    assert "cache_control" not in json.dumps(short)
    assert marked["system"][-1]["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in json.dumps([marked["tools"], marked["messages"]])
    running = asked(Anthropic(), CONVERSATION[:-1])
    assert running["messages"][-1]["content"][-1]["cache_control"] == {"type": "ephemeral"}


def test_nothing_empty_is_sent_to_anthropic() -> None:
    messages = [
        Message(role="user", content=" "),
        Message(role="user", content="hi"),
        Message(role="assistant", content=""),
        Message(role="user", content="there"),
        Message(role="assistant", content="It is \n"),
    ]
    turns = asked(Anthropic(), messages)["messages"]
    assert [(turn["role"], [block["text"] for block in turn["content"]]) for turn in turns] == [
        ("user", ["hi", "there"]),
        ("assistant", ["It is"]),
    ]


def test_a_schema_is_closed_and_what_no_grammar_holds_is_told() -> None:
    schema = {
        "type": "object",
        "additionalProperties": True,
        "properties": {"n": {"type": "integer", "minimum": 1, "description": "How many."}, "at": {"$ref": "#/$defs/p"}},
        "$defs": {"p": {"oneOf": [{"type": "object", "properties": {}}, {"type": "null"}]}},
    }
    assert strict(schema) == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "n": {"type": "integer", "description": 'How many.\n\n{"minimum": 1}'},
            "at": {"$ref": "#/$defs/p"},
        },
        "$defs": {
            "p": {"anyOf": [{"type": "object", "properties": {}, "additionalProperties": False}, {"type": "null"}]}
        },
    }
    form = hello(Anthropic(), format=schema)["output_config"]["format"]
    assert form == {"type": "json_schema", "schema": strict(schema)}
    assert "one JSON object" in hello(Anthropic(), format="json")["system"][0]["text"]


NUMBER = {"type": "integer"}
NAMED = {"type": "object", "properties": {"n": NUMBER}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": NUMBER},
        {"type": "object", "additionalProperties": True, "properties": {}},
        {"type": "object", "additionalProperties": {}},
        {"type": "object", "additionalProperties": False, "patternProperties": {"^x": NUMBER}},
        {"type": ["object", "null"]},
        NAMED | {"additionalProperties": NUMBER},
        NAMED | {"properties": {"of": {"type": "object", "additionalProperties": NUMBER}}},
        NAMED | {"properties": {"any": {"description": "Whatever."}}},
        NAMED | {"properties": {"any": True}},
        NAMED | {"anyOf": [{"required": ["n"]}, {"required": ["m"]}]},
        {"type": "array", "items": {"type": "object"}},
        {"anyOf": [NAMED, {"type": "object"}]},
        {"allOf": [NAMED, {"type": "object", "properties": {"m": NUMBER}}]},
        {"anyOf": [NAMED], "oneOf": [NAMED]},
        {"$ref": "#/$defs/p", "$defs": {"p": {"type": "object"}}},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("system", ["", "Be brief."])
def test_a_schema_that_anthropics_grammar_cannot_hold_is_asked_for_in_words(schema: Any, system: str) -> None:
    messages = [Message(role="system", content=system), Message(role="user", content="hi")]
    body = asked(Anthropic(), messages, format=schema)
    assert "output_config" not in body
    (block,) = body["system"]
    assert block["text"].startswith(system)
    assert block["text"].endswith(f"fits this JSON Schema, and nothing around it:\n{json.dumps(schema)}")


SUPPORTED, NOT_SUPPORTED = ({"structured_outputs": {"supported": is_so}} for is_so in (True, False))


@pytest.mark.parametrize(
    ("name", "able", "is_bound"),
    [
        ("claude-opus-4-1", None, True),
        ("claude-haiku-4-5-20251001", None, True),
        ("claude-fable-5", None, True),
        ("claude-sonnet-4-20250514", None, False),
        ("claude-opus-4-0", None, False),
        ("claude-3-5-haiku-latest", None, False),
        ("glm-5", None, True),
        ("claude-sonnet-4-20250514", {}, False),
        ("claude-opus-4-1", {}, True),
        ("claude-sonnet-4-20250514", SUPPORTED, True),
        ("claude-opus-4-1", NOT_SUPPORTED, False),
    ],
)
def test_a_schema_is_asked_for_in_words_where_a_model_of_anthropic_is_not_bound_to_one(
    name: str, able: Any, *, is_bound: bool
) -> None:
    wire = Anthropic()
    (listed,) = wire.offers(json.dumps({"data": [{"id": name, "capabilities": able}]}).encode())
    for offer in [listed] if able else [listed, wire.guess(name)]:
        body = hello(wire, offer=offer, format=SCHEMA)
        assert ("output_config" in body, "system" in body) == (is_bound, not is_bound)


@pytest.mark.parametrize(
    "schema",
    [
        SCHEMA,
        NAMED | {"additionalProperties": True},
        {"type": "object", "properties": {}},
        {"type": "object", "additionalProperties": False},
        {"type": "array", "items": NAMED},
        {"anyOf": [NAMED, {"type": "null"}]},
        {"allOf": [NAMED]},
        {"$ref": "#/$defs/p", "$defs": {"p": NAMED}},
        {"enum": ["a", "b"]},
        {"type": "string", "minLength": 2},
    ],
    ids=json.dumps,
)
def test_a_schema_that_anthropics_grammar_holds_is_kept_to(schema: Any) -> None:
    body = hello(Anthropic(), format=schema)
    assert can_be_said(schema)
    assert body["output_config"]["format"]["schema"] == strict(schema)
    assert "system" not in body


KEYWORDS = ("type", "properties", "items", "allOf", "anyOf", "enum", "format", "minItems", "additionalProperties")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["object", "date", "x"]),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4),
        max_leaves=8,
    )
)
def test_nonsense_for_a_schema_is_left_for_anthropic_to_refuse(value: Any) -> None:
    body = hello(Anthropic(), format={"type": "object"} | (value if isinstance(value, dict) else {"items": value}))
    assert ("output_config" in body) != ("system" in body)


def test_an_object_that_may_be_null_is_closed_as_well() -> None:
    closed = strict(NAMED | {"type": ["object", "null"]})
    assert closed["additionalProperties"] is False


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
    ],
)
def test_the_ends_that_anthropic_knows(said: str, reason: str) -> None:
    assert read(Anthropic(), b"".join(AnthropicSpeech().answer(reason=said))).done.reason == reason


def _with_last_call_cut(written: str, reason: str) -> bytes:
    """Two calls of tools, the second of which got no further than `written`."""
    calls = [("weather", {"city": "Rome"}), ("time", {"at": "Oslo"})]
    frames = AnthropicSpeech().answer((), calls=calls, reason=reason)
    empty, _, rest = frames[-6:-3]
    assert b"Oslo" in rest
    delta = {"type": "input_json_delta", "partial_json": written}
    frames[-6:-3] = [empty, sse({"type": "content_block_delta", "index": 1, "delta": delta})]
    return b"".join(frames)


@pytest.mark.parametrize(
    ("said", "reason"),
    [("max_tokens", "length"), ("model_context_window_exceeded", "length"), ("refusal", "content_filter")],
)
@pytest.mark.parametrize(("written", "calls"), [("", 1), (" ", 1), ('{"at": "Os', 1), ('{"at": "Oslo"}', 2)])
def test_a_call_that_anthropic_did_not_get_to_finish_is_left_out(
    written: str, calls: int, said: str, reason: str
) -> None:
    reply = read(Anthropic(), _with_last_call_cut(written, said))
    assert reply.done.reason == reason
    assert [call.name for call in reply.tool_calls] == ["weather", "time"][:calls]


def test_a_call_of_anthropic_that_is_broken_for_no_reason_is_an_error() -> None:
    assert [call.arguments for call in read(Anthropic(), _with_last_call_cut("", "tool_use")).tool_calls][1] == {}
    with pytest.raises(EngineError, match="not a JSON object"):
        read(Anthropic(), _with_last_call_cut('{"at": "Os', "tool_use"))
    first_is_cut = b"".join(AnthropicSpeech().answer((), calls=[("a", {"b": 77}), ("c", {})], reason="max_tokens"))
    with pytest.raises(EngineError, match="not a JSON object"):
        read(Anthropic(), first_is_cut.replace(b"77}", b""))


def test_the_stop_sequence_that_anthropic_met_is_named() -> None:
    frames = AnthropicSpeech().answer(reason="stop_sequence")
    frames[-2] = frames[-2].replace(b'"stop_sequence": null', b'"stop_sequence": "END"')
    done = read(Anthropic(), b"".join(frames)).done
    assert (done.reason, done.stop_string) == ("stop", "END")


@pytest.mark.parametrize("said", ["pause_turn", "something_new"])
def test_half_an_answer_of_anthropic_is_no_answer(said: str) -> None:
    with pytest.raises(EngineError, match=said):
        read(Anthropic(), b"".join(AnthropicSpeech().answer(reason=said)))


def test_what_anthropics_cache_held_was_part_of_the_question() -> None:
    frames = AnthropicSpeech().answer()
    usage = {"input_tokens": 5, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300, "output_tokens": 1}
    frames[0] = sse({"type": "message_start", "message": {"usage": usage}})
    usage = read(Anthropic(), b"".join(frames)).done.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (325, 2)


def test_events_of_anthropic_that_are_not_known_are_ignored() -> None:
    frames = AnthropicSpeech().answer(thinking="Hm.")
    extra = [sse({"type": "news"}), b": comment\n\n", sse({"type": "ping"})]
    assert read(Anthropic(), b"".join([*extra, *(frame + b"".join(extra) for frame in frames)])).text == "Paris é🎈"


@given(st.data())
def test_a_lost_doubled_or_moved_event_of_anthropic_is_an_error(data: st.DataObject) -> None:
    frames = [
        frame for frame in AnthropicSpeech().answer(thinking="Hm.", calls=[("a", {"b": 1})]) if b"ping" not in frame
    ]
    structure = [place for place, frame in enumerate(frames) if b"_delta" not in frame or b"event: message" in frame]
    place = data.draw(st.sampled_from(structure))
    broken = list(frames)
    match data.draw(st.sampled_from(["lost", "doubled", "moved"])):
        case "lost":
            del broken[place]
        case "doubled" if place < len(frames) - 2:  # how it ended may be said twice
            broken.insert(place, frames[place])
        case _:
            broken.insert(data.draw(st.integers(0, len(frames)).filter(lambda to: to not in (place, place + 1))), b"")
            frame = broken.pop(broken.index(frames[place]))
            broken[broken.index(b"")] = frame
    with pytest.raises(EngineError):
        read(Anthropic(), b"".join(broken))


# Gemini


def test_a_conversation_is_sent_as_gemini_has_it() -> None:
    options = {"temperature": 0.5, "top_k": 3, "stop": ["x"], "seed": 7, "num_predict": 9, "presence_penalty": 0.1}
    body = asked(
        Gemini(), name="gemini-3-pro", tools=(TOOL,), options=options, format=SCHEMA, logprobs=True, top_logprobs=2
    )
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    declared = {"name": "weather", "description": "Look.", "parametersJsonSchema": SCHEMA}
    assert body["tools"] == [{"functionDeclarations": [declared]}]
    assert body["generationConfig"] == {
        "temperature": 0.5,
        "topK": 3,
        "stopSequences": ["x"],
        "seed": 7,
        "presencePenalty": 0.1,
        "maxOutputTokens": 9,
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
        "responseLogprobs": True,
        "logprobs": 2,
    }
    user, model, results, again = body["contents"]
    assert [list(part) for part in user["parts"]] == [["text"], ["inlineData"], ["inlineData"]]
    assert [call["functionCall"]["args"]["city"] for call in model["parts"][1:]] == ["Rome", "Oslo"]
    assert [part.get("thoughtSignature") for part in model["parts"]] == [None, UNSIGNED, None]
    responses = [part["functionResponse"] for part in results["parts"]]
    assert [(one["name"], one["response"]) for one in responses] == [
        ("weather", {"output": "snow"}),
        ("weather", {"output": "sun"}),
    ]
    assert [one["id"] for one in responses] == [call["functionCall"]["id"] for call in model["parts"][:0:-1]]
    assert again == {"role": "user", "parts": [{"text": "And?"}]}
    assert UNSIGNED not in json.dumps(asked(Gemini(), name="gemini-2.5-flash"))


@pytest.mark.parametrize(
    ("name", "is_penalised"),
    [
        ("gemini-1.5-pro", True),
        ("gemini-2.0-flash-lite", True),
        ("gemini-2.5-flash", False),
        ("gemini-3.5-flash", False),
        ("gemini-flash-latest", False),
    ],
)
@pytest.mark.parametrize("penalty", [0, 0.5])
def test_a_penalty_is_left_out_where_gemini_refuses_one_and_that_is_said(
    name: str, penalty: float, *, is_penalised: bool
) -> None:
    (listed,) = Gemini().offers(
        json.dumps({"models": [{"name": f"models/{name}", "supportedGenerationMethods": ["generateContent"]}]}).encode()
    )
    options = {"presence_penalty": penalty, "frequency_penalty": penalty, "top_p": 0.5}
    for offer in (listed, Gemini().guess(name)):
        settled, said = settle_for(offer, options=options)
        assert said == (() if is_penalised else ("frequency_penalty", "presence_penalty"))
        config = Gemini().chat(settled, offer).body["generationConfig"]
        assert config.keys() - {"topP"} == ({"presencePenalty", "frequencyPenalty"} if is_penalised else set())


@pytest.mark.parametrize(
    ("name", "tools", "is_in_words"),
    [
        ("gemini-2.5-flash", (TOOL,), True),
        ("gemini-2.0-flash", (TOOL,), True),
        ("gemini-2.5-flash", (), False),
        ("gemini-3-pro-preview", (TOOL,), False),
        ("gemini-flash-latest", (TOOL,), False),
    ],
)
@pytest.mark.parametrize(
    ("form", "words"), [("json", "Answer with one JSON object"), (SCHEMA, f"nothing around it:\n{json.dumps(SCHEMA)}")]
)
def test_older_models_of_gemini_that_have_tools_are_asked_for_a_form_in_words(
    name: str, tools: Any, form: Any, words: str, *, is_in_words: bool
) -> None:
    body = asked(Gemini(), name=name, tools=tools, format=form)
    told = body["systemInstruction"]["parts"][0]["text"]
    assert told.startswith("Be brief.")
    assert (words in told, "generationConfig" in body) == (is_in_words, not is_in_words)


def test_what_the_system_says_alone_is_what_gemini_is_asked() -> None:
    body = asked(Gemini(), [Message(role="system", content="Tell a joke.")])
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Tell a joke."}]}]}


def calling(id: str) -> Message:
    return Message(role="assistant", content="", tool_calls=(ToolCall(id=id, name="weather", arguments={"of": id}),))


def answering(id: str) -> Message:
    return Message(role="tool", content="sun", tool_call_id=id)


def user(content: str) -> Message:
    return Message(role="user", content=content)


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        (
            [user("a"), calling("1"), calling("2"), answering("1"), answering("2"), user("b")],
            ["user a", "model 1 2", "user 1 2", "user b"],
        ),
        (
            [user("a"), calling("1"), answering("1"), calling("2"), answering("2")],
            ["user a", "model 1", "user 1", "model 2", "user 2"],
        ),
        (
            [user("a"), calling("1"), calling("2"), answering("1"), user("b"), answering("2")],
            ["user a", "model 1 2", "user 1 2", "user b"],
        ),
        ([user("a"), calling("1"), user("b"), answering("1")], ["user a", "model 1", "user 1", "user b"]),
    ],
)
def test_gemini_hears_all_answers_of_tools_right_after_all_calls(messages: list[Message], turns: list[str]) -> None:
    contents = asked(Gemini(), messages, "gemini-3-pro")["contents"]
    assert [" ".join([turn["role"], *map(_said_in, turn["parts"])]) for turn in contents] == turns
    for turn in contents:
        signatures = ["thoughtSignature" in part for part in turn["parts"]]
        assert signatures == [turn["role"] == "model", *[False] * (len(signatures) - 1)]


def _said_in(part: dict[str, Any]) -> str:
    return str(part.get("text") or (part.get("functionCall") or part["functionResponse"])["id"])


@pytest.mark.parametrize(
    ("name", "think", "config"),
    [
        ("gemini-2.5-flash", False, {"includeThoughts": False, "thinkingBudget": 0}),
        ("gemini-2.5-flash", True, {"includeThoughts": True, "thinkingBudget": -1}),
        ("gemini-2.5-pro", "low", {"includeThoughts": True, "thinkingBudget": 1024}),
        ("gemini-3-pro", True, {"includeThoughts": True}),
        ("gemini-3-pro", "max", {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("gemini-flash-latest", False, {"includeThoughts": False, "thinkingLevel": "MINIMAL"}),
        ("gemini-2.5-pro", False, {"includeThoughts": False, "thinkingBudget": 128}),
        ("gemini-2.5-pro-preview-06-05", False, {"includeThoughts": False, "thinkingBudget": 128}),
        ("gemini-2.5-flash-lite", False, {"includeThoughts": False, "thinkingBudget": 0}),
        ("gemini-3-pro", False, {"includeThoughts": False, "thinkingLevel": "LOW"}),
        ("gemini-3.1-pro-preview", False, {"includeThoughts": False, "thinkingLevel": "LOW"}),
        ("gemini-pro-latest", False, {"includeThoughts": False, "thinkingLevel": "LOW"}),
        ("gemini-2.0-flash", False, None),
    ],
)
def test_gemini_thinks_by_budget_or_by_level(name: str, think: Any, config: dict[str, Any] | None) -> None:
    assert hello(Gemini(), name, think=think).get("generationConfig", {}).get("thinkingConfig") == config


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("gemini-3-pro", "v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse"),
        ("../x?key=1#", "v1beta/models/..%2Fx%3Fkey%3D1%23:streamGenerateContent?alt=sse"),
        ("tunedModels/mine", "v1beta/tunedModels/mine:streamGenerateContent?alt=sse"),
        ("é\ud800", "v1beta/models/%C3%A9%3F:streamGenerateContent?alt=sse"),
    ],
)
def test_no_name_of_a_model_leads_gemini_elsewhere(name: str, path: str) -> None:
    assert Gemini().chat(ChatRequest(model="x"), Offer(name=name)).path == path
    with pytest.raises(ModelNotFound):
        Gemini().chat(ChatRequest(model="x"), Offer(name="x" * 300))


def test_a_question_that_gemini_blocks_is_filtered_and_thoughts_are_counted() -> None:
    blocked = sse({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}})
    assert read(Gemini(), blocked).done.reason == "content_filter"
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 40}
    end = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": counts}
    usage = read(Gemini(), b"".join(GeminiSpeech().answer()[:-1]) + sse(end)).done.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 42)


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "OTHER", "SOMETHING_NEW"])
def test_an_answer_that_gemini_gave_up_is_no_answer(reason: str) -> None:
    with pytest.raises(EngineError, match=reason):
        read(Gemini(), b"".join(GeminiSpeech().answer(reason=reason)))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("inlineData", {"mimeType": "image/png", "data": PNG}),
        ("executableCode", {"language": "PYTHON", "code": "1"}),
        ("functionCall", {}),
        ("somethingNew", True),
    ],
)
def test_a_part_of_gemini_that_is_of_no_known_kind_does_not_just_vanish(kind: str, value: Any) -> None:
    part = {kind: value, "thought": False, "thoughtSignature": "s"}
    odd = sse({"candidates": [{"content": {"parts": [{"text": "Look: "}, part]}, "finishReason": "STOP"}]})
    with pytest.raises(EngineError, match=f"answered with {kind}"):
        read(Gemini(), odd)


def test_a_signature_of_gemini_that_comes_by_itself_says_nothing() -> None:
    parts = [{"text": "Paris"}, {"text": "", "thoughtSignature": "s"}, {"thoughtSignature": "s"}, {}]
    assert read(Gemini(), sse({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})).text == "Paris"


def test_logprobs_of_gemini_come_through() -> None:
    result = {
        "chosenCandidates": [{"token": "é", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "e", "logProbability": -2.5}]}],
    }
    end = {"candidates": [{"content": {"parts": [{"text": "é"}]}, "finishReason": "STOP", "logprobsResult": result}]}
    reply = read(Gemini(), sse(end))
    (token,) = reply.logprobs
    assert (token.token, token.logprob, token.bytes, token.top[0].token) == ("é", -0.5, (195, 169), "e")


def test_a_wrong_key_of_gemini_is_told_from_a_wrong_request() -> None:
    wrong = {"error": {"code": 400, "message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}}
    assert Gemini().said(json.dumps([wrong]).encode()).is_about_key
    assert not Gemini().said(b'{"error": {"message": "no"}}').is_about_key
    assert Gemini().said(b"<html>").words == ""
    assert Gemini().said(b"no such page").words == "no such page"


# Ollama


def test_a_conversation_is_sent_as_ollama_has_it() -> None:
    options = {"temperature": 0.5, "num_ctx": 9, "num_predict": -1}
    body = asked(
        Ollama(), tools=(TOOL,), options=options, format="json", think="high", logprobs=True, keep_alive_s=90.0
    )
    assert (body["options"], body["format"], body["think"], body["keep_alive"]) == (options, "json", "high", 90)
    assert (body["logprobs"], body["top_logprobs"], body["tools"]) == (True, 0, [TOOL])
    _, user, assistant, snow, sun, _ = body["messages"]
    assert user["images"] == [PNG, JPEG]
    assert assistant["thinking"] == "Hm."
    assert assistant["tool_calls"][0] == {"function": {"name": "weather", "arguments": {"city": "Rome"}}}
    assert (snow["tool_call_id"], sun["tool_name"]) == ("functions.weather:1", "weather")


def test_raw_text_and_token_ids_go_ollamas_other_way() -> None:
    raw = Ollama().chat(ChatRequest(model="x", prompt="Once", truncate=False, shift=False), Offer(name="m:latest"))
    assert raw.path == "api/generate"
    wanted = {"prompt": "Once", "raw": True, "truncate": False, "shift": False, "stream": True, "model": "m:latest"}
    assert raw.body == wanted
    on = asked(Ollama(), [Message(role="user", content="on")], context=(1, 2), keep_alive_s=-1.0)
    assert (on["prompt"], on["context"], on["keep_alive"]) == ("on", [1, 2], -1)
    assert (
        read(Ollama(), b'{"response":"a"}\n'.replace(b"}", b',"done":false}') + OllamaSpeech().answer()[-1]).text == "a"
    )


@pytest.mark.parametrize(
    ("keep_alive_s", "sent"), [(0.0, 0), (0.2, 1), (90.0, 90), (30 * 86400.0, 2_592_000), (1e300, 10**9), (-1.0, -1)]
)
def test_how_long_ollama_keeps_a_model_is_said_in_whole_seconds(keep_alive_s: float, sent: int) -> None:
    kept = hello(Ollama(), keep_alive_s=keep_alive_s)["keep_alive"]
    assert (kept, type(kept)) == (sent, int)


def _ended(**fields: Any) -> bytes:
    return json.dumps({"response": "a", "done": True} | fields).encode()


def test_an_answer_of_ollama_brings_the_token_ids_to_go_on_from() -> None:
    question = ChatRequest(model="x", messages=CONVERSATION[:2], endpoint="/api/generate")
    first = Ollama().chat(question, Offer(name="m:latest"))
    assert (first.path, "context" in first.body) == ("api/generate", False)
    assert "endpoint" in Ollama.takes  # so its answers to other ways are not served for this one
    assert (first.body["system"], first.body["prompt"]) == ("Be brief.", "How is it there?")
    assert first.body["images"] == [PNG, JPEG]
    assert read(Ollama(), _ended(context=[1, 2, 128_000])).done.context == (1, 2, 128_000)
    assert read(Ollama(), _ended(context=None)).done.context == ()
    for odd in (7, ["1"], [-1], [2**70], [True]):
        with pytest.raises(EngineError, match="unknown shape"):
            read(Ollama(), _ended(context=odd))


@pytest.mark.parametrize(
    ("said", "reason"),
    [({}, "stop"), ({"done_reason": None}, "stop"), ({"done_reason": ""}, "stop"), ({"done_reason": "stop"}, "stop")]
    + [({"done_reason": said}, said) for said in ("length", "load", "unload")],
)
def test_the_ends_that_ollama_knows(said: dict[str, Any], reason: str) -> None:
    assert read(Ollama(), _ended(**said)).done.reason == reason


def test_an_end_of_ollama_that_is_not_known_is_no_end() -> None:
    with pytest.raises(EngineError, match="something_new"):
        read(Ollama(), _ended(done_reason="something_new"))


def test_durations_of_ollama_are_its_own() -> None:
    usage = read(Ollama(), b"".join(OllamaSpeech().answer())).done.usage
    assert (usage.load_ns, usage.prompt_ns, usage.eval_ns) == (1, 3, 5)
    assert Ollama().canonical("a/llama3") == "a/llama3:latest"
    assert Ollama().canonical("host:80/a/llama3:8b") == "host:80/a/llama3:8b"


def test_two_gateways_that_know_each_other_do_not_list_each_other_without_end() -> None:
    names = ["llama3:8b", "ollama/llama3:8b", "Ollama/a/b", "auto:latest", "AUTO", "openai/gpt-5", "autonomous", ""]
    listing = {"models": [{"name": name} for name in (*names, "x" * 248, "x" * 249)]}
    offers = Ollama().offers(json.dumps(listing).encode())
    assert [offer.name for offer in offers] == ["llama3:8b", "openai/gpt-5", "autonomous", "x" * 248]


def test_ollama_takes_every_option_there_is() -> None:
    assert READERS.keys() <= Ollama().takes
    assert Ollama().takes_for_vectors <= Ollama().takes


# OpenAI's and its relatives


def test_mistral_is_not_sent_what_it_refuses() -> None:
    body = asked(Mistral(), options={"seed": 0}, think="high", logprobs=True)
    assert "seed" not in body
    assert body["random_seed"] == 0
    assert not {"stream_options", "logprobs", "reasoning_effort"} & body.keys()
    ids = [call["id"] for call in body["messages"][2]["tool_calls"]]
    assert all(len(one) == 9 and one.isalnum() for one in ids)
    assert [message["tool_call_id"] for message in body["messages"][3:5]] == ids[::-1]


def test_mistral_hears_what_tools_answered_before_the_user_speaks() -> None:
    sent = asked(Mistral())["messages"]
    assert [message["role"] for message in sent[2:]] == ["assistant", "tool", "tool", "assistant", "user"]
    assert sent[5] == {"role": "assistant", "content": "Done."}
    over = (*CONVERSATION[:-1], Message(role="assistant", content="Sunny."), CONVERSATION[-1])
    assert [message["role"] for message in asked(Mistral(), over)["messages"]] == [one.role for one in over]
    assert asked(Mistral(), CONVERSATION[:-1])["messages"][-1]["role"] == "tool"
    assert [message["role"] for message in asked(OpenAI())["messages"]] == [one.role for one in CONVERSATION]


def test_mistral_is_told_of_an_answer_to_go_on_with() -> None:
    begun = (Message(role="user", content="hi"), Message(role="assistant", content="It is"))
    *_, last = asked(Mistral(), begun)["messages"]
    assert last == {"role": "assistant", "content": "It is", "prefix": True}
    assert asked(Mistral(), (begun[0], Message(role="assistant")))["messages"] == [{"role": "user", "content": "hi"}]
    assert not any("prefix" in message for message in asked(Mistral())["messages"])
    assert not any("prefix" in message for message in asked(OpenAI(), begun)["messages"])


def test_what_mistral_sends_in_pieces_is_put_together() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    pieces = [thinking, {"type": "text", "text": "Pa"}, {"type": "text", "text": "ris"}]
    frames = [sse({"choices": [{"delta": {"content": pieces}}]}), *OpenAISpeech().answer(("!",))]
    reply = read(Mistral(), b"".join(frames))
    assert (reply.thinking, reply.text) == ("Hm.", "Paris!")
    with pytest.raises(EngineError, match="unknown shape"):
        read(Mistral(), sse({"choices": [{"delta": {"content": ["Paris"]}}]}))


@pytest.mark.parametrize(
    ("entry", "able", "length"),
    [
        ({}, {"completion", "tools", "vision", "thinking"}, 0),
        ({"type": "embedding", "context_length": 512}, {"embedding"}, 512),
        (
            {"owned_by": "vllm", "root": "/m", "parent": None, "max_model_len": 4096},
            {"completion", "tools", "vision", "thinking"},
            4096,
        ),
        (
            {"owned_by": "llamacpp", "meta": {"n_vocab": 49152, "n_ctx_train": 8192, "size": 1}},
            {"completion", "tools", "vision", "thinking"},
            8192,
        ),
        (
            {"meta": {"n_ctx_train": 8192, "n_ctx": 512}},
            {"completion", "tools", "vision", "thinking"},
            512,
        ),  # what it serves, not what the model knows
        ({"owned_by": "me", "permissions": [], "meta": None}, {"completion", "tools", "vision", "thinking"}, 0),
        (
            {"capabilities": {"completion_chat": True, "vision": True}, "max_context_length": 9},
            {"completion", "vision"},
            9,
        ),
        (
            {"supported_parameters": ["tools"], "architecture": {"input_modalities": ["text"]}, "context_window": -1},
            {"completion", "tools"},
            0,
        ),
    ],
)
def test_what_a_list_tells_of_a_model_is_believed(entry: dict[str, Any], able: set[str], length: int) -> None:
    for listing in ([{"id": "a/b"} | entry], {"data": [{"id": "a/b"} | entry]}):
        (offer,) = OpenAI().offers(json.dumps(listing).encode())
        assert (offer.name, offer.capabilities, offer.context_length) == ("a/b", able, length)


# All of them

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
