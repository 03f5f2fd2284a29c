"""An answer ends where a stop string begins, however it is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adaptation import stops
from orchestrator.core.types import ChatRequest, Chunk, Done, Origin, ToolCall
from tests.adaptation.pieces import USAGE, Spoken, text_of, through

LETTERS = st.text("ab\n", max_size=30)


@given(LETTERS, st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3), st.lists(st.integers(1, 4)))
async def test_it_ends_where_the_stop_string_begins_that_is_complete_first(
    text: str, words: list[str], cuts: list[int]
) -> None:
    pieces, rest = [], text
    for size in cuts:
        pieces.append(rest[:size])
        rest = rest[size:]
    spoken = Spoken(*pieces, rest)
    heard = await through(stops.ending(words), spoken)
    found = [(place + len(word), place) for word in words if (place := text.find(word)) >= 0]
    ends = min(found)[1] if found else None
    assert text_of(heard) == text[:ends]
    assert [bool(chunk.done) for chunk in heard] == [False] * (len(heard) - 1) + [True]
    assert spoken.is_closed
    done = heard[-1].done
    assert done is not None
    if ends is None:
        assert done.usage == USAGE
        assert done.stop_string == ""
    else:
        assert done.reason == "stop"
        assert text.startswith(done.stop_string, ends)


async def test_the_model_is_not_heard_any_further() -> None:
    spoken = Spoken("one ST", "OP two", "three", "four")
    heard = await through(stops.ending(["STOP"]), spoken)
    assert text_of(heard) == "one "
    assert spoken.heard == 2
    assert spoken.is_closed
    assert heard[-1].done is not None
    assert heard[-1].done.usage.is_estimated


@pytest.mark.parametrize("is_last", [True, False])
async def test_what_comes_with_the_stop_string_is_heard(is_last: bool) -> None:
    call = ToolCall(id="1", name="weather", arguments={})
    done = Done(reason="length", usage=USAGE) if is_last else None
    origin = Origin(model="p/other")
    piece = Chunk(thinking="hm", tool_calls=(call,), text="STOP one", origin=origin, done=done)
    heard = await through(stops.ending(["STOP"]), Spoken(piece))
    assert heard[0] == Chunk(thinking="hm", tool_calls=(call,), origin=origin)
    assert [bool(one.done) for one in heard] == [False, True]
    assert text_of(heard) == ""


async def test_where_nothing_comes_with_the_stop_string_only_the_end_does() -> None:
    (end,) = await through(stops.ending(["STOP"]), Spoken("STOP"))
    assert end.done is not None
    assert end.done.stop_string == "STOP"


@pytest.mark.parametrize(
    ("said", "words"), [(None, ()), ("END", ("END",)), (["a", "", "b"], ("a", "b")), ([], ()), ("", ())]
)
def test_what_ends_an_answer(said: object, words: tuple[str, ...]) -> None:
    assert ChatRequest(model="m", options={"stop": said}).stops == words
