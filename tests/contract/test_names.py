"""Names of models: what is one, what it means, and how it is said again."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from orchestrator.modelhost.names import Name, is_name
from tests.contract.facts import HELLO, PROMPT
from tests.fakes import FakeEngine
from tests.product import Product

PARTS = ("host", "namespace", "model", "tag")
CLOUD_OFF = "ollama cloud is disabled: remote model is unavailable"
CHAT, GENERATE, SHOW = "/api/chat", "/api/generate", "/api/show"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("m", ("registry.ollama.ai", "library", "m", "latest")),
        ("m:t", ("registry.ollama.ai", "library", "m", "t")),
        ("n/m", ("registry.ollama.ai", "n", "m", "latest")),
        ("h/n/m:t", ("h", "n", "m", "t")),
        ("h:5000/n/m", ("h:5000", "n", "m", "latest")),
        ("https://h/n/m:t", ("h", "n", "m", "t")),
        ("hf.co/user/repo:Q4_K_M", ("hf.co", "user", "repo", "Q4_K_M")),
        ("_m.1-x:_t.2-y", ("registry.ollama.ai", "library", "_m.1-x", "_t.2-y")),
    ],
)
def test_a_name_has_four_parts_of_which_three_have_defaults(text: str, parts: tuple[str, ...]) -> None:
    name = Name.parse(text)
    assert tuple(getattr(name, part) for part in PARTS) == parts


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("h" * 350 + "/n/m", True),
        ("h" * 351 + "/n/m", False),
        ("n" * 80 + "/m", True),
        ("n" * 81 + "/m", False),
        ("m" * 80, True),
        ("m" * 81, False),
        ("m:" + "t" * 80, True),
        ("m:" + "t" * 81, False),
        ("-m", False),
        (".m", False),
        ("m:-t", False),
        ("n.s/m", False),
        ("n-s/m", True),
        ("m@sha256:0", False),
        ("m:t@sha256:0", False),
        ("m:", False),
        ("", False),
        ("a b", False),
    ],
)
def test_the_length_and_the_characters_of_each_part_are_bounded(text: str, is_one: bool) -> None:
    assert is_name(text) is is_one


@pytest.mark.parametrize("asked", ["tiny", "tiny:latest", "TINY", "Tiny:LATEST"])
@pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, HELLO), (GENERATE, PROMPT), ("/v1/chat/completions", HELLO), ("/v1/messages", HELLO | {"max_tokens": 5})],
)
async def test_a_model_is_found_in_any_case_with_or_without_latest_and_called_as_it_was_asked_for(
    client: httpx.AsyncClient, engine: FakeEngine, path: str, body: dict[str, Any], asked: str
) -> None:
    response = await client.post(path, json=body | {"model": asked, "stream": False})
    assert (response.status_code, response.json()["model"]) == (200, asked)
    assert response.headers["X-Orchestrator-Model"] == "tiny:latest"


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("m", "m:latest"),
        ("registry.ollama.ai/library/m:t", "m:t"),
        ("registry.ollama.ai/alice/m", "alice/m:latest"),
        ("hf.co/user/repo:Q4", "hf.co/user/repo:Q4"),
        ("HF.co/User/Repo", "HF.co/User/Repo:latest"),
    ],
)
def test_lists_show_the_tag_and_drop_the_usual_host_and_namespace(text: str, listed: str) -> None:
    assert str(Name.parse(text)) == listed


@pytest.mark.parametrize("asked", ["gpt-oss:cloud", "gpt-oss:120b-cloud", "gpt-oss:CLOUD"])
@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (CHAT, HELLO, CLOUD_OFF),
        (GENERATE, PROMPT, CLOUD_OFF),
        (SHOW, {}, "ollama cloud is disabled: remote model details are unavailable"),
    ],
)
async def test_a_model_of_ollama_com_is_refused_as_by_a_server_whose_cloud_is_off(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], said: str, asked: str
) -> None:
    response = await client.post(path, json=body | {"model": asked})
    assert (response.status_code, response.json()) == (403, {"error": said})


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_the_other_dialects_refuse_it_in_their_shape(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, json=HELLO | {"model": "gpt-oss:cloud", "max_tokens": 5})
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["message"]) == (403, "permission_error", CLOUD_OFF)


@pytest.mark.parametrize("asked", ["tiny:local", "tiny:latest:local", "TINY:LOCAL"])
async def test_local_at_the_end_of_a_name_asks_for_the_model_of_this_machine(
    client: httpx.AsyncClient, asked: str
) -> None:
    response = await client.post(CHAT, json=HELLO | {"model": asked, "stream": False})
    assert (response.status_code, response.json()["model"]) == (200, asked)
    assert response.headers["X-Orchestrator-Model"] == "tiny:latest"
    assert (await client.post(SHOW, json={"model": "openai/big:local"})).status_code == 404


@pytest.mark.parametrize("asked", ["m:cloud:local", "m:local:cloud", "m:1b-cloud:local", "m:cloud:cloud"])
@pytest.mark.parametrize(("path", "body"), [(CHAT, HELLO), (GENERATE, PROMPT), (SHOW, {})])
async def test_local_and_cloud_at_once_is_neither(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], asked: str
) -> None:
    response = await client.post(path, json=body | {"model": asked})
    said = f'use either :local or :cloud, not both: "{asked}"'
    assert (response.status_code, response.json()) == (400, {"error": said})


@pytest.mark.parametrize("asked", ["smollm2:135m", "SmolLM2:135M", "smollm2:135m:local", "library/smollm2:135m"])
def test_a_real_model_is_found_under_each_of_its_names(product: Product, asked: str) -> None:
    body = {"model": asked, "prompt": "hello", "stream": False, "options": {"num_predict": 1, "temperature": 0}}
    response = httpx.post(product.base_url + GENERATE, json=body, timeout=60)
    assert (response.status_code, response.json()["model"]) == (200, asked)
    assert response.headers["X-Orchestrator-Model"] == "smollm2:135m"
