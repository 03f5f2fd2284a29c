"""How providers are spoken to: one file a protocol."""

from collections.abc import Callable
from urllib.parse import urlsplit

from orchestrator.engines.wires.anthropic import Anthropic
from orchestrator.engines.wires.base import Wire
from orchestrator.engines.wires.gemini import Gemini
from orchestrator.engines.wires.ollama import Ollama
from orchestrator.engines.wires.openai import Mistral, OpenAI
from orchestrator.engines.wires.openai_itself import OpenAIItself
from orchestrator.engines.wires.openrouter import OpenRouter

WIRES: dict[str, Callable[[], Wire]] = {
    "openai": OpenAI,
    "mistral": Mistral,
    "openrouter": OpenRouter,
    "anthropic": Anthropic,
    "gemini": Gemini,
    "ollama": Ollama,
}
ITSELF = "api.openai.com"  # with others in front for regions


def wire_at(name: str, address: str) -> Wire:
    """The protocol called `name`, in the form that is spoken at `address`."""
    host = urlsplit(address).hostname or ""
    is_itself = name == "openai" and (host == ITSELF or host.endswith(f".{ITSELF}"))
    return OpenAIItself() if is_itself else WIRES[name]()
