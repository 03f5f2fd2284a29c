"""Equal questions have equal keys, and different ones never."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import keys
from cache.keys import IN_KEY, NOT_IN_KEY, OPTIONS_IN_KEY, OPTIONS_NOT_IN_KEY, key_to_keep, keys_for
from orchestrator.core.errors import BadRequest
from orchestrator.core.turns import Turn
from orchestrator.core.types import CacheControl, ChatRequest, Message, ToolCall
from tests.cache.conftest import ALICE, BOB, CHARLIE, MODEL, question, reply

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {}}}}}

# One value for each field that makes it another question, and one for each that does not.
ANOTHER_QUESTION = {
    "messages": (Message(role="user", content="What is 2+3?"),),
    "inputs": ("hello",),
    "prompt": "What is 2+2?",
    "suffix": "?",
    "template": "{{ .Prompt }}",
    "context": (1, 2),
    "tools": (TOOL,),
    "format": "json",
    "think": True,
    "options": {"temperature": 0},
    "logprobs": True,
    "top_logprobs": 3,
    "truncate": False,
    "shift": False,
    "namespace": "drafts",
}
SAME_QUESTION = {
    "model": "tiny:latest",
    "stream": True,
    "keep_alive_s": 60.0,
    "control": CacheControl(max_age_s=5),
    "ignored": ("n",),
    "tags": ("nightly",),
    "dialect": "openai",
    "endpoint": "/v1/chat/completions",
    "request_id": "abc",
    "address": "10.0.0.1",
    "turn": Turn(tenant=7, weight=1),
}


def hash_of(request: ChatRequest) -> str:
    return keys_for(request, ALICE, MODEL)[0].hash


def test_every_request_field_is_decided():
    assert {field.name for field in fields(ChatRequest)} == IN_KEY | NOT_IN_KEY
    assert not IN_KEY & NOT_IN_KEY
    assert not OPTIONS_IN_KEY & OPTIONS_NOT_IN_KEY
    assert set(ANOTHER_QUESTION) == IN_KEY
    assert set(SAME_QUESTION) == NOT_IN_KEY


def test_what_writes_the_date_into_a_prompt_is_another_question_each_day(monkeypatch: pytest.MonkeyPatch):
    dated, plain = (replace(question(), template=source) for source in ("{{ currentDate }}", "{{ .Prompt }}"))
    hashes = {}
    for day in ("2026-01-01", "2026-01-02"):
        monkeypatch.setattr(keys, "_today", lambda day=day: day)
        edition = keys_for(question(), ALICE, replace(MODEL, edition=day))[0].hash
        hashes[day] = hash_of(dated), edition, hash_of(plain)
    first, second = hashes.values()
    assert (first[0] != second[0], first[1] != second[1], first[2] == second[2]) == (True, True, True)


@pytest.mark.parametrize("name", sorted(IN_KEY))
def test_a_field_that_changes_the_answer_changes_the_key(name: str):
    assert hash_of(replace(question(), **{name: ANOTHER_QUESTION[name]})) != hash_of(question())


@pytest.mark.parametrize("name", sorted(NOT_IN_KEY))
def test_a_field_that_changes_the_delivery_does_not(name: str):
    assert hash_of(replace(question(), **{name: SAME_QUESTION[name]})) == hash_of(question())


def test_only_an_engine_that_is_asked_in_the_same_way_has_another_answer_for_who_goes_on_from_it():
    generate, raw = (replace(question(), endpoint="/api/generate/", **more) for more in ({}, {"prompt": "2+2"}))
    other = replace(MODEL, takes=MODEL.takes | {"endpoint"})
    chats, goes_on = (keys_for(one, ALICE, other)[0].hash for one in (question(), generate))
    assert chats != goes_on
    assert keys_for(raw, ALICE, other) == keys_for(replace(raw, endpoint=""), ALICE, other)
    assert hash_of(generate) == hash_of(question())


def test_every_part_of_a_message_and_a_tool_call_counts():
    call = ToolCall(id="1", name="add", arguments={"a": 1})
    plain = Message(role="user", content="hi", tool_calls=(call,))
    others = {
        "role": "system",
        "content": "ho",
        "thinking": "hm",
        "images": ("aGk=",),
        "tool_calls": (),
        "tool_name": "add",
        "tool_call_id": "1",
    }
    assert set(others) == {field.name for field in fields(Message)}
    other_calls = {"id": "2", "name": "sub", "arguments": {"a": 2}}
    assert set(other_calls) == {field.name for field in fields(ToolCall)}
    variants = [replace(plain, **{name: value}) for name, value in others.items()]
    variants += [replace(plain, tool_calls=(replace(call, **{name: value}),)) for name, value in other_calls.items()]
    hashes = {hash_of(replace(question(), messages=(message,))) for message in [plain, *variants]}
    assert len(hashes) == 1 + len(variants)


@pytest.mark.parametrize("name", sorted(OPTIONS_NOT_IN_KEY))
def test_an_option_about_speed_or_length_does_not_change_the_key(name: str):
    assert hash_of(question(options={name: 3})) == hash_of(question())


@pytest.mark.parametrize("name", [*sorted(OPTIONS_IN_KEY), "an_option_nobody_knows"])
def test_any_other_option_changes_the_key(name: str):
    assert hash_of(question(options={name: 3})) != hash_of(question())


def test_an_option_that_is_null_is_unset():
    assert hash_of(question(options={"temperature": None})) == hash_of(question())


def test_one_is_one_point_zero_but_neither_text_nor_true():
    one, same, text, true = (hash_of(question(options={"seed": value})) for value in (1, 1.0, "1", True))
    assert one == same
    assert len({one, text, true}) == 3


def test_a_number_in_a_tool_is_kept_as_it_was_written_since_the_model_reads_it():
    assert hash_of(question(tools=({"a": 1},))) != hash_of(question(tools=({"a": 1.0},)))


def test_bob_asks_the_same_question_as_alice_and_charlie_does_not():
    assert keys_for(question(), ALICE, MODEL) == keys_for(question(), BOB, MODEL)
    assert hash_of(question()) != keys_for(question(), CHARLIE, MODEL)[0].hash


@pytest.mark.parametrize("other", [{"tenant_id": 77}, {"tenant": "initech"}])
def test_a_tenant_is_its_number_and_its_name(other: dict[str, object]):
    """Machines with ledgers of their own number tenants as they come; a name may be given anew."""
    (alices,), (others,) = (keys_for(question(), caller, MODEL) for caller in (ALICE, replace(ALICE, **other)))
    assert alices.hash != others.hash


def test_a_model_is_another_one_when_its_digest_is():
    assert keys_for(question(), ALICE, replace(MODEL, digest="e" * 64)) != keys_for(question(), ALICE, MODEL)
    assert keys_for(question(), ALICE, replace(MODEL, name="big:latest")) != keys_for(question(), ALICE, MODEL)


def test_a_cap_adds_a_key_of_its_own():
    (base,) = keys_for(question(), ALICE, MODEL)
    first, five = keys_for(question(options={"num_predict": 5}), ALICE, MODEL)
    _, six = keys_for(question(options={"num_predict": 6}), ALICE, MODEL)
    assert first == base
    assert base.cap is None
    assert (five.cap, six.cap) == (5, 6)
    assert len({base.hash, five.hash, six.hash}) == 3


def test_an_answer_that_ended_by_itself_is_kept_for_every_cap_and_one_that_was_cut_for_its_own():
    keys = keys_for(question(options={"num_predict": 5}), ALICE, MODEL)
    assert key_to_keep(keys, reply(reason="stop", tokens=3).done) == keys[0]
    assert key_to_keep(keys, reply(reason="length", tokens=5).done) == keys[1]
    assert key_to_keep(keys, reply(reason="stop", tokens=0).done) == keys[1]  # the engine did not count
    assert key_to_keep(keys[:1], reply(reason="length", tokens=4096).done) == keys[0]  # the context was full


def test_what_json_can_hold_has_a_key_however_odd():
    odd = [2**70, -(2**70), 2**64 - 1, "\ud800", {"\ud800": 1}, {"\ud800": "\ud801"}, [2**70], str(2**70), 1.5, "1.5"]
    hashes = [hash_of(question(tools=({"a": value},))) for value in odd]
    assert len(set(hashes)) == len(odd)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=8,
)
messages = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=st.text(max_size=6),
    thinking=st.text(max_size=3),
    images=st.lists(st.text(max_size=3), max_size=2).map(tuple),
    tool_name=st.text(max_size=3),
)
requests = st.builds(
    ChatRequest,
    model=st.just("tiny"),
    messages=st.lists(messages, max_size=3).map(tuple),
    prompt=st.none() | st.text(max_size=4),
    context=st.lists(st.integers(0, 300), max_size=3).map(tuple),
    tools=st.lists(st.dictionaries(st.text(max_size=3), json_values, max_size=2), max_size=2).map(tuple),
    format=st.none() | st.just("json") | st.dictionaries(st.text(max_size=3), json_values, max_size=2),
    think=st.none() | st.booleans() | st.sampled_from(["low", "high"]),
    namespace=st.text(max_size=3),
)


def typed(value: object) -> object:
    """`value` in a form in which 1, 1.0 and True, 0.0 and -0.0 differ, and the order of keys counts."""
    if isinstance(value, dict):
        return tuple((key, typed(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(typed(item) for item in value)
    if hasattr(value, "__dataclass_fields__"):
        return tuple((field.name, typed(getattr(value, field.name))) for field in fields(value))  # type: ignore[arg-type]
    return type(value).__name__, repr(value)


@given(requests, requests)
def test_keys_are_equal_exactly_when_questions_are(one: ChatRequest, other: ChatRequest):
    assert (hash_of(one) == hash_of(other)) == (typed(one) == typed(other))


def turned(value: object) -> object:
    """`value` with the keys of every object in reverse order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


