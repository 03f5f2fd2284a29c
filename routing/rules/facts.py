"""What rules may ask of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

Kind = Literal["name", "words", "flag", "number", "text", "time"]
Format = Literal["text", "json", "schema"]


MOST_TEXT, MOST_CONVERSATION = 8_000, 64_000  # characters of either that are read


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that can be asked: what it is called, how it is compared, and what it means."""

    kind: Kind
    label: str
    meaning: str
    is_analysed: bool = False  # it takes a look at the text: see `routing.analysis`


FACTS: dict[str, Fact] = {
    "model": Fact("name", "model asked", "by its own name, without :latest, however the caller wrote it"),
    "dialect": Fact("name", "dialect", "ollama, openai or anthropic"),
    "endpoint": Fact("name", "endpoint", "the path, as /v1/chat/completions"),
    "tenant": Fact("name", "tenant", "whose key it is"),
    "team": Fact("name", "team", "of the key; empty where it has none"),
    "key": Fact("name", "key", "by its name; empty where none was shown"),
    "tags": Fact("words", "tags", "of the key and of the request"),
    "tools": Fact("flag", "tools", "functions are offered to the model"),
    "images": Fact("flag", "images", "there is one at least"),
    "stream": Fact("flag", "streamed", "the answer is wanted as it is made"),
    "thinking": Fact("flag", "thinking", "the model is asked to think first"),
    "embedding": Fact("flag", "embedding", "vectors are wanted, no text"),
    "format": Fact("name", "format", "text, json or schema"),
    "tokens": Fact("number", "tokens", "of the whole question, estimated"),
    "turns": Fact("number", "turns", "messages of the conversation"),
    "cap": Fact("number", "answer's cap", "most tokens of the answer, as the caller said; 0 where they did not"),
    "temperature": Fact("number", "temperature", "as the caller said; 1 where they did not"),
    "budget_left": Fact("number", "budget left", "share of the budget that has least left, 0 to 1; 1 without a budget"),
    "time": Fact("time", "time", "days of the week and hours, in a zone"),
    "conversation": Fact(
        "text", "conversation", "words anywhere in what is sent: each turn, instructions, tools' results"
    ),
    "text": Fact("text", "text", "words in what was said last, and in no earlier turn"),
    "language": Fact("name", "language", "of the text, as ISO 639-1: en, de", is_analysed=True),
    "task": Fact("name", "task", "chat, writing, summary, translation, code …", is_analysed=True),
    "complexity": Fact("number", "complexity", "0 to 1, of everything below together", is_analysed=True),
    "reasoning": Fact("number", "reasoning", "0 to 1", is_analysed=True),
    "knowledge": Fact("number", "knowledge", "0 to 1", is_analysed=True),
    "constraints": Fact("number", "constraints", "0 to 1", is_analysed=True),
    "creativity": Fact("number", "creativity", "0 to 1", is_analysed=True),
    "context": Fact("number", "context", "0 to 1", is_analysed=True),
    "code_maths": Fact("number", "code and maths", "0 to 1", is_analysed=True),
}


TEXTS = frozenset(name for name, fact in FACTS.items() if fact.kind == "text")
ANALYSIS = "analysis"  # of the text: what `untold` has for all facts of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A request, as rules see it. Each field answers the fact of the same name.

    model   that was asked for, by its own name: what means the same model is the same.
    aliases other names of it that the registry has, as far as rules name them.
    places_of  names of the registered models that it is a place of, as far as rules name them: a rule about one of
            those that keeps something from somebody is about it, too.
    at      seconds since the epoch.
    text    what was said last, the first and last characters of it where it is long; None: it was not kept, and what
            a rule heard in it is told by `heard` (see `Verdict.heard`).
    conversation  everything that is said, the first and last characters of it where it is long; None: no rule asks for
            it, or it was not kept.
    is_cut  the conversation is longer than that, or has parts that nobody here can read.
    sticky  of the conversation: the same word, the same arm of a split.
    request of the request alone, for a split by requests.
    scores  complexity and the six dimensions by name, where somebody looked at the text.
    untold  what nobody looked up, for no rule asked for it: `budget_left`, or `analysis` for all that it tells.
    """

    model: str = ""
    dialect: str = "ollama"
    endpoint: str = ""
    tenant: str = ""
    team: str = ""
    key: str = ""
    tags: frozenset[str] = frozenset()
    tools: bool = False
    images: bool = False
    stream: bool = False
    thinking: bool = False
    embedding: bool = False
    format: Format = "text"
    tokens: int = 0
    turns: int = 1
    cap: int = 0
    temperature: float = 1.0
    budget_left: float = 1.0
    at: float = 0.0
    text: str | None = ""
    conversation: str | None = None
    is_cut: bool = False
    language: str = ""
    task: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    sticky: str = ""
    request: str = ""
    aliases: tuple[str, ...] = ()
    places_of: tuple[str, ...] = ()
    untold: frozenset[str] = frozenset()

    def is_told(self, fact: str) -> bool:
        """Whether somebody looked it up, whatever came of that."""
        return not self.untold or (ANALYSIS if FACTS[fact].is_analysed else fact) not in self.untold

    def to_json(self, *, with_text: bool = False) -> dict[str, Any]:
        """As JSON, without what goes without saying; and without the text, unless it may be kept."""
        said: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            usual = one.default_factory() if one.default_factory is not MISSING else one.default
            if value != usual:
                said[one.name] = sorted(value) if isinstance(value, frozenset) else value
        if not with_text:
            said["text"] = None
            said.pop("conversation", None)
        return said

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Facts:
        """What `to_json` said. What another release said besides is passed over."""
        known = {one.name for one in fields(cls)}
        values = {name: value for name, value in said.items() if name in known}
        for name in values.keys() & {"tags", "untold"}:
            values[name] = frozenset(values[name])
        for name in values.keys() & {"aliases", "places_of"}:
            values[name] = tuple(values[name])
        return cls(**values)
