"""Calls of tools with a tag for each argument, as Qwen3-Coder and GLM write them."""

from itertools import combinations, pairwise
from typing import Any

import pytest

from orchestrator.modelhost.reply import ReplyReader
from orchestrator.modelhost.tagged import NO_TOOLS, offered, typed
from tests.modelhost.reading import found

TOOL = {
    "type": "function",
    "function": {
        "name": "write",
        "parameters": {
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "mode": {"type": "integer"},
                "lines": {"type": "array", "items": {"type": "string"}},
                "force": {"type": "boolean"},
            },
        },
    },
}
TOOLS = offered([TOOL, {"type": "function", "function": {"name": "now"}}])

QWEN = """<tool_call>
<function=write>
<parameter=path>
a.py
</parameter>
<parameter=mode>
420
</parameter>
<parameter=lines>
["one", "<two>"]
</parameter>
</function>
</tool_call>"""
GLM = """<tool_call>write
<arg_key>path</arg_key>
<arg_value>a.py</arg_value>
<arg_key>mode</arg_key>
<arg_value>420</arg_value>
<arg_key>lines</arg_key>
<arg_value>["one", "<two>"]</arg_value>
</tool_call>"""
WRITE = ("call", ("write", {"path": "a.py", "mode": 420, "lines": ["one", "<two>"]}))
NOW = ("call", ("now", {}))
LIKE_TAGS = "one\n</function>\ntwo\n<parameter=x>\n<parameter=path>\n"

ANSWERS: dict[str, list[tuple[str, Any]]] = {
    QWEN: [WRITE],
    GLM: [WRITE],
    QWEN.replace("tool_call", "seed:tool_call"): [WRITE],
    f"I write it.\n\n{QWEN}\n{QWEN}\n": [("text", "I write it.\n\n"), WRITE, WRITE],
    f"{GLM}\n{GLM}": [WRITE, WRITE],
    "<tool_call><function=now></function></tool_call>": [NOW],
    "<tool_call>now</tool_call> and": [NOW, ("text", "and")],
    # The tag before the call was left out, and the end of a value.
    QWEN.removeprefix("<tool_call>\n"): [WRITE],
    QWEN.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>") + "\nDone": [WRITE, ("text", "Done")],
    QWEN.replace("\n</parameter>", ""): [WRITE],
    "<function=write>\n<parameter=path>\na.py\n</function>\n": [("call", ("write", {"path": "a.py"}))],
    # What stands in a value is nothing but its text.
    f"<function=write>\n<parameter=path>\n{LIKE_TAGS}\n</parameter>\n</function>": [
        ("call", ("write", {"path": LIKE_TAGS}))
    ],
    "<function=write>\n<parameter=path>\n\n <tool_call></function> \n\n</parameter>\n</function>": [
        ("call", ("write", {"path": "\n <tool_call></function> \n"}))
    ],
    "<tool_call>write<arg_key>path</arg_key><arg_value>\n</tool_call>\n</arg_value></tool_call>": [
        ("call", ("write", {"path": "\n</tool_call>\n"}))
    ],
}


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_calls_are_found_wherever_the_answer_is_cut(answer: str):
    for places in [(), *((at,) for at in range(1, len(answer))), *combinations(range(1, len(answer), 7), 2)]:
        pieces = [answer[at:end] for at, end in pairwise([0, *places, len(answer)])]
        assert found(ReplyReader(tools=TOOLS), pieces) == ANSWERS[answer], pieces
    assert found(ReplyReader(tools=TOOLS), answer) == ANSWERS[answer]


@pytest.mark.parametrize(
    "answer",
    [
        "<tool_call><function=delete>\n</function></tool_call>",  # which was not offered
        "<tool_call>delete\n</tool_call>",
        "<function=delete></function>",
        "<function=write> is how a call begins",
        "<tool_call>\n<function=write>\n<parameter=path>\na.py",  # cut off: what it would have been nobody knows
        "<tool_call>write\n<arg_key>path</arg_key>\n<arg_value>a.py</arg_value>\n",
        "<tool_call>write this down",
        "<tool_call>now then</tool_call>",
        "<tool_call>write<arg_key>path</arg_value></tool_call>",
        "<function=write><parameter=path>a</parameter>and more</function>",
        "<function=",
        "<function=write",
    ],
)
@pytest.mark.parametrize("piece", [1, 5, 1000])
def test_what_calls_no_tool_that_was_offered_is_text(answer: str, piece: int):
    pieces = [answer[at : at + piece] for at in range(0, len(answer), piece)]
    assert found(ReplyReader(tools=TOOLS), pieces) == [("text", answer)]


