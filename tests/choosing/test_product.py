"""Rules and the router in the product as people run it, in three dialects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.product import Product, registry_kept, until
from tests.speeches import GOOD

TURNS = [{"role": "user", "content": "What is the capital of France?"}]
# Three dialects: the path, what else a body has, where an answer and an error are.
DIALECTS: dict[str, tuple[str, dict[str, Any], Any, Any]] = {
    "ollama": (
        "/api/chat",
        {"stream": False, "options": {"num_predict": 3}},
        lambda said: said["message"]["content"],
        lambda said: said["error"],
    ),
    "openai": (
        "/v1/chat/completions",
        {"max_tokens": 3},
        lambda said: said["choices"][0]["message"]["content"],
        lambda said: said["error"]["message"],
    ),
    "anthropic": (
        "/v1/messages",
        {"max_tokens": 3},
        lambda said: said["content"][0]["text"],
        lambda said: said["error"]["message"],
    ),
}
RULES = [
    {
        "name": "closed",
        "when": [{"fact": "tags", "op": "has", "value": ["choosing-closed"]}],
        "then": {"forbid": "Not today."},
    },
    {
        "name": "elsewhere",
        "when": [{"fact": "tags", "op": "has", "value": ["choosing-elsewhere"]}],
        "then": {"use": ["nobody/there", "openai/good"]},
    },
    {
        "name": "left to us",
        "when": [{"fact": "tags", "op": "has", "value": ["choosing-auto"]}],
        "then": {"use": ["auto"], "local_only": True},
    },
]


@pytest.fixture(scope="module")
def client(product: Product, admin_key: str) -> Iterator[httpx.Client]:
    """Who may manage, while the rules hold."""
    headers = {"Authorization": f"Bearer {admin_key}"}
    with (
        registry_kept(product, admin_key),
        httpx.Client(base_url=product.base_url, headers=headers, timeout=60) as client,
    ):
        routing = "/api/admin/v1/routing"
        client.put(f"{routing}/draft", json={"rules": RULES}).raise_for_status()
        client.post(f"{routing}/publish").raise_for_status()
        yield client


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_rules_say_is_done_in_every_dialect(client: httpx.Client, dialect: str) -> None:
    path, more, text_of, error_of = DIALECTS[dialect]
    body = {"model": "smollm2:135m", "messages": TURNS} | more
    closed = client.post(path, json=body, headers={"X-Orchestrator-Tags": "choosing-closed"})
    assert (closed.status_code, error_of(closed.json())) == (403, 'Forbidden by rule "closed": Not today.')
    elsewhere = client.post(path, json=body, headers={"X-Orchestrator-Tags": "choosing-elsewhere"})
    assert text_of(elsewhere.raise_for_status().json()) == "".join(GOOD)
    assert elsewhere.headers["X-Orchestrator-Model"] == "openai/good"
    assert elsewhere.headers["X-Orchestrator-Route"] == 'rule "elsewhere"'


def test_a_choice_is_explained_with_what_the_question_means(client: httpx.Client) -> None:
    """The model for vectors is loaded beside the first question; a later one has its vector."""
    trial = {"text": "What is 2 + 2?", "tags": ["choosing-auto"]}

    def has_its_vector() -> bool:
        told = client.post("/api/admin/v1/decide", json=trial).raise_for_status().json()
        assert told["model"] == "smollm2:135m"
        return not told["notes"]

    until(has_its_vector, "a question has its vector", within_s=60)
    path, more, text_of, _ = DIALECTS["openai"]
    headers = {"X-Orchestrator-Tags": "choosing-auto", "X-Request-Id": "choosing-1"}
    answer = client.post(path, json={"model": "openai/good", "messages": TURNS} | more, headers=headers)
    assert text_of(answer.raise_for_status().json())
    assert answer.headers["X-Orchestrator-Model"] == "smollm2:135m"
    assert answer.headers["X-Orchestrator-Route"].startswith('rule "left to us": ')
    told = until(lambda: decision_of(client, "choosing-1"), "the decision is written")
    assert told["replay"] == {"rules": {"is_same": True}, "decision": {"is_same": True}}
    assert (told["facts"]["tags"], told["notes"]) == (["choosing-auto"], [])
    assert told["decision"]["candidates"][0]["name"] == "smollm2:135m"


def decision_of(client: httpx.Client, request_id: str) -> dict[str, Any] | None:
    with suppress(httpx.HTTPStatusError):
        told: dict[str, Any] = client.get(f"/api/admin/v1/decisions/{request_id}").raise_for_status().json()
        return told
    return None
