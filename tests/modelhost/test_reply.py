"""Telling apart what a model writes."""

import json
import random
import time
from collections.abc import Iterable
from itertools import combinations, pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.core.types import Chunk, TokenLogprob
from orchestrator.modelhost.batching import Batcher
from orchestrator.modelhost.reply import ReplyReader, thinking_in, tool_calls
from tests.modelhost.reading import found


def read(text: str, *, piece: int, **kind: Any) -> tuple[str, str, list[tuple[str, Any]]]:
    """Thinking, text and calls of an answer that comes in pieces of a few characters."""
    events = events_of((text[start : start + piece] for start in range(0, len(text), piece)), **kind)
    thinking, said, calls = (
        [what for kind, what in events if kind == wanted] for wanted in ("thinking", "text", "call")
    )
    return "".join(thinking), "".join(said), calls


def events_of(pieces: Iterable[str], **kind: Any) -> list[tuple[str, Any]]:
    """What is found in an answer, in order, with text that comes in a row as one."""
    return found(ReplyReader(**kind), pieces)


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
    assert read("<think>\nwhy\n</think>\n\nbecause", piece=piece, thinks="<think>") == ("why\n", "because", [])


def test_thinking_may_be_open_already(piece: int):
    assert read("why</think>because", piece=piece, thinks="<think>", is_open=True) == ("why", "because", [])


def test_an_answer_without_thinking_is_text(piece: int):
    assert read("<the end>", piece=piece, thinks="<think>") == ("", "<the end>", [])


def test_thinking_that_is_cut_off_is_still_thinking(piece: int):
    assert read("<think>on and on", piece=piece, thinks="<think>") == ("on and on", "", [])


def test_a_call_between_tags(piece: int):
    answer = 'Let me see. <tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    assert read(answer, piece=piece, tools={"f": {}}) == ("", "Let me see. ", [("f", {"a": 1})])


def test_two_calls_after_thinking(piece: int):
    call = '<tool_call>{"name": "f", "arguments": {}}</tool_call>\n'
    assert read("<think>x</think>" + call * 2, piece=piece, thinks="<think>", tools={"f": {}}) == (
        "x",
        "",
        [("f", {}), ("f", {})],
    )


def test_an_answer_that_is_nothing_but_a_call(piece: int):
    assert read('{"name": "f", "parameters": {"a": 1}}', piece=piece, tools={"f": {}}) == ("", "", [("f", {"a": 1})])


def test_json_that_is_no_call_is_text(piece: int):
    assert read('{"a": 1}', piece=piece, tools={"f": {}}) == ("", '{"a": 1}', [])


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
    assert read(answer, piece=piece, tools={"f": {}}) == ("", answer, [])


def test_a_call_between_tags_needs_no_arguments(piece: int):
    answer = '<tool_call>{"name": "f"}</tool_call>'
    assert read(answer, piece=piece, tools={"f": {}}) == ("", "", [("f", {})])


def test_a_broken_call_is_shown_as_it_is(piece: int):
    assert read("<tool_call>{oops</tool_call>", piece=piece, tools={"f": {}}) == (
        "",
        "<tool_call>{oops</tool_call>",
        [],
    )


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


