"""Fields that requests share: keep_alive, format, think, and every option with its type and its default."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from orchestrator.modelhost.options import RANDOM_SEED, Options
from tests.api.test_ollama import STAMP, lines
from tests.contract.facts import HELLO, PROMPT
from tests.fakes import FakeEngine

INTEGERS = ["num_predict", "top_k", "repeat_last_n", "seed", "num_ctx", "num_batch", "num_gpu", "main_gpu"]
INTEGERS += ["num_thread", "num_keep", "draft_num_predict"]
FLOATS = ["temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty"]
FORMER = ["mirostat", "mirostat_tau", "tfs_z", "penalize_newline", "numa", "low_vram", "f16_kv", "vocab_only"]
DEFAULTS: dict[str, Any] = {
    "num_predict": -1,
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repeat_last_n": 64,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "stop": (),
    "num_batch": 512,
    "num_keep": 4,
    "seed": RANDOM_SEED,
}


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_an_option_that_nobody_sets_is_ollamas_default(name: str, value: Any) -> None:
    assert getattr(Options.resolve(), name) == value


@pytest.mark.parametrize("name", [name for name in DEFAULTS if name != "stop"])
def test_a_request_overrides_the_model_which_overrides_the_default(name: str) -> None:
    own, asked = 3, 2
    if name in {"top_p", "min_p", "typical_p"}:
        own, asked = 0, 1
    assert getattr(Options.resolve({name: own}), name) == own
    assert getattr(Options.resolve({name: own}, {name: asked}), name) == asked
    assert getattr(Options.resolve({name: own}, {name: None}), name) == own, "null is skipped"


def test_the_context_has_four_tokens_at_least() -> None:
    assert Options.resolve({"num_ctx": 1}).num_ctx == 4


async def options_seen(client: httpx.AsyncClient, engine: FakeEngine, options: dict[str, Any]) -> Any:
    response = await client.post("/api/chat", json=HELLO | {"options": options})
    assert response.status_code == 200, response.text
    return engine.asked[-1].options


@pytest.mark.parametrize(("given", "taken"), [(5, 5), (5.9, 5), (-1.5, -1), (1e3, 1000)])
@pytest.mark.parametrize("name", INTEGERS)
async def test_an_integer_takes_any_number_and_drops_its_fraction(
    client: httpx.AsyncClient, engine: FakeEngine, name: str, given: float, taken: int
) -> None:
    assert await options_seen(client, engine, {name: given}) == {name: taken}


@pytest.mark.parametrize("name", FLOATS)
async def test_a_float_takes_any_number(client: httpx.AsyncClient, engine: FakeEngine, name: str) -> None:
    assert await options_seen(client, engine, {name: 1}) == {name: 1.0}
    assert await options_seen(client, engine, {name: 0.25}) == {name: 0.25}


async def test_use_mmap_is_a_boolean_and_stop_a_list_of_strings(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    given = {"use_mmap": True, "stop": ["a", "\n"]}
    assert await options_seen(client, engine, given) == given


@pytest.mark.parametrize("name", FORMER)
async def test_an_option_that_is_no_longer_there_is_ignored(
    client: httpx.AsyncClient, engine: FakeEngine, name: str
) -> None:
    assert await options_seen(client, engine, {name: "anything", "seed": 1}) == {"seed": 1}


@pytest.mark.parametrize("name", [*INTEGERS, *FLOATS, "use_mmap", "stop"])
async def test_null_sets_no_option(client: httpx.AsyncClient, engine: FakeEngine, name: str) -> None:
    assert await options_seen(client, engine, {name: None}) == {}


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (0, 0),
        (300, 300),
        (1.5, 1.5),
        (-1, -1),
        ("0", 0),
        ("0s", 0),
        ("5m", 300),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("7us", 7e-6),
        ("7ns", 7e-9),
        ("-1s", -1),
        ("-5m", -1),
        (None, None),
    ],
)
async def test_keep_alive_is_seconds_or_a_duration_and_negative_is_forever(
    client: httpx.AsyncClient, engine: FakeEngine, given: object, seconds: float | None
) -> None:
    await client.post("/api/chat", json=HELLO | {"keep_alive": given})
    assert engine.asked[-1].keep_alive_s == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("given", "taken"), [("json", "json"), ({"type": "object"}, {"type": "object"}), ("", None), (None, None)]
)
async def test_format_is_json_or_a_schema_or_nothing(
    client: httpx.AsyncClient, engine: FakeEngine, given: object, taken: object
) -> None:
    assert (await client.post("/api/chat", json=HELLO | {"format": given})).status_code == 200
    assert engine.asked[-1].format == taken


@pytest.mark.parametrize("level", [True, False, "low", "medium", "high", "max", None])
async def test_think_is_yes_no_or_one_of_four_levels(
    client: httpx.AsyncClient, cloud: FakeEngine, level: object
) -> None:
    assert (await client.post("/api/chat", json=HELLO | {"model": "openai/big", "think": level})).status_code == 200
    assert cloud.asked[-1].think == level


async def test_not_to_think_is_granted_by_a_model_that_cannot(client: httpx.AsyncClient) -> None:
    assert (await client.post("/api/chat", json=HELLO | {"think": False})).status_code == 200


@pytest.mark.parametrize(("path", "body"), [("/api/chat", HELLO), ("/api/generate", PROMPT)])
@pytest.mark.parametrize(
    ("stream", "kind"), [({}, "ndjson"), ({"stream": None}, "ndjson"), ({"stream": False}, "json")]
)
async def test_ollamas_answers_are_streamed_unless_told_not_to(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], stream: dict[str, Any], kind: str
) -> None:
    response = await client.post(path, json=body | stream)
    assert ("ndjson" in response.headers["Content-Type"]) is (kind == "ndjson")


@pytest.mark.parametrize("body", [{}, {"stream": None}])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"])
async def test_answers_under_v1_are_whole_unless_a_stream_is_asked_for(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    question = HELLO | PROMPT | {"input": "hello", "max_tokens": 5}
    assert (await client.post(path, json=question | body)).headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(("path", "body"), [("/api/chat", HELLO), ("/api/generate", PROMPT)])
async def test_created_at_is_utc_without_zeros_at_its_end(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    for line in lines(await client.post(path, json=body)):
        assert STAMP.fullmatch(line["created_at"])
        assert not line["created_at"].endswith(("0Z", ".Z")) or "." not in line["created_at"]


METRICS = [
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(("path", "body"), [("/api/chat", HELLO), ("/api/generate", PROMPT)])
async def test_no_metric_is_missing_or_zero_on_a_last_line_even_from_cache(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], name: str
) -> None:
    for _ in range(2):
        value = lines(await client.post(path, json=body))[-1][name]
        assert isinstance(value, int)
        assert value > 0
