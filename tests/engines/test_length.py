"""A refusal for a question that is too long is told apart, whatever words a provider has for it."""

from __future__ import annotations

import orjson
import pytest

from orchestrator.core.errors import ContextTooLong
from orchestrator.engines.wires import WIRES

# Wire, and the body of a refusal as it was seen of that provider or server.
TOO_LONG = {
    "OpenAI": ("openai", {"message": "It has 300000 tokens.", "code": "context_length_exceeded"}),
    "OpenAI, of late": ("openai", {"message": "Input tokens exceed the configured limit of 272000 tokens."}),
    "OpenAI's responses": ("openai", {"message": "Your input exceeds the context window of this model."}),
    "DeepSeek": ("openai", {"message": "This model's maximum context length is 65536 tokens. However, you …"}),
    "OpenRouter": ("openai", {"message": "This endpoint's maximum context length is 131072 tokens. However …"}),
    "Groq": ("openai", {"message": "Please reduce the length of the messages or completion."}),
    "Together": ("openai", {"message": "`inputs` tokens + `max_new_tokens` must be <= 4097."}),
    "Moonshot": ("openai", {"message": "Your request exceeded model token limit: 262144"}),
    "xAI": ("openai", {"message": "This model's maximum prompt length is 131072 but the request contains 190000"}),
    "Mistral": (
        "mistral",
        {"message": "Prompt contains 40000 tokens …, too large for model with 32768 maximum context length"},
    ),
    "vLLM": ("openai", {"message": "However, the model's context length is only 4096 tokens, resulting in …"}),
    "vLLM, for prompts": ("openai", {"message": "The decoder prompt is longer than the maximum model length of 4096."}),
    "llama-server": (
        "openai",
        {"code": 400, "message": "request (5000 tokens) exceeds the available context size (4096 tokens)"},
    ),
    "llama-server, by its kind": ("openai", {"message": "no", "type": "exceed_context_size_error"}),
    "LM Studio": ("openai", "The number of tokens to keep from the initial prompt is greater than the context length."),
    "Anthropic": (
        "anthropic",
        {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"},
    ),
    "Anthropic, with room for the answer": (
        "anthropic",
        {"type": "invalid_request_error", "message": "input length and `max_tokens` exceed context limit: 190000 + …"},
    ),
    "Gemini": (
        "gemini",
        {"message": "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)."},
    ),
    "Gemini, older": ("gemini", {"message": "The input token count exceeds the maximum number of tokens allowed."}),
    "Ollama, once it has begun": ("ollama", "prompt too long; exceeded max context length by 4 tokens"),
    "SGLang": ("openai", {"message": "Input (5000 tokens) is longer than the model's context length (4096 tokens)."}),
    "Ollama": ("ollama", "the input length exceeds the context length"),
}
OTHERS = {
    "another field": ("openai", {"message": "Unknown parameter: 'context'", "code": "unknown_parameter"}),
    "an answer's cap": ("openai", {"message": "max_tokens is too large: 200000. This model supports 16384."}),
    "roles": ("anthropic", {"type": "invalid_request_error", "message": "messages: roles must alternate"}),
    "a schema": ("gemini", {"message": "Invalid JSON payload received. Unknown name", "status": "INVALID_ARGUMENT"}),
    "a picture": ("ollama", "image is too long to be one"),
}


@pytest.mark.parametrize(("wire", "error"), TOO_LONG.values(), ids=TOO_LONG)
def test_words_for_too_long_are_known(wire: str, error: object) -> None:
    assert WIRES[wire]().said(orjson.dumps({"error": error})).is_about_length


@pytest.mark.parametrize(("wire", "error"), OTHERS.values(), ids=OTHERS)
def test_other_words_are_not_taken_for_them(wire: str, error: object) -> None:
    said = WIRES[wire]().said(orjson.dumps({"error": error}))
    assert said.words
    assert not said.is_about_length


@pytest.mark.parametrize("wire", WIRES)
def test_they_are_known_outside_of_any_shape(wire: str) -> None:
    assert WIRES[wire]().said(b"This model's maximum context length is 4096 tokens.").is_about_length


@pytest.mark.parametrize(
    "body",
    [
        b'event: error\ndata: {"error": {"message": "What is kept is greater than the context length."}}\n\n',
        b'data: {"error": {"code": 400, "message": "no", "type": "exceed_context_size_error", "n_ctx": 4096}}\n\n',
        b'data: {"object": "error", "message": "However, the model\'s context length is only 4096 tokens."}\n\n',
    ],
    ids=["LM Studio", "llama-server", "vLLM"],
)
def test_who_finds_out_when_the_answer_has_begun_says_the_same(body: bytes) -> None:
    answer = WIRES["openai"]().answer()
    assert answer.read(body.split(b"\n")) == []
    assert isinstance(answer.trouble, ContextTooLong)


def test_an_error_without_a_wrapping_is_read() -> None:
    body = {"object": "error", "message": "This model's maximum context length is 4096 tokens.", "code": 400}
    said = WIRES["openai"]().said(orjson.dumps(body))
    assert (said.words, said.is_about_length) == (body["message"], True)
