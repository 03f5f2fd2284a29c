"""How providers say that a question is too long for a model: no two in the same words, and few by a code."""

from __future__ import annotations

import re

_SAY_SO = re.compile(
    r"context[_ ](?:length|window|size)[_ ]exceeded|exceed_context_size"  # as codes; the second is llama-server's
    r"|maximum (?:context|model|prompt) length"  # OpenAI, DeepSeek, OpenRouter, vLLM, Mistral; xAI
    r"|context length is only"  # vLLM, LM Studio
    r"|exceeds? (?:the |this |its )?(?:model'?s? |available |maximum |max )*context"  # OpenAI, llama-server, Ollama
    r"|exceed the configured limit"  # OpenAI: input tokens
    r"|(?:prompt|input)(?: is)? too long"  # Anthropic, Bedrock, Ollama
    r"|exceed context limit"  # Anthropic: the question and the room for its answer
    r"|input token count.{0,40}exceeds|exceeds the maximum number of tokens"  # Gemini
    r"|(?:greater|longer) than the (?:model's )?context length"  # LM Studio, SGLang
    r"|reduce the length of the (?:messages|prompt|input)"  # Groq
    r"|`inputs` tokens \+ `max_new_tokens` must be"  # Together
    r"|exceeded model token limit",  # Moonshot
    re.IGNORECASE,
)


def is_about_length(*words: object) -> bool:
    """Whether a refusal says so, in its words, its code or its kind."""
    return any(isinstance(said, str) and _SAY_SO.search(said) for said in words)
