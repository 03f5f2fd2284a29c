"""Where we differ from Ollama on purpose: what is there, what is here, and that the docs say so.

And the other way round: whatever the docs call a difference is a row here, in a neighbour's table, or a test elsewhere.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.core.errors import Busy, EngineError, ModelLoadFailed
from orchestrator.core.types import Chunk, Done
from orchestrator.modelhost.residents import BUSY, RETRY_AFTER_S, Residents
from orchestrator.modelhost.store import Store
from orchestrator.modelhost.threads import Remembered
from tests.api.test_anthropic import events as anthropic_events
from tests.api.test_openai import events
from tests.contract import test_environment, test_later_releases, test_pending
from tests.contract.facts import HELLO, Differs, Fact, Scene, asking, refused, rows
from tests.modelhost.files import SMALL, gguf
from tests.modelhost.test_residents import USUAL
from tests.modelhost.test_store import put_manifest
from tests.product import PROJECT, Product

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
        Differs(401, PAGE, "a key of this server's own form that does not hold is 401"),
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
        Differs("2", PAGE, "A 503 has a `Retry-After`"),
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


def reloads(product: Product) -> bool:
    """Whether the model has the small context that was asked for last."""
    options = {"num_ctx": 512, "num_predict": 1, "temperature": 0}
    body = {"model": "smollm2:135m", "prompt": "hello", "stream": False, "options": options}
    with httpx.Client(base_url=product.base_url, timeout=60) as client:
        client.post(GENERATE, json=body | {"options": {}, "prompt": ""})
        client.post(GENERATE, json=body, headers={"Cache-Control": "no-cache"})
        (one,) = [one for one in client.get("/api/ps").json()["models"] if one["name"] == body["model"]]
    return bool(one["context_length"] == 512)


def asking_the_cloud(**question: Any) -> Callable[[Product], int]:
    """A look at the status of a question to a provider."""
    body = {"model": "openai/good", "prompt": "hello", "stream": False} | question
    return lambda product: httpx.post(product.base_url + GENERATE, json=body, timeout=60).status_code


def format_of_vectors(product: Product) -> str:
    listed = httpx.get(f"{product.base_url}/api/tags").json()["models"]
    return str(next(one["details"]["format"] for one in listed if one["name"].startswith("all-minilm")))


def zone_of_times(product: Product) -> str:
    """The offset of a time under a zone that is ahead of UTC the whole year, in a process set up as ours are."""
    code = "import django; django.setup(); from orchestrator.api.local import local_time; print(local_time(0))"
    env = product.environment() | {"TZ": "Asia/Tokyo", "DJANGO_SETTINGS_MODULE": "orchestrator.settings"}
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=env, capture_output=True, check=True, text=True
    )
    return told.stdout.strip()[19:]


NO_RAW = Differs(400, PAGE, "raw prompts and `context` are refused for cloud models, 400")
RUNNING = [
    Fact("a raw prompt is taken by every model", asking_the_cloud(raw=True), 200, NO_RAW),
    Fact("so is a context", asking_the_cloud(context=[1]), 200, NO_RAW),
    Fact(
        "a smaller num_ctx loads the model again",
        reloads,
        True,
        Differs(False, PAGE, "A smaller `num_ctx` is served by the model as it is loaded"),
    ),
    Fact(
        "a model for vectors is a GGUF file",
        format_of_vectors,
        "gguf",
        Differs("onnx", PAGE, "`/api/tags` says `onnx`"),
    ),
    Fact(
        "times of files are in the server's own zone",
        zone_of_times,
        "+09:00",
        Differs("Z", PAGE, "Times are in UTC everywhere"),
    ),
]


@pytest.mark.parametrize("fact", RUNNING, ids=str)
async def test_what_differs_in_the_running_product_is_as_the_docs_say(fact: Fact, product: Product) -> None:
    await fact.check(product)


def safetensors(store: Store) -> bool:
    """Whether a model whose weights are no GGUF file is there."""
    layers = [("tensor", b"\0" * 8), ("json", b"{}")]
    put_manifest(store, "registry.ollama.ai/library/flux/latest", layers)
    return store.find("flux") is not None


async def embeds(store: Store) -> str:
    """What becomes of a GGUF model that makes vectors when it is to be loaded."""
    layers = [("model", gguf(SMALL | {"llama.pooling_type": 1}))]
    put_manifest(store, "registry.ollama.ai/library/nomic/latest", layers)
    residents = Residents(store, USUAL, Remembered(store.root / "threads.json"))
    try:
        await residents.load("nomic", None, {})
    except ModelLoadFailed as error:
        return str(error)
    finally:
        await residents.close()
    return "loaded"


STORED = [
    Fact(
        "a GGUF model makes vectors",
        embeds,
        "loaded",
        Differs(
            "nomic:latest makes embeddings in a form that cannot be run; use all-minilm",
            PAGE,
            "embeddings by GGUF models (`nomic-embed-text`, …) | 500 that names `all-minilm`",
        ),
    ),
    Fact(
        "a model may be of safetensors, such as one that makes pictures",
        safetensors,
        True,
        Differs(False, PAGE, "models that are no GGUF files, such as those that make pictures"),
    ),
]


@pytest.mark.parametrize("fact", STORED, ids=str)
async def test_what_differs_in_the_store_is_as_the_docs_say(fact: Fact, tmp_path: Path) -> None:
    await fact.check(Store(tmp_path / "models"))


# What a row of the docs begins with, and the test that shows it
ELSEWHERE = {
    "a caller who takes nothing of an answer": "supervisor/test_connections.py::test_a_caller_who_takes_nothing_is",
    "more connections than the limit": "supervisor/test_connections.py::test_one_connection_too_many_is_told_so",
    "requests for a model that is loaded wait in the same queue": (
        "modelhost/test_residents.py::test_the_queue_is_also_bounded_once_the_model_is_loaded"
    ),
    "`top_k`, `min_p`, `typical_p`": "engines/test_cloud.py::test_only_what_the_caller_set_is_sent",
    "pictures for local models": "contract/test_differences.py::test_what_differs_is_as_the_docs_say",
    "ollama.com: an account": "contract/test_account.py::test_what_needs_ollama_com_answers_as_an_ollama_without_it",
}
ALL = [
    *(fact for table in (FACTS, RUNNING, STORED) for fact in table),
    *(fact for table in (test_pending.IN_PROCESS, test_pending.RUNNING) for fact in table),
    *test_environment.FACTS,
    *test_later_releases.FACTS,
]
DOCUMENTED = [
    (page, row)
    for page, heading in (
        (PAGE, "Stricter, on purpose"),
        (PAGE, "Not there yet"),
        (PAGE, "Later releases"),
        (ANTHROPIC, "What differs from Ollama"),
    )
    for row in rows(page, heading)
]


@pytest.mark.parametrize(("page", "row"), DOCUMENTED, ids=[row[:50] for _, row in DOCUMENTED])
def test_whatever_the_docs_call_a_difference_is_shown_by_a_test(page: str, row: str) -> None:
    told = [fact.differs.words for fact in ALL if fact.differs and fact.differs.page == page]
    shown = [test for words, test in ELSEWHERE.items() if row.startswith(words)]
    assert shown or any(words in row for words in told)
    for test in shown:
        file, name = test.split("::")
        assert f"def {name}" in (PROJECT / "tests" / file).read_text()


def test_what_is_shown_elsewhere_is_in_the_docs() -> None:
    assert not [words for words in ELSEWHERE if not any(row.startswith(words) for _, row in DOCUMENTED)]
