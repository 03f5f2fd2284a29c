"""Where we differ from Ollama on purpose: what is there, what is here, and that the docs say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.errors import Busy, EngineError
from orchestrator.core.types import Chunk, Done
from orchestrator.modelhost.residents import BUSY, RETRY_AFTER_S
from tests.api.test_anthropic import events as anthropic_events
from tests.api.test_openai import events
from tests.contract.facts import HELLO, Differs, Fact, Scene, asking, refused

PAGE, OPENAI, ANTHROPIC = "differences.md", "openai.md", "anthropic.md"
CHAT, GENERATE, COMPLETIONS, MESSAGES = "/api/chat", "/api/generate", "/v1/chat/completions", "/v1/messages"
MESSAGE = HELLO | {"max_tokens": 5}
MIB = 1024**2


def header(name: str, method: str, path: str, body: Any = None, **headers: str) -> Callable[[Scene], Any]:
    """A look at one header of an answer."""

    async def look(scene: Scene) -> str | None:
        response = await scene.client.request(method, path, json=body, headers=headers)
        return response.headers.get(name)

    return look


def status(method: str, path: str, **request: Any) -> Callable[[Scene], Any]:
    """A look at the status of one answer."""

    async def look(scene: Scene) -> int:
        return (await scene.client.request(method, path, **request)).status_code

    return look


def after(change: Callable[[Scene], None], look: Callable[[Scene], Any]) -> Callable[[Scene], Any]:
    """A look when something was changed first."""

    async def changed(scene: Scene) -> Any:
        change(scene)
        return await look(scene)

    return changed


def fails(error: Exception, *pieces: str) -> Callable[[Scene], None]:
    """Let `tiny` say this much, and fail."""

    def change(scene: Scene) -> None:
        scene.engine.pieces, scene.engine.error = pieces, error

    return change


def ends(reason: str) -> Callable[[Scene], None]:
    """Let `tiny` end its answers for that reason."""

    def change(scene: Scene) -> None:
        scene.engine.reason = reason

    return change


async def options_of_v1(scene: Scene) -> dict[str, Any]:
    await scene.client.post(COMPLETIONS, json=HELLO)
    return dict(scene.engine.asked[-1].options)


async def names(scene: Scene) -> list[str]:
    return [one["name"] for one in (await scene.client.get("/api/tags")).json()["models"]]


async def no_models(scene: Scene) -> Any:
    async def none() -> list[Any]:
        return []

    scene.engine.models = scene.cloud.models = none  # type: ignore[method-assign]  # of this scene only
    return (await scene.client.get("/v1/models")).json()["data"]


async def last_of_stream(scene: Scene) -> Any:
    scene.engine.error = EngineError("gone")
    return (
        events(await scene.client.post(COMPLETIONS, json=HELLO | {"stream": True}))[-1].get("error", {}).get("message")
    )


async def last_of_messages(scene: Scene) -> Any:
    scene.engine.error = EngineError("gone")
    return anthropic_events(await scene.client.post(MESSAGES, json=MESSAGE | {"stream": True}))[-1]["type"]


async def nothing_said(scene: Scene) -> Any:
    scene.engine.pieces = ()
    return (await scene.client.post(MESSAGES, json=MESSAGE)).json()["content"]


async def reason_of_messages(scene: Scene) -> Any:
    return (await scene.client.post(MESSAGES, json=MESSAGE)).json()["stop_reason"]


async def has_stop_sequence(scene: Scene) -> bool:
    return "stop_sequence" in (await scene.client.post(MESSAGES, json=MESSAGE)).json()


async def why_incomplete(scene: Scene) -> Any:
    return (await scene.client.post("/v1/responses", json={"model": "tiny", "input": "hello"})).json()[
        "incomplete_details"
    ]


async def tools_of_a_response(scene: Scene) -> Any:
    body = {"model": "tiny", "input": "hello", "tools": [{"type": "web_search"}]}
    return (await scene.client.post("/v1/responses", json=body)).json()["tools"]


async def fails_to_embed(scene: Scene) -> int:
    async def chat(request: Any, model: Any) -> Any:
        raise EngineError("gone")
        yield Chunk(done=Done(reason="stop"))

    scene.engine.chat = chat  # type: ignore[method-assign]  # of this scene only
    scene.engine.model = replace(scene.engine.model, capabilities=frozenset({"embedding"}))
    return await status("POST", "/api/embeddings", json={"model": "tiny", "prompt": "a"})(scene)  # type: ignore[no-any-return]


async def embeds_in_any_case(scene: Scene) -> int:
    scene.engine.model = replace(scene.engine.model, capabilities=frozenset({"embedding"}))
    return await status("POST", "/api/embeddings", json={"model": "TINY"})(scene)  # type: ignore[no-any-return]


def saying(**turn: Any) -> dict[str, Any]:
    return HELLO | {"messages": [{"role": "user", "content": "hello"} | turn]}


ASK_BAD_OPTION = HELLO | {"options": {"temperature": "hot"}}
OPTION_SAID = 'option "temperature" must be of type float32'
FORMAT_SAID = 'invalid format: "yaml"; expected "json" or a valid JSON Schema object'
CHECKED = "a wrong option type and a bad `format` are 400, and are said before the model is looked for"
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
BLOCKS = [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}]
TWICE = b'{"model":"nobody","model":"tiny","messages":[{"role":"user","content":"hello"}]}'
SURROGATE = b'{"model":"tiny","messages":[{"role":"user","content":"\\ud800"}]}'

FACTS = [
    # Stricter
    Fact(
        "a wrong option type is 500",
        refused(CHAT, ASK_BAD_OPTION),
        (500, OPTION_SAID),
        Differs((400, OPTION_SAID), PAGE, CHECKED),
    ),
    Fact(
        "a bad format is 500",
        refused(CHAT, HELLO | {"format": "yaml"}),
        (500, FORMAT_SAID),
        Differs((400, FORMAT_SAID), PAGE, CHECKED),
    ),
    Fact(
        "that there is no such model is said before that an option is wrong",
        refused(CHAT, ASK_BAD_OPTION | {"model": "nobody"}),
        (404, "model 'nobody' not found"),
        Differs((400, OPTION_SAID), PAGE, CHECKED),
    ),
    Fact(
        "of two fields of one name the last one counts",
        status("POST", CHAT, content=TWICE),
        200,
        Differs(400, PAGE, "duplicate names in a JSON object are refused, 400"),
    ),
    Fact(
        "half a surrogate is replaced",
        status("POST", CHAT, content=SURROGATE),
        200,
        Differs(400, PAGE, "lone surrogates and broken UTF-8 are refused, 400"),
    ),
    Fact(
        "broken UTF-8 is replaced",
        status("POST", CHAT, content=b'{"model":"tiny","messages":[{"role":"user","content":"\xff"}]}'),
        200,
        Differs(400, PAGE, "lone surrogates and broken UTF-8 are refused, 400"),
    ),
    Fact(
        "a body may have any size",
        status("POST", CHAT, content=b" " * (33 * MIB)),
        400,
        Differs(413, PAGE, "bodies over `ORCHESTRATOR_MAX_BODY` are 413"),
    ),
    Fact(
        "there may be any number of stop strings",
        status("POST", CHAT, json=HELLO | {"options": {"stop": [str(number) for number in range(65)]}}),
        200,
        Differs(400, PAGE, "more than 64 stop strings, or one over 256 characters, 400"),
    ),
    Fact(
        "pictures are not checked before the model is loaded",
        status("POST", CHAT, json=saying(images=["AAAA"])),
        200,
        Differs(400, PAGE, "pictures for a model that cannot see are refused, 400"),
    ),
    Fact(
        "a message may have any role",
        status("POST", CHAT, json=saying(role="narrator")),
        200,
        Differs(400, PAGE, "a message without a role, or with an unknown one, is 400"),
    ),
    Fact(
        "a body may have any number of objects",
        status("POST", CHAT, json=HELLO | {"messages": [{"role": "user"}] * 20_001}),
        200,
        Differs(400, PAGE, "more than 20,000 JSON objects in a body, 400"),
    ),
    Fact(
        "an encoding that is not known is passed over",
        status("POST", COMPLETIONS, json=HELLO, headers={"Content-Encoding": "br"}),
        200,
        Differs(415, PAGE, "a `Content-Encoding` on `/v1` other than zstd is 415"),
    ),
    Fact(
        "an Authorization of any value is ignored",
        status("GET", "/api/tags", headers={"Authorization": f"Bearer orch_{'a' * 10}_{'x' * 43}"}),
        200,
        Differs(401, PAGE, "a key of this server's own form"),
    ),
    # More
    Fact(
        "the root says that it runs, whoever asks",
        status("GET", "/", headers={"Accept": "text/html"}),
        200,
        Differs(302, PAGE, "A browser at `/` is sent to the dashboard"),
    ),
    Fact(
        "who finds the queue full is not told when to come back",
        after(fails(Busy(BUSY, retry_after_s=RETRY_AFTER_S)), header("Retry-After", "POST", CHAT, HELLO)),
        None,
        Differs("2", PAGE, "A 503 because the queue is full has a `Retry-After`"),
    ),
    Fact(
        "lists hold what is installed and nothing else, with its tag",
        names,
        ["tiny:latest"],
        Differs(
            ["auto:latest", "openai/big", "tiny:latest"],
            PAGE,
            "Cloud models are listed under `provider/model`, without a tag; `auto:latest` stands in every list",
        ),
    ),
    Fact(
        "a list under /v1 without models is null",
        no_models,
        None,
        Differs([], PAGE, "`/v1/models` is an empty list where there are no models"),
    ),
    Fact(
        "a name with a slash is no path under /v1/models",
        status("GET", "/v1/models/openai/big"),
        404,
        Differs(200, PAGE, "`/v1/models/<name>` takes names with a slash"),
    ),
    Fact(
        "a temperature under /v1 is 1.0 when it is not set, and so is top_p",
        options_of_v1,
        {"temperature": 1.0, "top_p": 1.0},
        Differs({}, PAGE, "A temperature that is not set is the model's own default in every dialect"),
    ),
    Fact(
        "a stream under /v1 that breaks off just stops",
        last_of_stream,
        None,
        Differs("gone", PAGE, "A mid-stream failure on `/v1` is an error event before the end"),
    ),
    Fact(
        "any number of texts is embedded at once",
        status("POST", "/v1/embeddings", json={"model": "nobody", "input": ["a"] * 2049}),
        404,
        Differs(400, PAGE, "a list of more than 2,048 texts is refused, 400"),
    ),
    Fact(
        "a failure of /api/embeddings is 500",
        fails_to_embed,
        500,
        Differs(502, PAGE, "A failure of `/api/embeddings` has the status of its cause"),
    ),
    Fact(
        "a name for /api/embeddings must be spelt as the model is",
        embeds_in_any_case,
        404,
        Differs(200, PAGE, "finds a model in any case"),
    ),
    Fact(
        "/api/status says that ollama.com is used",
        asking("GET", "/api/status"),
        (200, {"cloud": {"disabled": False, "source": "none"}}),
        Differs((200, {"cloud": {"disabled": True, "source": "none"}}), PAGE, "`/api/status` says that there is none"),
    ),
    # OpenAI
    Fact(
        "what a model hears may be sent to it",
        status("POST", COMPLETIONS, json=saying(content=[AUDIO]) | {"model": "openai/big"}),
        200,
        Differs(400, OPENAI, "`input_audio` is 400"),
    ),
    Fact(
        "a response that was cut has no details",
        after(ends("length"), why_incomplete),
        None,
        Differs({"reason": "max_output_tokens"}, OPENAI, "`incomplete_details` says why it ended"),
    ),
    Fact(
        "a web search that a response offers is made",
        tools_of_a_response,
        [{"type": "web_search"}],
        Differs([], OPENAI, "a `web_search` that is offered is left out"),
    ),
    # Anthropic
    Fact(
        "a stream of Anthropic's that breaks off just stops",
        last_of_messages,
        "content_block_delta",
        Differs("error", ANTHROPIC, "a failure after the first byte is an `error` event"),
    ),
    Fact(
        "nothing said is null",
        nothing_said,
        None,
        Differs([], ANTHROPIC, "`content` is `[]` when nothing was said"),
    ),
    Fact(
        "an end for any other reason is stop_sequence",
        after(ends("content_filter"), reason_of_messages),
        "stop_sequence",
        Differs("refusal", ANTHROPIC, "an answer that a provider filtered ends with `refusal`"),
    ),
    Fact(
        "a stop_sequence that is empty is left out",
        has_stop_sequence,
        False,
        Differs(True, ANTHROPIC, "`stop_sequence` is null where none was met"),
    ),
    Fact(
        "tokens cannot be counted",
        status("POST", f"{MESSAGES}/count_tokens", json=MESSAGE),
        404,
        Differs(200, ANTHROPIC, "`/v1/messages/count_tokens` | 404"),
    ),
    Fact(
        "a wrong verb is answered in plain text",
        header("Content-Type", "GET", MESSAGES),
        "text/plain",
        Differs("application/json", ANTHROPIC, "404, 405 and 403 below `/v1/messages` have Anthropic's shape"),
    ),
    Fact(
        "text may come before a tool_result",
        status(
            "POST",
            MESSAGES,
            json=saying(content=[{"type": "text", "text": "a"}, {"type": "tool_result", "tool_use_id": "c"}])
            | {"max_tokens": 5},
        ),
        200,
        Differs(400, ANTHROPIC, "text before a `tool_result`, blocks in the wrong turn: 400"),
    ),
    Fact(
        "the blocks of a web search are taken",
        status("POST", MESSAGES, json=saying(role="assistant", content=BLOCKS) | {"max_tokens": 5}),
        200,
        Differs(400, ANTHROPIC, "no web search, neither as a tool nor as blocks"),
    ),
    Fact(
        "a web search is offered to the model",
        status("POST", MESSAGES, json=MESSAGE | {"tools": [SEARCH]}),
        200,
        Differs(400, ANTHROPIC, "no web search, neither as a tool nor as blocks"),
    ),
]


@pytest.mark.parametrize("fact", FACTS, ids=str)
async def test_what_differs_is_as_the_docs_say(fact: Fact, scene: Scene) -> None:
    await fact.check(scene)
