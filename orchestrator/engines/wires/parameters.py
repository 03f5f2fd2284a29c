"""How providers say that they do not take a parameter, or not with this model: another may, as no two take the same."""

from __future__ import annotations

import re

NOT_TAKEN = {"unsupported_parameter", "unsupported_value", "unknown_parameter"}
# The content of a question, that is: whoever else is asked has the same to say of it.
CONTENT_REFUSED = {"content_filter", "content_policy_violation", "invalid_prompt", "moderation_blocked"}
_IS_CONTENT = re.compile(r"(?:messages|prompt|input)\b")
_SAY_SO = re.compile(
    r"unsupported (?:parameter|value)"  # OpenAI
    r"|(?:unknown|unrecognized) (?:request )?(?:parameter|argument|field|name)"  # OpenAI, of old as well; Gemini
    r"|extra (?:inputs|fields)(?: are)? not permitted"  # Anthropic, Mistral, vLLM
    r"|(?:with|by|for|on) this model\b"  # OpenAI, Anthropic, Groq, Gemini, xAI: supported, deprecated, specified
    r"|property '[^']*' is unsupported"  # Groq
    r"|(?:is|are|argument) not supported\b"
    r"|does not support\b"  # Ollama, DeepSeek, xAI, Anthropic
    r"|not enabled for\b"  # Gemini
    r"|maximum allowed number of output tokens"  # Anthropic
    r"|only supported by certain models",  # OpenAI, of pictures
    re.IGNORECASE,
)


def is_about_parameter(words: str, param: object, *codes: object) -> bool:
    """Whether a refusal (HTTP 400 or 422) is of a parameter, by its code, the `param` that it names, or its words."""
    known = {code for code in codes if isinstance(code, str)}
    if known & CONTENT_REFUSED:
        return False
    is_named = isinstance(param, str) and param != "" and not _IS_CONTENT.match(param)
    return is_named or bool(known & NOT_TAKEN) or bool(_SAY_SO.search(words))
