"""What another Ollama is asked, and what is made of its answers and its list."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.api.options import READERS
from orchestrator.core.errors import EngineError
from orchestrator.core.types import ChatRequest, Message
from orchestrator.engines.wires.base import Offer
from orchestrator.engines.wires.ollama import Ollama
from tests.engines.exchange import CONVERSATION, JPEG, PNG, TOOL, asked, hello, read
from tests.speeches import OllamaSpeech


def test_a_conversation_is_sent_as_ollama_has_it() -> None:
    options = {"temperature": 0.5, "num_ctx": 9, "num_predict": -1}
    body = asked(
        Ollama(), tools=(TOOL,), options=options, format="json", think="high", logprobs=True, keep_alive_s=90.0
    )
    assert (body["options"], body["format"], body["think"], body["keep_alive"]) == (options, "json", "high", 90)
    assert (body["logprobs"], body["top_logprobs"], body["tools"]) == (True, 0, [TOOL])
    _, user, assistant, snow, sun, _ = body["messages"]
    assert user["images"] == [PNG, JPEG]
    assert assistant["thinking"] == "Hm."
    assert assistant["tool_calls"][0] == {"function": {"name": "weather", "arguments": {"city": "Rome"}}}
    assert (snow["tool_call_id"], sun["tool_name"]) == ("functions.weather:1", "weather")


def test_raw_text_and_token_ids_go_ollamas_other_way() -> None:
    raw = Ollama().chat(ChatRequest(model="x", prompt="Once", truncate=False, shift=False), Offer(name="m:latest"))
    assert raw.path == "api/generate"
    wanted = {"prompt": "Once", "raw": True, "truncate": False, "shift": False, "stream": True, "model": "m:latest"}
    assert raw.body == wanted
    on = asked(Ollama(), [Message(role="user", content="on")], context=(1, 2), keep_alive_s=-1.0)
    assert (on["prompt"], on["context"], on["keep_alive"]) == ("on", [1, 2], -1)
    assert (
        read(Ollama(), b'{"response":"a"}\n'.replace(b"}", b',"done":false}') + OllamaSpeech().answer()[-1]).text == "a"
    )


@pytest.mark.parametrize(
    ("keep_alive_s", "sent"), [(0.0, 0), (0.2, 1), (90.0, 90), (30 * 86400.0, 2_592_000), (1e300, 10**9), (-1.0, -1)]
)
def test_how_long_ollama_keeps_a_model_is_said_in_whole_seconds(keep_alive_s: float, sent: int) -> None:
    kept = hello(Ollama(), keep_alive_s=keep_alive_s)["keep_alive"]
    assert (kept, type(kept)) == (sent, int)


def _ended(**fields: Any) -> bytes:
    return json.dumps({"response": "a", "done": True} | fields).encode()


def test_an_answer_of_ollama_brings_the_token_ids_to_go_on_from() -> None:
    question = ChatRequest(model="x", messages=CONVERSATION[:2], endpoint="/api/generate")
    first = Ollama().chat(question, Offer(name="m:latest"))
    assert (first.path, "context" in first.body) == ("api/generate", False)
    assert "endpoint" in Ollama.takes  # so its answers to other ways are not served for this one
    assert (first.body["system"], first.body["prompt"]) == ("Be brief.", "How is it there?")
    assert first.body["images"] == [PNG, JPEG]
    assert read(Ollama(), _ended(context=[1, 2, 128_000])).done.context == (1, 2, 128_000)
    assert read(Ollama(), _ended(context=None)).done.context == ()
    for odd in (7, ["1"], [-1], [2**70], [True]):
        with pytest.raises(EngineError, match="unknown shape"):
            read(Ollama(), _ended(context=odd))


@pytest.mark.parametrize(
    ("said", "reason"),
    [({}, "stop"), ({"done_reason": None}, "stop"), ({"done_reason": ""}, "stop"), ({"done_reason": "stop"}, "stop")]
    + [({"done_reason": said}, said) for said in ("length", "load", "unload")],
)
def test_the_ends_that_ollama_knows(said: dict[str, Any], reason: str) -> None:
    assert read(Ollama(), _ended(**said)).done.reason == reason


def test_an_end_of_ollama_that_is_not_known_is_no_end() -> None:
    with pytest.raises(EngineError, match="something_new"):
        read(Ollama(), _ended(done_reason="something_new"))


def test_durations_of_ollama_are_its_own() -> None:
    usage = read(Ollama(), b"".join(OllamaSpeech().answer())).done.usage
    assert (usage.load_ns, usage.prompt_ns, usage.eval_ns) == (1, 3, 5)
    assert Ollama().canonical("a/llama3") == "a/llama3:latest"
    assert Ollama().canonical("host:80/a/llama3:8b") == "host:80/a/llama3:8b"


def test_two_gateways_that_know_each_other_do_not_list_each_other_without_end() -> None:
    names = ["llama3:8b", "ollama/llama3:8b", "Ollama/a/b", "auto:latest", "AUTO", "openai/gpt-5", "autonomous", ""]
    listing = {"models": [{"name": name} for name in (*names, "x" * 248, "x" * 249)]}
    offers = Ollama().offers(json.dumps(listing).encode())
    assert [offer.name for offer in offers] == ["llama3:8b", "openai/gpt-5", "autonomous", "x" * 248]


def test_ollama_takes_every_option_there_is() -> None:
    assert READERS.keys() <= Ollama().takes
    assert Ollama().takes_for_vectors <= Ollama().takes
