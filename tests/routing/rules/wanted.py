"""Documents of rules and requests for tests: short to write, and at random."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from routing.rules.checking import faults_in, read_document
from routing.rules.compiled import RuleSet, compile_rules
from routing.rules.document import Document
from routing.rules.facts import FACTS, Facts

NAMES = ("gpt-4o", "Llama3", "library/llama3:latest", "a[b]", "Straße")
WORDS = ("pii", "PII", "eu", "ops", "straße")
PHRASES = ("secret", "Geheim", "STRASSE", "a", "  b", "ß")
TEXTS = ("", "It is SECRET", "die Straße ist geheim", "  bab", "\ud800 half", "a" * 50)
EXPRESSIONS = (
    "tokens > 500",
    "'eu' in tags",
    "'eu' in tags && !tools",
    "tags.exists(t, t.startsWith('p'))",
    "text.contains('secret') || tokens < 3",
    "text.matches('(?i)geheim|secret')",
    "int(text) > 3",
    "conversation.contains('secret') && tokens < 600",
    "tags[0] == 'eu'",
    "tokens / turns > 100",
    "complexity > 0.5",
    "language == 'de' && text.size() > 3",
    "hour < 12 && weekday in ['mon', 'sat']",
    "time.getHours('Europe/Berlin') < 12",
    "budget_left < 0.1 || temperature > 1.0",
    "model.startsWith('gpt') && format != 'json'",
)


def document(*rules: dict[str, Any], **more: Any) -> Document:
    """A document without faults."""
    named = [{"name": f"rule {at}", **rule} for at, rule in enumerate(rules, 1)]
    made = read_document({"rules": named, **more})
    assert [str(fault) for fault in faults_in(made)] == []
    return made


def rule_set(*rules: dict[str, Any], version: int = 1) -> RuleSet:
    """Such a document, ready to be asked."""
    return compile_rules(document(*rules), version)


def when(fact: str, op: str, value: Any) -> dict[str, Any]:
    """A condition."""
    return {"fact": fact, "op": op, "value": value}


def _some(words: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(words), min_size=1, max_size=3)


def _condition(fact: str) -> st.SearchStrategy[dict[str, Any]]:
    kind = FACTS[fact].kind
    if kind == "flag":
        return st.builds(when, st.just(fact), st.just("is"), st.booleans())
    if kind == "number":
        number = st.sampled_from([0.0, 0.25, 0.5, 1.0, 4.0, 500.0])
        one = st.builds(when, st.just(fact), st.sampled_from(["at_least", "below"]), number)
        two = st.sampled_from([[0.0, 0.5], [0.25, 4.0], [1.0, 500.0]])
        return one | st.builds(when, st.just(fact), st.just("between"), two)
    if kind == "time":
        clock = st.sampled_from(["00:00", "06:30", "12:00", "22:15"])
        hours = st.fixed_dictionaries(
            {
                "days": st.lists(st.sampled_from(["mon", "wed", "sun"]), unique=True),
                "since": clock,
                "until": st.sampled_from(["05:00", "13:00", "24:00"]),
                "zone": st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
            }
        )
        return st.builds(when, st.just(fact), st.just("within"), hours)
    if kind == "words":
        return st.builds(when, st.just(fact), st.sampled_from(["has", "has_not"]), _some(WORDS))
    if kind == "text":
        return st.builds(when, st.just(fact), st.sampled_from(["contains", "contains_not"]), _some(PHRASES))
    known = {"dialect": ("ollama", "openai"), "format": ("text", "json"), "language": ("de", "en"), "task": ("code",)}
    values = _some((*known.get(fact, NAMES), "*", "*a*"))
    return st.builds(when, st.just(fact), st.sampled_from(["is", "is_not"]), values)


_by = st.sampled_from(["request", "conversation", "key", "tenant"])
_arms = [{"name": "a", "use": ["m1"]}, {"name": "b", "use": ["m2"], "weight": 3.0}]
_models = st.lists(st.sampled_from(("m1", "m2", "auto")), min_size=1, max_size=2, unique=True)
_who = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"use": _models}),
    st.fixed_dictionaries({"canary": st.fixed_dictionaries({"use": _models, "share": st.just(0.5), "by": _by})}),
    st.fixed_dictionaries({"split": st.fixed_dictionaries({"by": _by, "arms": st.just(_arms)})}),
)
_what = st.fixed_dictionaries(
    {},
    optional={
        "local_only": st.booleans(),
        "only": st.just(["gpt*", "m1"]) | st.just(["m*"]),
        "never": st.just(["m2"]) | st.just(["m2", "claude"]),
        "most_tokens": st.integers(1, 9),
        "most_cost": st.sampled_from(["0.01", "12"]),
        "aim": st.sampled_from([{"share": 0.5}, {"quality": 0.9}]),
        "cascade": st.booleans(),
        "context": st.sampled_from(["trim", "refuse"]),
        "cache": st.sampled_from([{"read": False}, {"write": False, "ttl_s": 60.0}]),
        "shadow": st.just({"model": "m3", "share": 0.1}),
        "is_last": st.sampled_from([False, False, True]),
    },
)
_then = st.builds(lambda who, what: {**who, **what}, _who, _what) | st.just({"forbid": "no"})
_any_fact = st.sampled_from(
    ["text"] * 8 + ["conversation"] * 6 + ["model", "tags"] * 4 + sorted(FACTS)
)  # some more often than others
_rules = st.fixed_dictionaries(
    {"then": _then},
    optional={
        "is_on": st.sampled_from([True, True, False]),
        "when": st.lists(_any_fact.flatmap(_condition), max_size=2),
        "expression": st.sampled_from(["", "", *EXPRESSIONS]),
    },
)
_indexed = st.sampled_from(["model", "tenant", "tags", "tools", "tokens"]).flatmap(_condition)
_plain_rules = st.fixed_dictionaries({"when": st.lists(_indexed, min_size=1, max_size=2)})
plain_documents = st.lists(_plain_rules, min_size=3, max_size=8).map(lambda rules: document(*rules))
documents = st.lists(_rules, max_size=8).map(lambda rules: document(*rules))
_score = st.floats(0, 1)
facts = st.builds(
    Facts,
    model=st.sampled_from((*NAMES, "")),
    dialect=st.sampled_from(["ollama", "openai", "anthropic"]),
    endpoint=st.sampled_from(["", "/api/chat"]),
    tenant=st.sampled_from(NAMES),
    team=st.sampled_from(["", *NAMES]),
    key=st.sampled_from(["", *NAMES]),
    tags=st.frozensets(st.sampled_from(WORDS), max_size=3),
    tools=st.booleans(),
    images=st.booleans(),
    stream=st.booleans(),
    thinking=st.booleans(),
    embedding=st.booleans(),
    format=st.sampled_from(["text", "json", "schema"]),
    tokens=st.sampled_from([0, 1, 500, 2**70]),
    turns=st.sampled_from([0, 1, 9]),
    cap=st.sampled_from([0, 100]),
    temperature=st.sampled_from([0.0, 1.0, 2.0]),
    budget_left=st.floats(0, 1),
    at=st.sampled_from([0.0, 1.7e9, 1.7e9 + 40_000, 1.7e9 + 4 * 86_400.5, -1e18, 1e30]),
    text=st.sampled_from(TEXTS),
    conversation=st.sampled_from([None, *TEXTS]),
    is_cut=st.booleans(),
    language=st.sampled_from(["", "de", "en", "und"]),
    task=st.sampled_from(["", "code"]),
    scores=st.just({}) | st.fixed_dictionaries({"complexity": _score, "reasoning": _score}),
    sticky=st.sampled_from(["", "one", "two", "three"]),
    request=st.sampled_from(["", "1", "2"]),
    aliases=st.sampled_from([(), (), ("Llama3",), ("Straße", "a[b]:latest")]),
    places_of=st.sampled_from([(), (), ("GPT-4o",), ("straße:latest", "Llama3")]),
    untold=st.sampled_from([frozenset(), frozenset(), frozenset({"analysis"}), frozenset({"budget_left"})]),
)
