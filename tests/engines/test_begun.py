"""Answers that say again what they go on from."""

from __future__ import annotations

import pytest

from orchestrator.core.types import ChatRequest, Chunk, Done, Message
from orchestrator.engines.wires.begun import Begun
from orchestrator.engines.wires.openai import Mistral, OpenAI

DONE = Chunk(done=Done(reason="stop"))
BEGUN = (Message(role="user", content="hi"), Message(role="assistant", content="It is"))


def heard(words: str, *pieces: str) -> list[str]:
    begun = Begun(words)
    chunks = [begun.without(chunk) for chunk in (*(Chunk(text=piece) for piece in pieces), DONE)]
    assert chunks[-1].done == DONE.done
    return [chunk.text for chunk in chunks if chunk.text]


@pytest.mark.parametrize(
    ("pieces", "left"),
    [
        (("It is", " sunny.", " It is"), [" sunny.", " It is"]),
        (("It is sunny.",), [" sunny."]),
        (("It", " ", "is sun", "ny."), [" sun", "ny."]),
        ((" sunny.", " It is"), [" sunny.", " It is"]),  # not said again
        (("It", " was"), ["It was"]),
        (("It",), ["It"]),  # it ended there
        (("It is",), []),
        ((), []),
    ],
)
def test_what_was_begun_is_not_said_again(pieces: tuple[str, ...], left: list[str]) -> None:
    assert heard("It is", *pieces) == left
    assert heard("", *pieces) == [*pieces]


def test_thoughts_stand_before_it() -> None:
    begun = Begun("It")
    assert begun.without(Chunk(thinking="Hm.")) == Chunk(thinking="Hm.")
    assert begun.without(Chunk(text="It is")) == Chunk(text=" is")


def test_it_is_mistral_who_says_it_again() -> None:
    for wire, begun in ((Mistral(), "It is"), (OpenAI(), "")):
        assert wire.chat(ChatRequest(model="m", messages=BEGUN), wire.guess("m")).begun == begun
    assert Mistral().chat(ChatRequest(model="m", messages=BEGUN[:1]), Mistral().guess("m")).begun == ""