ONE, TWO = '{"name": "f", "arguments": {"a": 1}}', '{"name": "g", "parameters": {"b": "}</tool_call>["}}'
F, G = ("call", ("f", {"a": 1})), ("call", ("g", {"b": "}</tool_call>["}))
OTHER = '{"name": "h", "arguments": {}}'
ANSWERS: dict[str, list[tuple[str, Any]]] = {
    f"[TOOL_CALLS] [{ONE}, {TWO}]": [F, G],
    f"[TOOL_CALLS][{ONE}]\n[{TWO}]": [F, G],
    f"\n\n[TOOL_CALLS] {ONE} Well.": [F, ("text", "Well.")],
    f"Hm. <|tool_call|>[{ONE}]<|/tool_call|>": [("text", "Hm. "), F],
    f"<|tool_call|>[{ONE}]": [F],
    f"<|python_tag|>{ONE}; {TWO}": [F, G],
    '<|python_tag|>{"type": "function", "name": "f", "parameters": {"a": 1}}': [F],
    f"<tool_call>\n{ONE}\n{TWO}\n</tool_call>\n": [F, G],
    f"A <tool_call>{ONE}</tool_call> B\n<tool_call>\n{TWO}": [("text", "A "), F, ("text", "B\n"), G],
    f"{ONE}\n": [F],
    f"[{ONE}, {TWO}]": [F, G],
    f"{ONE}; {TWO}": [F, G],
    '[TOOL_CALLS]f[ARGS]{"a": 1}': [F],
    'Hm. [TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[CALL_ID]a1b2c3d4e[ARGS]{"b": "}</tool_call>["}': [
        ("text", "Hm. "),
        F,
        G,
    ],
    '[TOOL_CALLS] f {"a": 1}': [F],
    "[TOOL_CALLS]f[ARGS]{} Well.": [("call", ("f", {})), ("text", "Well.")],
    # What is no call is text, all of it.
    '[TOOL_CALLS]h[ARGS]{"a": 1}': [("text", '[TOOL_CALLS]h[ARGS]{"a": 1}')],
    '[TOOL_CALLS]f[ARGS]{"a": [}': [("text", '[TOOL_CALLS]f[ARGS]{"a": [}')],
    "[TOOL_CALLS]f[ARGS]": [("text", "[TOOL_CALLS]f[ARGS]")],
    "[TOOL_CALLS]f[ARGS][1]": [("text", "[TOOL_CALLS]f[ARGS][1]")],
    "[TOOL_CALLS] opens a call.": [("text", "[TOOL_CALLS] opens a call.")],
    '[TOOL_CALLS]f[ARG]{"a": 1}': [("text", '[TOOL_CALLS]f[ARG]{"a": 1}')],
    f"{ONE} is a call.": [("text", f"{ONE} is a call.")],
    f"{ONE} {OTHER}": [("text", f"{ONE} {OTHER}")],
    f"Sure. {ONE}": [("text", f"Sure. {ONE}")],
    f"[TOOL_CALLS] [{ONE}, {OTHER}] !": [("text", f"[TOOL_CALLS] [{ONE}, {OTHER}] !")],
    f"[TOOL_CALLS] [{ONE}": [("text", f"[TOOL_CALLS] [{ONE}")],
    f"<tool_call>{ONE[:-1]}</tool_call> <tool_call>{ONE}": [("text", f"<tool_call>{ONE[:-1]}</tool_call> "), F],
    f"<tool_call>{ONE}, {TWO[:-9]}": [F, ("text", f", {TWO[:-9]}")],
    f"<tool_call>{ONE}{OTHER}</tool_call> ": [F, ("text", f"{OTHER}</tool_call> ")],
    f"<tool_call>{ONE}</tool_": [F, ("text", "</tool_")],
    '<|python_tag|>f.call(a="[TOOL_CALLS]")': [("text", '<|python_tag|>f.call(a="[TOOL_CALLS]")')],
    "[TOOL_CALL": [("text", "[TOOL_CALL")],
    " [see <tool> and a < b[0] <": [("text", " [see <tool> and a < b[0] <")],
    '[1, "\\"\n", <|tool': [("text", '[1, "\\"\n", <|tool')],
    '{"a": "[TOOL_CALLS]"} [': [("text", '{"a": "[TOOL_CALLS]"} [')],
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_is_found_does_not_depend_on_the_pieces(answer: str):
    for first, second in combinations(range(len(answer) + 1), 2):
        pieces = answer[:first], answer[first:second], answer[second:]
        assert events_of(pieces, tools={"f": {}, "g": {}}) == ANSWERS[answer], pieces
    assert events_of(answer, tools={"f": {}, "g": {}}) == ANSWERS[answer]


PARTS = (
    *("<tool_call>", "</tool_call>", "<|tool_call|>", "<|/tool_call|>", "[TOOL_CALLS]", "<|python_tag|>", "<think>"),
    *(
        "</think>",
        "<",
        "[",
        "[[",
        "]",
        "{",
        "}",
        '"',
        "\\",
        ",",
        ";",
        " ",
        "\n",
        "é",
        "tru",
        "<tool_",
        "f[ARGS]",
        "g[CALL_ID]x1[ARGS]",
        "<seed:tool_call>",
        "<function=f>",
        "<function=other>",
        "<parameter=a>",
        "</parameter>",
        "</function>",
        "f\n",
        "<arg_key>a</arg_key>",
        "<arg_value>",
        "</arg_value>",
        ONE,
        TWO,
        OTHER,
        f"[{ONE}]",
    ),
)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_whatever_stands_beside_what(seed: int):
    chance = random.Random(seed)
    for _ in range(100):
        answer = "".join(chance.choices(PARTS, k=chance.randrange(1, 9)))
        thinks = "<think>" if chance.random() < 0.3 else ""
        events = events_of([answer], thinks=thinks, tools={"f": {}, "g": {}})
        for _ in range(5):
            cuts = [0, *sorted(chance.choices(range(len(answer)), k=chance.randrange(12))), len(answer)]
            pieces = [answer[at:end] for at, end in pairwise(cuts)]
            assert events_of(pieces, thinks=thinks, tools={"f": {}, "g": {}}) == events, pieces
        assert events_of(answer, thinks=thinks, tools={"f": {}, "g": {}}) == events
        if not thinks and "call" not in dict(events):
            assert events == [("text", answer)]
        told = [str(what) for kind, what in events if kind != "call"]
        at = 0
        for what in told:
            at = answer.index(what, at) + len(what)


def test_text_before_a_tag_is_not_held_back():
    reader = ReplyReader(tools={"f": {}})
    said = [
        [chunk.text for chunk in reader.feed(piece)] for piece in ("Let me ", "see [", "1", "] <tool", "box> [TOOL_")
    ]
    assert said == [["Let me "], ["see "], ["[1"], ["] "], ["<toolbox> "]]


def test_a_call_behind_a_tag_does_not_wait_for_the_end():
    reader = ReplyReader(tools={"f": {}})
    assert [call.name for chunk in reader.feed(f"[TOOL_CALLS] [{ONE}]") for call in chunk.tool_calls] == ["f"]


def test_json_that_is_no_call_waits_only_until_that_shows():
    reader = ReplyReader(tools={"f": {}})
    assert [reader.feed(piece) for piece in ('{"a"', ": 1", "}", " and")] == [
        [],
        [],
        [Chunk(text='{"a": 1}')],
        [Chunk(text=" and")],
    ]


@pytest.mark.parametrize("form", ["<tool_call>{}</tool_call>", "{}", "[TOOL_CALLS][{}]", "<|python_tag|>{}"])
def test_arguments_may_be_any_json(piece: int, form: str):
    arguments = '{"none": null, "yes": true, "no": false, "few": [1, -1.5e3, {"a": "null"}]}'
    answer = form.replace("{}", f'{{"name": "f", "parameters": {arguments}}}')
    assert read(answer, piece=piece, tools={"f": {}}) == ("", "", [("f", json.loads(arguments))])


@pytest.mark.parametrize(("written", "value"), [(r'"smile \ud83d"', "smile \ufffd"), ("9" * 30, 1e30)])
def test_arguments_are_such_that_they_can_be_told(piece: int, written: str, value: Any):
    answer = f'<tool_call>{{"name": "f", "arguments": {{"a": {written}}}}}</tool_call>'
    assert read(answer, piece=piece, tools={"f": {}}) == ("", "", [("f", {"a": value})])


def test_a_call_that_can_never_be_told_is_text(piece: int):
    answer = f'<tool_call>{{"name": "f", "arguments": {{"a": {"[" * 400 + "]" * 400}}}}}</tool_call>'
    assert read(answer, piece=piece, tools={"f": {}}) == ("", answer, [])


@pytest.mark.parametrize(
    "part",
    [
        *("<function=f>", "<function=f><parameter=a>", "<function=f>\n<parameter=a>x", "<parameter=a></parameter>"),
        *("<tool_call>f<arg_key>", "<tool_call>f<arg_key>a</arg_key><arg_value>", "</arg_value>", "</parameter>"),
        "<tool_call>",
        '<tool_call>{"',
        "[",
        "[TOOL_CALLS][",
        "[TOOL_CALLS]f",
        "[ARGS]",
        '{"a": [',
        "<",
        '\\"',
        " ",
        ONE,
    ],
)
@pytest.mark.parametrize(
    "before", ["", "<tool_call>", f"<tool_call>{ONE}", ONE, "<tool_call><function=f>", "<function=f><parameter=a>"]
)
def test_a_long_answer_takes_no_long_time(before: str, part: str):
    began = time.process_time()
    events_of([before, *[part] * 10_000], tools={"f": {}})
    assert time.process_time() - began < 5


@pytest.mark.parametrize(("shows", "told"), [(True, ["a", "b"]), (False, ["b"])])
def test_the_likelihood_of_tokens_comes_with_what_they_say(shows: bool, told: list[str]):
    sent: list[Chunk] = []
    batch = object.__new__(Batcher)
    batch._send = lambda _, chunk: sent.append(chunk)  # type: ignore[method-assign,assignment]
    question = SimpleNamespace(id=1, shows_thinking=shows)
    answer: Any = SimpleNamespace(question=question, logprobs=[])
    for token, chunk in (("a", Chunk(thinking="Hm")), ("b", Chunk(text="Hi"))):
        answer.logprobs.append(TokenLogprob(token=token, logprob=-1.0))
        batch._tell(answer, [chunk])
    assert [(one.thinking + one.text, [it.token for it in one.logprobs]) for one in sent] == [
        ({"a": "Hm", "b": "Hi"}[token], [token]) for token in told
    ]


@pytest.mark.parametrize("opens", ["<think>", "[THINK]", "<seed:think>"])
def test_models_open_their_thinking_with_other_words(piece: int, opens: str):
    assert thinking_in("{% if x %}" + opens) == opens
    closes = opens.replace("[", "[/").replace("<", "</")
    assert read(f"{opens}why{closes}because", piece=piece, thinks=opens) == ("why", "because", [])
    assert read(f"why{closes}because", piece=piece, thinks=opens, is_open=True) == ("why", "because", [])
    assert read("[TH", piece=piece, thinks=opens) == ("", "[TH", [])
