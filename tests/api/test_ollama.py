"""The Ollama endpoints, byte by byte where clients look."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from orchestrator.api.absent import ABSENT
from orchestrator.core.errors import EngineCrashed, EngineError
from orchestrator.core.types import Chunk, Message, ToolCall
from orchestrator.parts import Parts
from tests.fakes import FakeEngine

HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.text.endswith("\n")
    return [json.loads(line) for line in response.text.splitlines()]


async def test_a_chat_streams_lines_by_default(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/chat", json=HELLO)
    assert response.headers["Content-Type"] == "application/x-ndjson"
    *pieces, last = lines(response)
    assert [list(piece) for piece in pieces] == [["model", "created_at", "message", "done"]] * 2
    assert [piece["message"] for piece in pieces] == [
        {"role": "assistant", "content": "fo"},
        {"role": "assistant", "content": "ur"},
    ]
    assert list(last) == [
        "model",
        "created_at",
        "message",
        "done",
        "done_reason",
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "prompt_eval_duration",
        "eval_count",
        "eval_duration",
    ]
    assert (last["model"], last["done"], last["done_reason"]) == ("tiny", True, "stop")
    assert (last["prompt_eval_count"], last["eval_count"]) == (7, 2)
    assert all(isinstance(last[name], int) and last[name] > 0 for name in last if name.endswith("duration"))
    assert STAMP.fullmatch(last["created_at"])


async def test_a_whole_chat_is_one_object(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/chat", json=HELLO | {"stream": False})
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.json()["message"] == {"role": "assistant", "content": "four"}


async def test_generate_has_the_response_and_its_context(client: httpx.AsyncClient) -> None:
    body = {"model": "tiny", "prompt": "hello", "stream": False}
    value = (await client.post("/api/generate", json=body)).json()
    assert list(value)[:6] == ["model", "created_at", "response", "done", "done_reason", "context"]
    assert (value["response"], value["context"]) == ("four", [1, 2, 3])
    raw = (await client.post("/api/generate", json=body | {"raw": True})).json()
    assert "context" not in raw


async def test_generate_and_chat_share_answers_streamed_or_not(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    first = await client.post("/api/generate", json={"model": "tiny", "prompt": "hello"})
    assert first.headers["Cache-Status"] == "orchestrator; fwd=miss"
    for path, body in [
        ("/api/chat", HELLO),
        ("/api/chat", HELLO | {"stream": False}),
        ("/api/generate", {"model": "TINY:latest", "prompt": "hello", "stream": False}),
        ("/v1/chat/completions", HELLO),
        ("/v1/chat/completions", HELLO | {"stream": True}),
    ]:
        again = await client.post(path, json=body)
        assert again.headers["Cache-Status"] == "orchestrator; hit; detail=memory", path
        assert again.headers["Age"] == "0"
    assert engine.calls == 1


async def test_generate_brings_the_context_where_only_its_own_way_has_it(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.model = replace(engine.model, takes=engine.model.takes | {"endpoint"})
    ways = {"/api/chat": HELLO | {"stream": False}, "/v1/chat/completions": HELLO}
    ways["/api/generate"] = {"model": "tiny", "prompt": "hello", "stream": False}
    engine.gate = asyncio.Event()
    asking = [asyncio.create_task(client.post(path, json=body)) for path, body in ways.items()]
    async with asyncio.timeout(60):
        while engine.calls < 2:
            await asyncio.sleep(0.005)
    engine.gate.set()
    *_, generated = await asyncio.gather(*asking)
    assert generated.json()["context"] == [1, 2, 3]
    again = {path: await client.post(path, json=body) for path, body in ways.items()}
    assert {answer.headers["Cache-Status"] for answer in again.values()} == {"orchestrator; hit; detail=memory"}
    assert again["/api/generate"].json()["context"] == [1, 2, 3]
    assert engine.calls == 2


PREVIEW = {"_debug_render_only": True}


@pytest.mark.parametrize("name", ["_debug_render_only", "_DEBUG_Render_only"])
async def test_a_prompt_can_be_looked_at_without_an_answer(
    client: httpx.AsyncClient, engine: FakeEngine, name: str
) -> None:
    engine.model = replace(engine.model, capabilities=frozenset({"completion", "vision"}))
    response = await client.post("/api/chat", json=HELLO | {name: True})
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    value = response.json()
    assert list(value) == ["model", "created_at", "message", "done", "_debug_info"]
    assert (value["done"], value["_debug_info"]) == (False, {"rendered_template": "[hello]"})
    assert STAMP.fullmatch(value["created_at"])
    body = {"model": "tiny", "prompt": "hi", "system": "s", "images": ["aGk="]}
    value = (await client.post("/api/generate", json=body | {name: True})).json()
    assert list(value) == ["model", "created_at", "response", "done", "_debug_info"]
    assert value["_debug_info"] == {"rendered_template": "[s][hi]", "image_count": 1}
    assert engine.calls == 0


async def test_a_prompt_is_looked_at_only_where_it_is_known_and_there_is_one(
    client: httpx.AsyncClient, engine: FakeEngine, cloud: FakeEngine
) -> None:
    refused = await client.post("/api/chat", json=HELLO | PREVIEW | {"model": "openai/big"})
    assert refused.status_code == 400
    assert refused.json() == {"error": "openai/big is a cloud model: only its provider knows the prompt it is given"}
    assert (await client.post("/api/chat", json=HELLO | PREVIEW | {"tools": [{}]})).status_code == 400
    loaded = await client.post("/api/generate", json={"model": "tiny"} | PREVIEW)
    assert loaded.json()["done_reason"] == "load"
    assert (engine.asked, cloud.asked) == ([], [])


async def test_a_template_and_a_suffix_make_another_question(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.model = replace(engine.model, capabilities=frozenset({"completion", "insert"}))
    body = {"model": "tiny", "prompt": "a", "system": "s"}
    for more in ({}, {"template": "{{ .Prompt }}"}, {"template": "{{ .Prompt }}."}, {"suffix": "b"}, {"suffix": "c"}):
        response = await client.post("/api/generate", json=body | more)
        assert response.headers["Cache-Status"] == "orchestrator; fwd=miss"
    assert [(one.template, one.suffix, len(one.messages)) for one in engine.asked] == [
        ("", "", 2),
        ("{{ .Prompt }}", "", 2),
        ("{{ .Prompt }}.", "", 2),
        ("", "b", 1),  # what is between two texts is nobody's turn
        ("", "c", 1),
    ]
    again = await client.post("/v1/completions", json={"model": "tiny", "prompt": "a", "suffix": "b"})
    assert again.headers["Cache-Status"] == "orchestrator; hit; detail=memory"
    raw = await client.post("/api/generate", json={"model": "tiny", "prompt": "a", "suffix": "b", "raw": True})
    assert raw.headers["Cache-Status"] == "orchestrator; fwd=miss"
    assert engine.asked[-1].prompt == "a"


async def test_every_answer_says_where_it_came_from(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/chat", json=HELLO | {"stream": False}, headers={"X-Request-Id": "mine-1"})
    assert response.headers["X-Request-Id"] == "mine-1"
    assert response.headers["X-Orchestrator-Model"] == "tiny:latest"
    assert response.headers["X-Orchestrator-Route"] == "named"
    assert response.headers["Cache-Status"] == "orchestrator; fwd=miss; stored"
    assert set(re.findall(r"(\w+);dur=", response.headers["Server-Timing"])) == {
        "route",
        "limits",
        "cache",
        "first",
        "total",
    }


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", 'x"y'])
async def test_a_strange_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    response = await client.post("/api/chat", json=HELLO, headers={"X-Request-Id": given})
    assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-Id"])


@pytest.mark.parametrize(
    ("directive", "status"),
    [
        ("no-cache", "orchestrator; fwd=bypass"),
        ("no-store", "orchestrator; fwd=bypass"),
        ("max-age=0", "orchestrator; fwd=miss"),
        ("max-age=3600", "orchestrator; hit; detail=memory"),
        ("only-if-cached", "orchestrator; hit; detail=memory"),
        ("no-transform, MAX-AGE=3600", "orchestrator; hit; detail=memory"),
        ("max-age=soon", "orchestrator; hit; detail=memory"),
    ],
)
async def test_cache_control_of_the_request_is_honoured(client: httpx.AsyncClient, directive: str, status: str) -> None:
    await client.post("/api/chat", json=HELLO)
    response = await client.post("/api/chat", json=HELLO, headers={"Cache-Control": directive})
    assert response.headers["Cache-Status"] == status


async def test_only_if_cached_without_an_answer_is_504(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/chat", json=HELLO, headers={"Cache-Control": "only-if-cached"})
    assert response.status_code == 504


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
async def test_a_request_without_a_question_loads_and_unloads(
    client: httpx.AsyncClient, engine: FakeEngine, path: str
) -> None:
    response = await client.post(path, json={"model": "tiny"})
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    value = response.json()
    assert (value["done"], value["done_reason"]) == (True, "load")
    assert "total_duration" not in value
    assert engine.loaded == ["tiny:latest"]
    for zero in (0, "0", "0s"):
        assert (await client.post(path, json={"model": "tiny", "keep_alive": zero})).json()["done_reason"] == "unload"
    assert engine.loaded == []


async def test_tool_calls_and_thinking_come_as_the_contract_has_them(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = cloud.chat

    async def with_calls(request: Any, model: Any) -> Any:
        yield Chunk(thinking="Hm")
        yield Chunk(tool_calls=(ToolCall(id="call_w3ath3r0", name="weather", arguments={"city": "Rome"}),))
        async for chunk in chat(request, model):
            yield chunk

    monkeypatch.setattr(cloud, "chat", with_calls)
    thinking, call, *_, last = lines(await client.post("/api/chat", json=HELLO | {"model": "openai/big"}))
    assert thinking["message"] == {"role": "assistant", "content": "", "thinking": "Hm"}
    (wire,) = call["message"]["tool_calls"]
    assert wire["id"] == "call_w3ath3r0"
    assert wire["function"] == {"index": 0, "name": "weather", "arguments": {"city": "Rome"}}
    assert last["done_reason"] == "stop"
    whole = (await client.post("/api/chat", json=HELLO | {"model": "openai/big", "stream": False})).json()
    assert (whole["message"]["thinking"], whole["message"]["content"]) == ("Hm", "four")
    assert len(whole["message"]["tool_calls"]) == 1


async def test_the_conversation_reaches_the_engine_whole(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    body = {
        "Model": "tiny",
        "MESSAGES": [{"Role": "System", "content": "Be brief."}, {"role": "user", "content": "hello", "images": None}],
        "options": {"temperature": 0, "num_predict": 5.9, "seed": 1, "stop": ["x"], "mirostat": 2, "top_k": None},
        "keep_alive": "1h30m",
        "unknown": [],
    }
    assert (await client.post("/api/chat", json=body)).status_code == 200
    (asked,) = engine.asked
    assert asked.messages == (Message(role="system", content="Be brief."), Message(role="user", content="hello"))
    assert asked.options == {"temperature": 0.0, "num_predict": 5, "seed": 1, "stop": ["x"]}
    assert asked.keep_alive_s == 5400


async def test_a_picture_in_lines_as_mail_has_them_is_the_same_picture(
    client: httpx.AsyncClient, cloud: FakeEngine
) -> None:
    for image in ("iVBORw0KGgo=", "iVBO\nRw0K\r\nGgo=\n"):
        turn = {"role": "user", "content": "x", "images": [image]}
        response = await client.post("/api/chat", json={"model": "openai/big", "messages": [turn], "stream": False})
        assert response.status_code == 200, response.text
    assert [one.messages[0].images for one in cloud.asked] == [("iVBORw0KGgo=",)], "the second is a hit"


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("chat", {}, 400, "model is required"),
        ("generate", {}, 404, "model '' not found"),
        ("show", {}, 400, "model is required"),
        ("chat", HELLO | {"model": "nope"}, 404, "model 'nope' not found"),
        ("generate", {"model": "Nope", "prompt": "x"}, 404, "model 'Nope' not found"),
        ("show", {"model": "nope"}, 404, "model 'nope:latest' not found"),
        ("chat", HELLO | {"model": "a b"}, 400, "invalid model name"),
        ("chat", HELLO | {"think": True}, 400, '"tiny" does not support thinking'),
        ("chat", HELLO | {"tools": [{}]}, 400, "registry.ollama.ai/library/tiny:latest does not support tools"),
        (
            "generate",
            {"model": "tiny", "prompt": "x", "suffix": "y"},
            400,
            "registry.ollama.ai/library/tiny:latest does not support insert",
        ),
        (
            "generate",
            {"model": "openai/big", "prompt": "x", "suffix": "y"},
            400,
            "openai/big does not support insert",
        ),
        (
            "generate",
            {"model": "tiny", "prompt": "x", "template": "a\n{{ if }}"},
            400,
            "template: line 2, column 4: a value is missing",
        ),
        (
            "chat",
            HELLO | {"think": "loud"},
            400,
            'invalid think value: "loud" (must be "high", "medium", "low", "max", true, or false)',
        ),
        ("chat", HELLO | {"top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),
        (
            "generate",
            {"model": "tiny", "prompt": "x", "raw": True, "system": "y"},
            400,
            "raw mode does not support template, system, or context",
        ),
        ("chat", HELLO | {"keep_alive": "10"}, 400, 'time: missing unit in duration "10"'),
        ("chat", HELLO | {"keep_alive": ""}, 400, 'time: invalid duration ""'),
        ("chat", HELLO | {"keep_alive": True}, 400, "Unsupported type: 'bool'"),
        ("chat", HELLO | {"options": {"temperature": "hot"}}, 400, 'option "temperature" must be of type float32'),
        ("chat", HELLO | {"options": {"seed": True}}, 400, 'option "seed" must be of type integer'),
        ("chat", HELLO | {"options": {"stop": "x"}}, 400, 'option "stop" must be of type array'),
        ("chat", HELLO | {"options": {"stop": [1]}}, 400, 'option "stop" must be of an array of strings'),
        (
            "chat",
            HELLO | {"format": "yaml"},
            400,
            'invalid format: "yaml"; expected "json" or a valid JSON Schema object',
        ),
        (
            "generate",
            {"model": "tiny", "prompt": "x", "options": "hot"},
            400,
            (
                "json: cannot unmarshal string into Go struct field GenerateRequest.options of type map"
                "[string]interface {}"
            ),
        ),
        (
            "chat",
            {"model": 7},
            400,
            "json: cannot unmarshal number into Go struct field ChatRequest.model of type string",
        ),
        (
            "chat",
            HELLO | {"messages": "hello"},
            400,
            "json: cannot unmarshal string into Go struct field ChatRequest.messages of type []api.Message",
        ),
        (
            "chat",
            HELLO | {"messages": [{"role": "user", "content": 5}]},
            400,
            "json: cannot unmarshal number into Go struct field ChatRequest.messages.content of type string",
        ),
        ("chat", [1], 400, "json: cannot unmarshal array into Go value of type api.ChatRequest"),
        (
            "chat",
            {"model": "tiny", "messages": [{"role": "user", "content": "x", "images": ["AA!A"]}]},
            400,
            "illegal base64 data at input byte 2",
        ),
        ("chat", {"model": "tiny", "Model": "x"}, 400, 'duplicate name "Model" in a JSON object'),
    ],
)
async def test_bad_input_is_refused_in_the_words_of_the_contract(
    client: httpx.AsyncClient, path: str, body: Any, status: int, said: str
) -> None:
    response = await client.post(f"/api/{path}", json=body)
    assert (response.json(), response.status_code) == ({"error": said}, status)
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["X-Request-Id"]


async def test_a_failure_before_the_first_chunk_is_a_plain_error(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.pieces, engine.error = (), EngineCrashed("gone")
    response = await client.post("/api/chat", json=HELLO)
    assert (response.status_code, response.json()) == (500, {"error": "gone"})


async def test_a_failure_midway_is_the_last_line(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.error = EngineError("gone")
    response = await client.post("/api/chat", json=HELLO)
    assert response.status_code == 200
    *pieces, last = lines(response)
    assert len(pieces) == 2
    assert last == {"error": "gone"}


async def test_a_fault_of_ours_shows_an_id_and_no_trace(
    client: httpx.AsyncClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(engine, "find", broken)
    response = await client.post("/api/chat", json=HELLO)
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.headers["X-Request-Id"] in response.json()["error"]


async def test_the_root_greets_clients_and_sends_browsers_to_the_dashboard(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert (response.text, response.headers["Content-Type"]) == ("Ollama is running", "text/plain; charset=utf-8")
    head = await client.head("/")
    assert (head.status_code, head.content) == (200, b"")
    browser = await client.get("/", headers={"Accept": "text/html,*/*"})
    assert (browser.status_code, browser.headers["Location"]) == (302, "/dashboard/")


async def test_unknown_paths_and_wrong_verbs_answer_as_the_router_of_ollama_does(client: httpx.AsyncClient) -> None:
    unknown = await client.get("/api/nothing")
    assert (unknown.status_code, unknown.text, unknown.headers["Content-Type"]) == (
        404,
        "404 page not found",
        "text/plain",
    )
    wrong = await client.get("/api/chat")
    assert (wrong.status_code, wrong.text, wrong.headers["Allow"]) == (405, "405 method not allowed", "POST")
    moved = await client.get("/api/tags/")
    assert (moved.status_code, moved.headers["Location"]) == (301, "/api/tags")
    assert (await client.post("/api/chat/", json=HELLO)).status_code == 307


async def test_tags_lists_models_and_auto(client: httpx.AsyncClient) -> None:
    listing = (await client.get("/api/tags")).json()["models"]
    assert [entry["name"] for entry in listing] == ["auto:latest", "openai/big", "tiny:latest"]
    assert listing[2]["digest"] == "d" * 64
    assert listing[2]["details"]["families"] == ["tiny"]
    assert (await client.head("/api/tags")).status_code == 200


async def test_version_is_one_that_clients_accept(client: httpx.AsyncClient) -> None:
    assert tuple(map(int, (await client.get("/api/version")).json()["version"].split("."))) >= (0, 6, 4)


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/chat", content=b"{}", headers={"Content-Length": str(100 * 1024**2)})
    assert response.status_code == 413
    assert "bytes at most" in response.json()["error"]


async def test_a_large_body_is_read_off_the_event_loop_and_answered(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    body = HELLO | {"messages": [{"role": "user", "content": "x" * 1_000_000}]}
    assert (await client.post("/api/chat", json=body)).status_code == 200
    assert len(engine.asked[0].messages[0].content) == 1_000_000
    bad = await client.post("/api/chat", content=b"[" * 1_000_000)
    assert (bad.status_code, bad.json()["error"].partition(":")[0]) == (400, "exceeded max depth")


async def test_refusals_are_recorded_for_callers_that_are_known(
    client: httpx.AsyncClient, recorded: Callable[[int], Any]
) -> None:
    await client.post("/api/chat", content=b"{")
    await client.post("/api/chat", json=HELLO | {"model": "nope"})
    first, second = await recorded(2)
    assert (first.status, first.error, first.outcome) == (400, "unexpected EOF", "bad_request")
    assert (second.status, second.asked_model, second.outcome) == (404, "nope", "model_not_found")


async def test_stats_add_up(client: httpx.AsyncClient, recorded: Callable[[int], Any]) -> None:
    for _ in range(4):
        await client.post("/api/chat", json=HELLO)
    await recorded(4)
    stats = (await client.get("/api/stats?period=15m")).json()
    assert stats["requests"] == 4
    assert stats["hit_rate"] == 0.75
    assert stats["by_tier"]["memory"]["requests"] == 3
    assert stats["tokens"] == {"prompt": 28, "completion": 8}
    assert stats["total_ms"]["p50"] > 0
    assert stats["by_model"][0]["model"] == "tiny:latest"
    assert (await client.get("/api/stats?period=9y")).status_code == 400


async def test_health_and_readiness(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    ready = await client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["parts"]["ledger"] == "ok"


async def test_a_hang_up_stops_the_engine(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.gate = asyncio.Event()
    asking = asyncio.create_task(client.post("/api/chat", json=HELLO | {"stream": False}))
    async with asyncio.timeout(60):
        while not engine.calls:
            await asyncio.sleep(0.01)
        asking.cancel()
        while not engine.closed:
            await asyncio.sleep(0.01)


async def test_the_api_describes_itself(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/api/openapi.json")).json()
    assert {"/api/chat", "/api/generate", "/v1/chat/completions", "/api/admin/v1/cache"} <= schema["paths"].keys()
    page = await client.get("/api/docs")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "/api/openapi.json" in page.text


@pytest.mark.parametrize("path", ["chat", "generate", "show"])
async def test_an_empty_body_is_missing(client: httpx.AsyncClient, path: str) -> None:
    for body in (b"", b" \n"):
        response = await client.post(f"/api/{path}", content=body)
        assert (response.status_code, response.json()) == (400, {"error": "missing request body"})


async def test_every_model_that_is_listed_can_be_shown(client: httpx.AsyncClient) -> None:
    shown = await client.post("/api/show", json={"model": "auto:latest"})
    assert shown.status_code == 200
    assert shown.json()["capabilities"] == ["completion"]


async def test_a_body_of_a_million_objects_is_refused_before_each_is_looked_at(client: httpx.AsyncClient) -> None:
    body = HELLO | {"messages": [{"role": "user"}] * 20_001}
    response = await client.post("/api/chat", json=body)
    assert response.status_code == 400
    assert "20,000" in response.json()["error"]


async def test_forever_is_the_longest_that_a_model_stays(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await client.post("/api/chat", json=HELLO | {"keep_alive": 1e15})
    assert engine.asked[0].keep_alive_s == -1


async def test_a_strangers_body_is_not_read_when_keys_are_required(
    client: httpx.AsyncClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.identity, "_require_keys", True)
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b"x" * 100_000

    response = await client.post("/api/chat", content=body())
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert read <= 1


async def test_a_filtered_answer_says_so_and_is_not_kept(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.reason = "content_filter"
    first = await client.post("/api/chat", json=HELLO | {"stream": False})
    assert first.json()["done_reason"] == "content_filter"
    assert (await client.post("/api/chat", json=HELLO)).headers["Cache-Status"] == "orchestrator; fwd=miss"


@pytest.mark.parametrize(("method", "path"), ABSENT)
async def test_what_is_not_there_yet_says_so_in_the_callers_dialect(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await client.request(method, path, json={"model": "tiny"})
    assert response.status_code == 501
    error = response.json()["error"]
    assert "not supported yet" in (error["message"] if path.startswith("/v1/") else error)


@pytest.mark.parametrize("stops", [["x"] * 65, ["x" * 257]])
async def test_stop_strings_have_a_bound(client: httpx.AsyncClient, stops: list[str]) -> None:
    response = await client.post("/api/chat", json=HELLO | {"options": {"stop": stops}})
    assert response.status_code == 400
    assert "at most 64 strings of 256 characters" in response.json()["error"]


@pytest.mark.parametrize(
    "path", ["/", "/api/tags", "/api/version", "/healthz", "/api/nothing", "/api/chat", "/v1/models"]
)
async def test_every_answer_has_an_id(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path, headers={"X-Request-Id": "mine"})).headers["X-Request-Id"] == "mine"
