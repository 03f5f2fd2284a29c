"""How providers are spoken to: one file a protocol."""

from collections.abc import Callable

from orchestrator.engines.wires.anthropic import Anthropic
from orchestrator.engines.wires.base import Wire
from orchestrator.engines.wires.gemini import Gemini
from orchestrator.engines.wires.ollama import Ollama
from orchestrator.engines.wires.openai import Mistral, OpenAI

WIRES: dict[str, Callable[[], Wire]] = {
    "openai": OpenAI,
    "mistral": Mistral,
    "anthropic": Anthropic,
    "gemini": Gemini,
    "ollama": Ollama,
}
