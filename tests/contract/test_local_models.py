"""Facts that only a local model shows: templates, the middle, stop strings, counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.contract.facts import PROMPT, Fact, Scene
from tests.product import Product

REAL = {"model": "smollm2:135m", "options": {"temperature": 0, "num_predict": 8}, "stream": False}
QUESTION = {"model": "smollm2:135m", "max_tokens": 12, "temperature": 0}
QUESTION |= {"messages": [{"role": "user", "content": "Count: one, two, three, four, five"}]}


async def status_with_insert(scene: Scene, path: str) -> tuple[int, str]:
    """How a question with a suffix ends at a model that can insert."""
    scene.engine.model = replace(scene.engine.model, capabilities=frozenset({"completion", "insert"}))
    response = await scene.client.post(path, json=PROMPT | {"suffix": "after", "stream": False})
    value = response.json()
    return response.status_code, value.get("response") or (value.get("choices") or [{}])[0].get("text", "")


IN_PROCESS = [
    Fact(
        "a suffix is for models that insert, which take it",
        lambda scene: status_with_insert(scene, "/api/generate"),
        (200, "four"),
    ),
    Fact(
        "so is OpenAI's",
        lambda scene: status_with_insert(scene, "/v1/completions"),
        (200, "four"),
    ),
]


@pytest.mark.parametrize("fact", IN_PROCESS, ids=str)
async def test_who_can_insert_does(fact: Fact, scene: Scene) -> None:
    await fact.check(scene)


def post(product: Product, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    response = httpx.post(product.base_url + path, json=body, timeout=60)
    return response.status_code, response.json()


def with_a_template(product: Product) -> tuple[int, bool]:
    """Whether a template that is the bare prompt makes it a raw one."""
    raw = post(product, "/api/generate", REAL | {"prompt": "The sky is", "raw": True})[1]
    status, value = post(product, "/api/generate", REAL | {"prompt": "The sky is", "template": "{{ .Prompt }}"})
    return status, value.get("response") == raw["response"]


def rendered(path: str, **question: Any) -> Any:
    """A look at the prompt as the model would get it, and whether it was asked all the same."""

    def look(product: Product) -> tuple[bool, bool]:
        _, value = post(product, path, REAL | {"_debug_render_only": True} | question)
        text = value.get("_debug_info", {}).get("rendered_template", "")
        return "<|im_start|>user\nhello<|im_end|>" in text, "eval_count" in value

    return look


def stopped(product: Product) -> tuple[str, bool]:
    """Why an answer ends that meets a stop string, and whether that is named."""
    _, whole = post(product, "/v1/messages", QUESTION)
    text = whole["content"][0]["text"]
    stop = text[len(text) // 2 :][:3]
    _, value = post(product, "/v1/messages", QUESTION | {"stop_sequences": ["no such text", stop]})
    assert value["content"][0]["text"] == text[: text.index(stop)]
    return value["stop_reason"], value.get("stop_sequence") == stop


def counted(product: Product) -> bool:
    """Whether tokens are counted beforehand as they are counted in the answer."""
    question = {name: QUESTION[name] for name in ("model", "messages")}
    answered = post(product, "/v1/messages", QUESTION)[1]["usage"]["input_tokens"]  # and the model is loaded
    return bool(post(product, "/v1/messages/count_tokens", question)[1]["input_tokens"] == answered)


RUNNING = [
    Fact(
        "a template in the request takes the place of the model's",
        with_a_template,
        (200, True),
    ),
    Fact(
        "a prompt can be looked at without an answer",
        rendered("/api/generate", prompt="hello"),
        (True, False),
    ),
    Fact(
        "so can a conversation",
        rendered("/api/chat", messages=[{"role": "user", "content": "hello"}]),
        (True, False),
    ),
    Fact(
        "an answer that meets a stop string says so",
        stopped,
        ("stop_sequence", True),
    ),
    Fact(
        "tokens are counted beforehand as they are counted in the answer",
        counted,
        True,
    ),
]


@pytest.mark.parametrize("fact", RUNNING, ids=str)
async def test_a_local_model_does_what_ollamas_does(fact: Fact, product: Product) -> None:
    await fact.check(product)
