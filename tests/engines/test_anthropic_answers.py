"""What is made of Anthropic's events: how an answer ended, calls that were cut, counts, events in disorder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.errors import EngineError
from orchestrator.engines.wires.anthropic import Anthropic
from tests.engines.exchange import read
from tests.speeches import AnthropicSpeech, sse


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