def written(value: object) -> str:
    """`value` as it was written, by which 1, 1.0 and true differ and the order of keys counts."""
    return json.dumps(value)


objects = st.dictionaries(st.text(st.characters(), max_size=3), json_values, max_size=4)


@given(objects)
def test_the_order_of_keys_counts_in_schemas_which_models_follow(schema: dict[str, object]):
    other = turned(schema)
    is_same = written(schema) == written(other)
    assert (hash_of(question(format=schema)) == hash_of(question(format=other))) == is_same
    assert (hash_of(question(tools=(schema,))) == hash_of(question(tools=(other,)))) == is_same


def test_reasons_before_an_answer_are_not_those_after_it():
    first, last = (
        {"type": "object", "properties": {name: {"type": "string"} for name in names}}
        for names in (("reasoning", "answer"), ("answer", "reasoning"))
    )
    assert hash_of(question(format=first)) != hash_of(question(format=last))
    tools = [{"type": "function", "function": {"name": "tell", "parameters": schema}} for schema in (first, last)]
    assert hash_of(question(tools=(tools[0],))) != hash_of(question(tools=(tools[1],)))


@given(objects)
def test_the_order_of_keys_does_not_count_elsewhere(values: dict[str, object]):
    assert hash_of(question(options=values)) == hash_of(question(options=turned(values)))
    one, other = (
        Message(role="assistant", tool_calls=(ToolCall(id="1", name="add", arguments=arguments),))
        for arguments in (values, turned(values))
    )
    assert hash_of(replace(question(), messages=(one,))) == hash_of(replace(question(), messages=(other,)))


