"""Answers that are whole, however odd: they are right in every dialect, kept, and counted with sense."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest

from orchestrator.models import Charge, RequestRecord
from orchestrator.parts import Parts
from tests.faults.conftest import Serve, Start, entry
from tests.faults.dialects import PATHS, ask, ask_in_every_way, eventually
from tests.provider import Provider
from tests.speeches import GOOD, SPEECHES, Speech

TEXT = "".join(GOOD)
ODD = ("good", "crlf", "bytewise", "split", "lengthy_head", "until_closed", "answers_twice")
MARKING = [speech for speech in SPEECHES if speech.name != "gemini"]  # whose answers are over when the response is


@pytest.mark.parametrize("name", ODD)
async def test_an_answer_is_right_in_every_dialect_whatever_comes_before_and_after_it(
    client: httpx.AsyncClient, parts: Parts, serve: Serve, started: Start, speech: Speech, name: str
) -> None:
    provider = await started(speech=speech)
    await serve(entry(speech, provider.address))
    await is_right(client, provider, f"{speech.name}/{name}")
    assert not len(parts.inflight)


@pytest.mark.parametrize("speech", MARKING, ids=lambda speech: speech.name)
@pytest.mark.parametrize("name", ["after_end", "talks_on"])
async def test_what_follows_the_end_of_an_answer_is_no_part_of_it(
    client: httpx.AsyncClient, parts: Parts, serve: Serve, started: Start, speech: Speech, name: str
) -> None:
    provider = await started(speech=speech)
    await serve(entry(speech, provider.address))
    await is_right(client, provider, f"{speech.name}/{name}")
    assert not len(parts.inflight)
    if name == "talks_on":
        await eventually(
            lambda: all(call.closed_at for call in provider.calls[: 2 * len(PATHS)]), "it is not heard out"
        )


async def is_right(client: httpx.AsyncClient, provider: Provider, model: str) -> None:
    """It is, and kept; and so is the next answer over the connections there are: what came late is nobody's."""
    for _ in range(2):
        told = await ask_in_every_way(client, model, "What?")
        for heard in told.values():
            assert (heard.status, heard.text, heard.error) == (200, TEXT, "")
            assert (heard.is_complete, heard.complaints) == (True, ())
    assert len(provider.calls) == len(told), "the second time each was kept"
    for number in range(6):
        for path in PATHS:
            question = f"And {number}? {path}"
            one = await ask(client, path, f"{provider.speech.name}/good", question, stream=bool(number % 2))
            assert (one.text, one.is_complete, one.complaints) == (TEXT, True, ())


CANNOT_BE_SEEN = {
    ("openai", "doubled"),
    ("openrouter", "doubled"),
    ("gemini", "doubled"),
    ("gemini", "reordered"),
    ("ollama", "doubled"),
    ("ollama", "reordered"),
}
COUNTS = ("no_usage", "absurd_usage", "negative_usage", "odd_usage")


@pytest.mark.parametrize("name", COUNTS)
async def test_counts_that_cannot_be_are_not_recorded(
    client: httpx.AsyncClient,
    serve: Serve,
    started: Start,
    recorded: Callable[[int], Awaitable[list[RequestRecord]]],
    speech: Speech,
    name: str,
) -> None:
    provider = await started(speech=speech)
    await serve(entry(speech, provider.address))
    told = await ask_in_every_way(client, f"{speech.name}/{name}", "What?")
    for heard in told.values():
        assert (heard.status, heard.text, heard.is_complete, heard.complaints) == (200, TEXT, True, ())
    for record in await recorded(len(told)):
        assert 0 < record.prompt_tokens < 10, "by the length of the question"
        assert record.completion_tokens == 3, "by the length of the answer"
        assert record.is_estimated


async def test_counts_that_are_charged_for_and_cannot_be_are_recorded_and_doubted(
    client: httpx.AsyncClient,
    parts: Parts,
    serve: Serve,
    started: Start,
    recorded: Callable[[int], Awaitable[list[RequestRecord]]],
) -> None:
    provider = await started()
    await serve(entry(provider.speech, provider.address))
    told = await ask_in_every_way(client, "openai/great_usage", "What?")
    for record in await recorded(len(told)):
        assert (record.prompt_tokens, record.completion_tokens) == (2_000_000_000, 2_000_000_000)
    doubts = await parts.reads.run(60, lambda: set(Charge.rows.values_list("doubt", flat=True)))
    assert doubts == {"counts"}


async def test_an_answer_that_was_cut_short_is_told_as_such_in_every_dialect(
    client: httpx.AsyncClient,
    serve: Serve,
    started: Start,
    recorded: Callable[[int], Awaitable[list[RequestRecord]]],
    speech: Speech,
) -> None:
    provider = await started(speech=speech)
    await serve(entry(speech, provider.address))
    told = await ask_in_every_way(client, f"{speech.name}/length", "What?")
    words = {"/api/chat": '"length"', "/v1/chat/completions": '"length"', "/v1/messages": '"max_tokens"'}
    for (path, _), heard in told.items():
        assert (heard.status, heard.text, heard.is_complete, heard.complaints) == (200, GOOD[0], True, ())
        assert words.get(path, '"max_output_tokens"') in heard.body.decode()
    assert {record.outcome for record in await recorded(len(told))} == {"cut"}


@pytest.mark.parametrize("name", ["doubled", "reordered"])
async def test_chunks_twice_or_in_another_order_are_an_error_where_that_can_be_seen(
    client: httpx.AsyncClient, serve: Serve, started: Start, speech: Speech, name: str
) -> None:
    """Where the API numbers nothing it cannot: then at least everybody is told the same."""
    provider = await started(speech=speech)
    await serve(entry(speech, provider.address))
    told = await ask_in_every_way(client, f"{speech.name}/{name}", "What?")
    assert not [heard for heard in told.values() if heard.complaints]
    assert len({(heard.text, heard.error, heard.is_complete) for heard in told.values()}) == 1
    is_complete = told["/api/chat", False].is_complete
    assert is_complete == ((speech.name, name) in CANNOT_BE_SEEN)
    await ask_in_every_way(client, f"{speech.name}/{name}", "What?")
    assert len(provider.calls) == len(told) * (1 if is_complete else 2), "no error was kept"
