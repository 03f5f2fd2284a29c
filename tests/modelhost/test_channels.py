"""Telling apart what a model writes in channels."""

import time
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.types import Chunk
from orchestrator.modelhost.channels import LONGEST_HEADER, THOUGHTS, ChannelReader
from orchestrator.modelhost.reply import CHANNEL, thinking_in
from orchestrator.modelhost.text import TextOut
from tests.modelhost.reading import found

THOUGHT, START, END = f"{THOUGHTS}Hm.<|end|>", "<|start|>assistant", "<|end|>"
FINAL = "<|channel|>final<|message|>"
F, G = ("call", ("f", {"a": 1})), ("call", ("g.h", {}))
HM, HI = ("thinking", "Hm."), ("text", "Hi")


def events_of(pieces: Iterable[str], **kind: Any) -> list[tuple[str, Any]]:
    """What is found in an answer, in order, with text that comes in a row as one."""
    return found(ChannelReader(**kind), pieces)


ANSWERS: dict[str, list[tuple[str, Any]]] = {
    f"{THOUGHT}{START}{FINAL}Hi<|return|>": [HM, HI],
    f"{THOUGHT}{START}{FINAL}Hi{END}": [HM, HI],
    f"{THOUGHT}{START}{FINAL}Hi": [HM, HI],
    f"{FINAL}Hi<|return|>": [HI],
    f"{THOUGHT}{START}{THOUGHT}{START}{FINAL}Hi": [("thinking", "Hm.Hm."), HI],
    f"{THOUGHT}{START}<|channel|>final <|constrain|>json<|message|>Hi<|return|>": [HM, HI],
    f'{THOUGHT}{START}<|channel|>commentary to=functions.f <|constrain|>json<|message|>{{"a": 1}}<|call|>': [HM, F],
    f'{THOUGHT}{START}<|channel|>commentary to=functions.f<|constrain|>json<|message|>{{"a": 1}}<|call|>': [HM, F],
    f'{THOUGHT}{START} to=functions.f<|channel|>commentary json<|message|>{{"a": 1}}<|call|>': [HM, F],
    ' to=functions.f<|channel|>commentary <|constrain|>json<|message|>{"a": 1}<|call|>': [F],
    ' to=functions.f<|message|>{"a": "\\ud83d"}<|call|>': [("call", ("f", {"a": "\ufffd"}))],
    '<|channel|>analysis to=functions.f code<|message|>{"a": 1}': [F],
    '<|channel|>commentary to=f<|message|>{"a": 1}<|end|>' + f"{START}{FINAL}Hi": [F, HI],
    "<|channel|>commentary to=g.h<|message|> <|call|>": [G],
    f"<|channel|>commentary<|message|>Let me see. {END}{START}<|channel|>commentary to=functions.g.h<|message|>{{}}": [
        ("text", "Let me see. "),
        G,
    ],
    # What is no call of an offered tool is text.
    '<|channel|>commentary to=functions.other json<|message|>{"a": 1}<|call|>': [("text", '{"a": 1}')],
    '<|channel|>commentary to=functions.f json<|message|>{"a": <|call|>': [("text", '{"a": ')],
    "<|channel|>commentary to=functions.f json<|message|>[1]": [("text", "[1]")],
    # Other forms lose no text.
    "Hi": [HI],
    "  Hi": [("text", "  Hi")],
    "to be": [("text", "to be")],
    "to": [("text", "to")],
    "<b>a <| b</b> <": [("text", "<b>a <| b</b> <")],
    f"<|channel|>musing<|message|>Hi{END}": [HI],
    "<|message|>Hi": [HI],
    f"{START}<|message|>Hi": [HI],
    f"{THOUGHTS}Hm.{FINAL}Hi": [HM, HI],
    f"{THOUGHTS}Hm.{START}{FINAL}Hi": [HM, HI],
    f"{THOUGHT}Hi": [HM, HI],
    f"{THOUGHT}\n{START}{FINAL}Hi": [HM, HI],
    f"{FINAL}H<|message|>i<|constrain|>": [HI],
    "<|channel|>Hi there<|return|>": [("text", "Hi there")],
    f"{START}<|channel|>Hi there, you": [("text", "Hi there, you")],
    "<|channel|>" + "Hi there, you. " * 30: [("text", "Hi there, you. " * 30)],
    f"{FINAL}Hi<|channel|>fin": [HI],
    f"{FINAL}Hi<|start|>": [HI],
    f"{THOUGHT}{START}<|channel|>commentary to=func": [HM],
    f"{THOUGHTS}Hm. <|en": [("thinking", "Hm. <|en")],
    "<|return|>": [],
    f"{END}{END}{FINAL}Hi": [HI],
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_is_found_does_not_depend_on_the_pieces(answer: str):
    cuts = range(len(answer) + 1)
    for first, second in combinations(cuts, 2) if len(answer) < 70 else ((at, len(answer)) for at in cuts):
        pieces = answer[:first], answer[first:second], answer[second:]
        assert events_of(pieces, tools={"f", "g.h"}) == ANSWERS[answer], pieces
    assert events_of(answer, tools={"f", "g.h"}) == ANSWERS[answer]


def test_pieces_may_end_within_a_character():
    said = f"{THOUGHTS}é漢{END}{START}{FINAL}ü🙂<|return|>".encode()
    for at in range(len(said) + 1):
        out = TextOut()
        pieces = [out.feed(said[:at]), out.feed(said[at:]), out.flush()]
        assert events_of(pieces) == [("thinking", "é漢"), ("text", "ü🙂")]


TAGS = ["<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>"]
PARTS = st.sampled_from(
    [
        *(*TAGS, *TAGS, START, THOUGHTS, FINAL, "analysis", "commentary", "final", " to=functions.f", "json"),
        *('{"a": 1}', "<", "<|", "|>", "<|chan", " ", "\n", "é", "to=", "Hi", "x" * LONGEST_HEADER),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PARTS, max_size=12), st.data())
def test_whatever_stands_beside_what(parts: list[str], data: st.DataObject):
    answer = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=10)))
    pieces = [answer[at:end] for at, end in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    events = events_of(answer, tools={"f"})
    assert events_of(pieces, tools={"f"}) == events, pieces
    reader = ChannelReader(tools={"f"})
    for chunk in [chunk for piece in pieces for chunk in reader.feed(piece)]:
        assert not any(tag in chunk.text + chunk.thinking for tag in TAGS)
    at = 0
    for kind, what in events:
        for letter in what if kind != "call" else "":
            at = answer.index(letter, at) + 1


@settings(deadline=None)
@given(st.text(), st.text(), st.integers(0, 40))
def test_text_between_tags_is_told_as_it_is(thought: str, said: str, size: int):
    answer = f"{THOUGHTS}{thought}{END}{START}{FINAL}{said}<|return|>"
    pieces = [answer[at : at + size + 1] for at in range(0, len(answer), size + 1)]
    wanted = [(kind, what) for kind, what in (("thinking", thought), ("text", said)) if what]
    assert events_of(pieces) == wanted


def test_text_is_not_held_back():
    reader = ChannelReader()
    fed = [THOUGHTS, "Hm", ".", END, "<|start|>", "assistant", "<|channel|>", "final", "<|message|>", "a <", " b", "<|"]
    assert [reader.feed(piece) for piece in fed] == [
        *([], [Chunk(thinking="Hm")], [Chunk(thinking=".")]),
        *[[]] * 6,
        *([Chunk(text="a ")], [Chunk(text="< b")], []),
    ]


def test_the_grammar_holds_in_what_is_said_and_nowhere_else():
    reader = ChannelReader()
    free = []
    for piece in [
        "",
        "<|channel|>",
        "analysis",
        "<|message|>",
        "Hm",
        END,
        START,
        "<|channel|>",
        "final",
        "<|message|>",
    ]:
        reader.feed(piece)
        free.append(reader.is_thinking)
    assert free == [True] * 9 + [False]
    reader.feed("{")
    assert not reader.is_thinking


def test_what_the_form_is_made_of_is_no_part_of_the_answer():
    reader = ChannelReader()
    fed = ["<|channel|>", "analysis", "<|message|>", "Hm", END, START, FINAL, "Hi", END, "x", "<"]
    assert [bool(reader.feed(piece)) or not reader.has_told_all for piece in fed] == [
        *(False, False, False, True, False, False, False, True, False),
        *(True, True),
    ]


@pytest.mark.parametrize("tag", ["<|return|>", "<|call|>"])
def test_nothing_follows_the_end(tag: str):
    reader = ChannelReader()
    assert reader.feed(f"{FINAL}Hi{tag}more") == [Chunk(text="Hi")]
    assert reader.is_over
    assert reader.feed("more") == reader.flush() == []


@pytest.mark.parametrize(
    ("prompt", "events"),
    [
        ("", [HI]),
        (f"<|start|>user<|message|>?{END}{START}", [HI]),
        (f"<|start|>user<|message|>?{END}{START}{THOUGHTS}", [("thinking", "Hi")]),
        (f"{START}{THOUGHTS}Well <", [("thinking", "Hi")]),
        (f"{START}{FINAL}It is ", [HI]),
        (f"{START}{FINAL}It is<|return|>", [HI]),
        (f"<|start|>user<|message|>?{END}", [HI]),
    ],
)
def test_an_answer_goes_on_from_its_prompt(prompt: str, events: list[tuple[str, Any]]):
    assert events_of("Hi", prompt=prompt) == events


def test_a_channel_may_be_opened_in_the_prompt():
    assert events_of("analysis<|message|>Hm.", prompt=f"{START}<|channel|>") == [HM]


def test_models_that_write_in_channels_are_known_by_their_template():
    assert thinking_in("{{ '<|start|>assistant<|channel|>analysis<|message|>' }}<think>") == CHANNEL
    assert thinking_in("<|channel>thought<channel|>") == ""


@pytest.mark.parametrize("part", [*TAGS, "<", "a", " ", "<|channel|>a ", "to=", f"{FINAL}a"])
@pytest.mark.parametrize("before", ["", FINAL, "<|channel|>commentary to=f<|message|>"])
def test_a_long_answer_takes_no_long_time(before: str, part: str):
    began = time.process_time()
    events_of([before, *[part] * 10_000], tools={"f"})
    assert time.process_time() - began < 5
