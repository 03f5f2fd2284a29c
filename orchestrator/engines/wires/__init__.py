"""How providers are spoken to: one file a protocol."""

from collections.abc import Callable
from urllib.parse import urlsplit

from orchestrator.engines.wires.anthropic import Anthropic
from orchestrator.engines.wires.base import Wire
from orchestrator.engines.wires.deepseek import DeepSeek
from orchestrator.engines.wires.gemini import Gemini
from orchestrator.engines.wires.groq import Groq
from orchestrator.engines.wires.ollama import Ollama
from orchestrator.engines.wires.openai import Mistral, OpenAI
from orchestrator.engines.wires.openai_itself import OpenAIItself
from orchestrator.engines.wires.openrouter import OpenRouter

WIRES: dict[str, Callable[[], Wire]] = {
    "openai": OpenAI,
    "mistral": Mistral,
    "deepseek": DeepSeek,
    "openrouter": OpenRouter,
    "anthropic": Anthropic,
    "gemini": Gemini,
    "ollama": Ollama,
}
# Who speaks OpenAI's protocol in a form of their own, whatever the provider is called here.
FORMS: dict[str, Callable[[], Wire]] = {
    "api.openai.com": OpenAIItself,
    "api.deepseek.com": DeepSeek,
    "api.groq.com": Groq,
}


def wire_at(name: str, address: str) -> Wire:
    """The protocol called `name`, in the form spoken at `address`; regions have a word before the host."""
    host = urlsplit(address).hostname or ""
    forms = (form for known, form in FORMS.items() if host == known or host.endswith(f".{known}"))
    return next(forms, WIRES[name])() if name == "openai" else WIRES[name]()