def test_thinking_comes_before_a_call():
    answer = f"<think>\nI write it.\n</think>\n\n{QWEN}"
    assert found(ReplyReader(thinks="<think>", tools=TOOLS), answer) == [("thinking", "I write it.\n"), WRITE]


def test_without_tools_the_tags_are_text():
    assert found(ReplyReader(tools=NO_TOOLS), QWEN) == [("text", QWEN)]


def test_what_looked_like_a_call_hides_none_behind_it():
    answer = f"<tool_call>delete</tool_call>{QWEN}"
    assert found(ReplyReader(tools=TOOLS), answer) == [("text", "<tool_call>delete</tool_call>"), WRITE]


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("03106", {"type": "string"}, "03106"),
        ("12", {"type": "string"}, "12"),
        (" a\n", {"type": "string"}, " a\n"),
        ("null", {"type": "string"}, "null"),
        ("null", {"type": ["string", "null"]}, None),
        ("12", {"type": ["string", "null"]}, "12"),
        ("12", {"type": "integer"}, 12),
        (" 12 ", {"type": "integer"}, 12),
        ("1.5", {"type": "number"}, 1.5),
        ("True", {"type": "boolean"}, True),
        ("false", {"type": "boolean"}, False),
        ("None", {"type": "boolean"}, None),
        ('{"a": [1]}', {"type": "object"}, {"a": [1]}),
        ("yes", {"type": "boolean"}, "yes"),  # no boolean: whoever gave the tool sees what the model said
        ("12", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, 12),
        ("12", {"anyOf": [{"type": "string"}, {"type": "null"}]}, "12"),
        ("12", {"anyOf": [{"type": "string"}, {"type": "integer"}]}, 12),
        ("12", {"enum": ["12", "13"]}, "12"),
        ("12", {"enum": [12, 13]}, 12),
        ("12", {}, 12),
        ("Paris", {}, "Paris"),
        ("Paris", None, "Paris"),
        ("NaN", {"type": "number"}, "NaN"),
        ("1e999", {"type": "number"}, "1e999"),
        ("[" * 100_000, {"type": "array"}, "[" * 100_000),
        ("9" * 10_000, {"type": "integer"}, "9" * 10_000),
        ("12", {"type": 7}, 12),
        ("12", {"anyOf": "nothing", "enum": 1}, 12),
    ],
)
def test_a_value_has_the_type_that_its_schema_says(text: str, schema: Any, value: Any):
    found = typed(text, schema)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("written", "value"), [(r'["\ud83d"]', ["\ufffd"]), ("[" + "9" * 30 + "]", [1e30])])
def test_values_are_such_that_they_can_be_told(written: str, value: Any):
    answer = f"<function=write>\n<parameter=lines>\n{written}\n</parameter>\n</function>"
    assert found(ReplyReader(tools=TOOLS), answer) == [("call", ("write", {"lines": value}))]


def test_a_call_that_can_never_be_told_is_text():
    answer = f"<function=write>\n<parameter=lines>\n{'[' * 400 + ']' * 400}\n</parameter>\n</function>"
    assert found(ReplyReader(tools=TOOLS), [answer]) == [("text", answer)]


def test_a_schema_that_never_ends_within_is_looked_at_no_further():
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(5_000):
        schema = {"anyOf": [schema]}
    assert typed("12", schema) == 12


@pytest.mark.parametrize(
    "tools", [[{"type": "function"}], [{"function": None}], [{"function": {"name": ""}}], [{"function": {"name": 7}}]]
)
def test_a_tool_without_a_name_is_none(tools: list[dict[str, Any]]):
    assert offered(tools) == {}


@pytest.mark.parametrize("parameters", [None, [], {"properties": None}, {"properties": ["a"]}])
def test_a_tool_may_say_nothing_of_its_arguments(parameters: Any):
    assert offered([{"function": {"name": "now", "parameters": parameters}}]) == {"now": {}}
