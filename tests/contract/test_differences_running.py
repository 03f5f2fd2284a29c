"""Where we differ from Ollama on purpose, in the running product and in the store of models."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.core.errors import ModelLoadFailed
from orchestrator.modelhost.details import details
from orchestrator.modelhost.residents import Residents
from orchestrator.modelhost.store import Store
from orchestrator.modelhost.threads import Remembered
from tests.contract.facts import Differs, Fact
from tests.modelhost.files import SMALL, gguf
from tests.modelhost.test_residents import USUAL
from tests.modelhost.test_store import put_blob, put_manifest
from tests.product import PROJECT, Product

PAGE = "differences.md"
GENERATE = "/api/generate"


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
    listed = httpx.get(f"{product.base_url}/api/tags", timeout=30).json()["models"]
    return str(next(one["details"]["format"] for one in listed if one["name"].startswith("all-minilm")))


def zone_of_times(product: Product) -> str:
    """The offset of a time under a zone that is ahead of UTC the whole year, in a process set up as ours are."""
    code = "import django; django.setup(); from orchestrator.api.local import local_time; print(local_time(0))"
    env = product.environment() | {"TZ": "Asia/Tokyo", "DJANGO_SETTINGS_MODULE": "orchestrator.settings"}
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=env, capture_output=True, check=True, text=True
    )
    return told.stdout.strip()[19:]


NO_RAW = Differs(
    400, PAGE, "raw prompts, `context`, `template` and `_debug_render_only` are refused for cloud models, 400"
)
RUNNING = [
    Fact("a raw prompt is taken by every model", asking_the_cloud(raw=True), 200, NO_RAW),
    Fact("so is a context", asking_the_cloud(context=[1]), 200, NO_RAW),
    Fact("so is a template", asking_the_cloud(template="{{ .Prompt }}"), 200, NO_RAW),
    Fact("so is a look at the prompt", asking_the_cloud(_debug_render_only=True), 200, NO_RAW),
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


def shows_its_renderer(store: Store) -> bool:
    """Whether what a model's author chose to write its prompts with is told."""
    layers = [("model", gguf(SMALL))]
    path = put_manifest(store, "registry.ollama.ai/library/coder/latest", layers)
    manifest = json.loads(path.read_text())
    manifest["config"]["digest"] = put_blob(store, b'{"renderer":"coder","parser":"coder"}')
    path.write_text(json.dumps(manifest))
    found = store.find("coder")
    assert found
    return getattr(details(found), "renderer", "") == "coder"


STORED = [
    Fact(
        "show tells a model's renderer and parser",
        shows_its_renderer,
        True,
        Differs(False, PAGE, "a model's own `renderer` and `parser`"),
    ),
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
