"""What a stored model can do, as its file and its template say."""

from __future__ import annotations

from orchestrator.modelhost.gguf import Header
from orchestrator.modelhost.go_chat import GoChat
from orchestrator.modelhost.reply import thinking_in


def capabilities(header: Header, form: GoChat | None) -> frozenset[str]:
    """In Ollama's words; `form` makes the prompts, or else the Jinja in the file."""
    if header.is_embedding_only:
        return frozenset({"embedding"})
    found = {"completion"}
    if form:
        has_tools, has_thinking, can_fill_in = form.takes_tools, form.takes_thinking, form.takes_suffix
    else:
        template = header.chat_template
        has_tools, can_fill_in = "tools" in template, False
        has_thinking = bool("enable_thinking" in template or thinking_in(template))
    if has_tools:
        found.add("tools")
    if has_thinking:
        found.add("thinking")
    if can_fill_in or header.can_fill_in:
        found.add("insert")
    return frozenset(found)


def is_dated(header: Header, form: GoChat | None) -> bool:
    """Whether the model may be told what day it is, so that the same question is another one tomorrow."""
    return form.is_dated if form else "strftime_now" in header.chat_template
