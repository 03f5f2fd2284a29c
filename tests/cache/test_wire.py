"""What processes tell each other arrives as it was said, or not at all."""

from __future__ import annotations

import pytest

from cache.wire import (
    Alive,
    BadMessage,
    End,
    Failure,
    Left,
    Listen,
    News,
    No,
    seal,
    secret_name,
    to_error,
    to_failure,
    unseal,
)
from orchestrator.core.errors import EngineError, OrchestratorError
from orchestrator.core.types import Chunk, Done, MadeBy, TokenLogprob, ToolCall, Usage

CHUNKS = [
    Chunk(text="é🎈", thinking="hm"),
    Chunk(tool_calls=(ToolCall(id="1", name="f", arguments={"a": [1, None, {"b": 0.5}]}),)),
    Chunk(logprobs=(TokenLogprob(token="a", logprob=-0.1, bytes=(97,), top=(TokenLogprob(token="b", logprob=-2),)),)),
    Chunk(done=Done(reason="stop", usage=Usage(prompt_tokens=1, load_ns=2**62), context=(1, 2), stop_string="é")),
    Chunk(done=Done(reason="stop", made_by=MadeBy(request_id="r1", is_paid=True, cost_microusd=2**40, usage=Usage()))),
]
MESSAGES = [
    Listen("inbox", 1, 2, 3),
    Listen("inbox", 1, 2, 3, 0),
    Left("inbox", 1),
    Alive(1, 2),
    News(1, 0, CHUNKS),
    End(1, 5),
    End(1, 4, to_failure(EngineError("é"))),
    No(1, "why"),
]


def kinds(error: type[OrchestratorError]) -> list[type[OrchestratorError]]:
    return [error, *(kind for child in error.__subclasses__() for kind in kinds(child))]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_said_arrives(message: News) -> None:
    assert unseal("here", seal("here", message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_flipped_bit_a_missing_end_and_another_inbox_are_no_message(message: News) -> None:
    data = seal("here", message)
    forged = [data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :] for place in range(len(data))]
    forged += [data[:end] for end in range(len(data))] + [data + b"\0"]
    for one in forged:
        with pytest.raises(BadMessage):
            unseal("here", one)
    with pytest.raises(BadMessage):
        unseal("elsewhere", data)


def test_without_the_secret_nothing_can_be_said_and_no_question_recognised(settings: object) -> None:
    data, name = seal("here", Alive(1, 2)), secret_name("a" * 64)
    settings.CACHE_MAC_KEY = b"k" * 32  # type: ignore[attr-defined]
    assert secret_name("a" * 64) != name
    with pytest.raises(BadMessage):
        unseal("here", data)


def test_what_no_bytes_can_say_is_refused() -> None:
    for chunk in (Chunk(text="\ud800"), Chunk(done=Done(reason="stop", usage=Usage(load_ns=2**64)))):
        with pytest.raises(BadMessage):
            seal("here", News(1, 0, [chunk]))


@pytest.mark.parametrize("kind", kinds(OrchestratorError))
def test_an_error_arrives_as_what_it_is(kind: type[OrchestratorError]) -> None:
    error = to_error(to_failure(kind("what happened", retry_after_s=2.0)))
    assert (type(error), str(error), error.retry_after_s) == (kind, "what happened", 2.0)


def test_an_error_that_is_unknown_here_is_the_engines() -> None:
    error = to_error(Failure("NotYetInvented", "odd"))
    assert (type(error), str(error)) == (EngineError, "odd")
