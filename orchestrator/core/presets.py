"""Every provider that is known by name: the protocol it speaks, its address, and what has to be set for it.

Hardly anything else is loaded for this table, which settings read too. A new provider of a known protocol is one more
line.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from orchestrator.core.addresses import leads_to


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A provider known by name, before anything is set for it. Its models are `name/…`."""

    name: str
    title: str
    wire: str  # a key of `engines.wires.WIRES`
    address: str = ""  # empty where there is no usual one
    key_variables: tuple[str, ...]  # environment variables; the first that is set counts
    address_variable: str
    is_paid: bool = True

    @property
    def key_from(self) -> str:
        """Where its key is set."""
        return self.key_variables[0]

    @property
    def address_from(self) -> str:
        """Where its address is set."""
        return self.address_variable

    @property
    def needs(self) -> str:
        """The variable without which it is off."""
        return self.key_variables[0] if self.address else self.address_variable


def _compatible(name: str, title: str, address: str, wire: str = "openai") -> Preset:
    """A provider whose variables are called as it is."""
    variables = name.upper()
    return Preset(
        name=name,
        title=title,
        wire=wire,
        address=address,
        key_variables=(f"{variables}_API_KEY",),
        address_variable=f"{variables}_BASE_URL",
    )


OPENAI = _compatible("openai", "OpenAI", "https://api.openai.com/v1")
PRESETS = (
    OPENAI,
    _compatible("anthropic", "Anthropic", "https://api.anthropic.com", "anthropic"),
    Preset(
        name="gemini",
        title="Google Gemini",
        wire="gemini",
        address="https://generativelanguage.googleapis.com",
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        address_variable="GEMINI_BASE_URL",
    ),
    _compatible("openrouter", "OpenRouter", "https://openrouter.ai/api/v1", "openrouter"),
    _compatible("groq", "Groq", "https://api.groq.com/openai/v1"),
    _compatible("together", "Together", "https://api.together.xyz/v1"),
    _compatible("mistral", "Mistral", "https://api.mistral.ai/v1", "mistral"),
    _compatible("deepseek", "DeepSeek", "https://api.deepseek.com", "deepseek"),
    Preset(
        name="ollama",
        title="an Ollama on another machine",
        wire="ollama",
        key_variables=("OLLAMA_REMOTE_KEY",),
        address_variable="OLLAMA_REMOTE_URL",
        is_paid=False,
    ),
)
COMPATIBLE = Preset(
    name="compatible",
    title="an OpenAI-compatible server (vLLM, llama-server, LM Studio …)",
    wire="openai",
    key_variables=(),
    address_variable="",
    is_paid=False,
)
KINDS = {preset.name: preset for preset in (*PRESETS, COMPATIBLE)}
BY_NAME = {provider.name: provider for provider in PRESETS}


def of_model(name: str) -> Preset | None:
    """The provider whose model `name` would be, set up or not."""
    prefix, separator, _ = name.partition("/")
    return BY_NAME.get(prefix.lower()) if separator else None


def is_at(address: str, host: str, port: int) -> bool:
    """Whether a provider's address is the one we listen on: it would ask in circles."""
    url = urlsplit(address)
    return (url.port or {"http": 80, "https": 443}.get(url.scheme)) == port and leads_to(url.hostname or "", host)