def test_a_schema_that_messagepack_cannot_hold_counts_in_its_order_too():
    one, other = ({"a": 2**70, "b": "\ud800"}, {"b": "\ud800", "a": 2**70})
    assert hash_of(question(format=one)) != hash_of(question(format=other))
    assert hash_of(question(options=one)) == hash_of(question(options=other))
    # What is odd elsewhere changes nothing of it.
    assert hash_of(question(format=one, options=one)) == hash_of(question(format=one, options=other))
    assert hash_of(question(format=one, options=one)) != hash_of(question(format=other, options=one))


@given(st.lists(st.text(max_size=4), min_size=1, max_size=4), st.integers(0, 16))
def test_text_cannot_pose_as_the_border_between_messages(parts: list[str], cut: int):
    """The same characters, parted elsewhere, are another conversation."""
    whole = "".join(parts)
    parted = [whole[:cut], whole[cut:]]
    one, other = (
        hash_of(replace(question(), messages=tuple(Message(role="user", content=part) for part in contents)))
        for contents in (parts, parted)
    )
    assert (one == other) == (parts == parted)


def test_what_is_nested_too_deep_to_be_a_key_is_refused():
    deep: object = 1
    for _ in range(2000):
        deep = {"a": deep}
    with pytest.raises(BadRequest, match="nested too deep"):
        hash_of(replace(question(), tools=(deep,)))
