"""How long the rules of operators take for one decision: found by what they name, and each of them asked in turn.

Prints one JSON line for each set of rules, in milliseconds of this thread's own time: what else the machine does is
not in them. Run by `make bench`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import quantiles
from typing import Any

from bench.lines import emit, rounded
from routing.rules.asked import Asked
from routing.rules.checking import faults_in, read_document
from routing.rules.compiled import RuleSet, compile_rules
from routing.rules.facts import MOST_CONVERSATION, Facts
from routing.rules.said import Said
from routing.rules.verdict import Verdict

FORM_RULES, EXPRESSIONS, REQUESTS, SEED = 1000, 50, 300, 7
LISTENERS = 5  # rules that hear all of a long conversation
TEXT = 2000  # characters
MODELS = [f"provider-{at % 9}/model-{at}" for at in range(200)]
TENANTS = [f"tenant-{at}" for at in range(50)]
TAGS = [f"tag-{at}" for at in range(40)]
WORDS = [f"word{at}" for at in range(500)]


def measure(form_rules: int = FORM_RULES, expressions: int = EXPRESSIONS, requests: int = REQUESTS) -> None:
    """Rules as operators write them, each about somebody; then rules about everybody, of which none matches."""
    rng = random.Random(SEED)  # noqa: S311  # the same rules each time
    asked = [_request(rng) for _ in range(requests)]
    for case, about in (("rules that name somebody", _somebody), ("rules about everybody", _everybody)):
        rules = [about(rng, at) for at in range(form_rules)]
        written = [_expression(rng, at) for at in range(expressions)]
        document = read_document({"rules": rng.sample([*rules, *written], len(rules) + len(written))})
        if faults := faults_in(document):
            raise RuntimeError(str(faults[0]))
        began = time.perf_counter()
        rule_set = compile_rules(document, 1)
        compiled_ms = rounded(1000 * (time.perf_counter() - began))
        verdicts = [rule_set.decide(facts) for facts in asked]
        if verdicts != [one_by_one(rule_set, facts) for facts in asked]:
            raise RuntimeError("the two ways do not decide alike")
        emit(
            "rules",
            case,
            form_rules=form_rules,
            expressions=expressions,
            text_characters=TEXT,
            requests=requests,
            matched_on_average=rounded(sum(len(verdict.matched) for verdict in verdicts) / requests),
            compile_ms=compiled_ms,
            decide_ms=_times(rule_set.decide, asked),
            looked_at_on_average=rounded(sum(map(rule_set.looks_at, asked)) / requests),
            one_by_one_ms=_times(lambda facts, rule_set=rule_set: one_by_one(rule_set, facts), asked),
        )


def measure_hearing(listeners: int = LISTENERS, requests: int = REQUESTS) -> None:
    """Rules that keep words at home, and conversations as long as rules read them."""
    rng = random.Random(SEED)  # noqa: S311  # the same rules each time
    rules = [
        _rule(f"form {at}", [("conversation", "contains", [f"never {at}", f"never said {at}"])])
        for at in range(listeners)
    ]
    pattern = {"name": "pattern", "expression": "conversation.matches('(?i)falcon|project x')", "then": _then(1)}
    rule_set = compile_rules(read_document({"rules": [*rules, pattern]}), 1)
    for case, letter in (("long conversations", "a"), ("long conversations with umlauts", "ä")):
        words = [word + letter for word in WORDS]
        said = " ".join(rng.choices(words, k=MOST_CONVERSATION))[:MOST_CONVERSATION]
        asked = [replace(_request(rng), conversation=said) for _ in range(requests)]
        emit(
            "rules",
            case,
            form_rules=listeners,
            expressions=1,
            text_characters=len(said),
            requests=requests,
            decide_ms=_times(rule_set.decide, asked),
        )


def one_by_one(rule_set: RuleSet, facts: Facts) -> Verdict:
    """The baseline: every rule is asked, in turn."""
    asked, said = Asked(facts, None), Said(facts, rule_set.version)
    for one in rule_set.rules:
        if one.is_met(asked) and said.add(one.rule, one.place):
            break
    return said.verdict(asked.heard)


def _request(rng: random.Random) -> Facts:
    text = ""
    while len(text) < TEXT:
        text += rng.choice(WORDS) + " "
    return Facts(
        model=rng.choice(MODELS),
        tenant=rng.choice(TENANTS),
        key=f"key-{rng.randrange(200)}",
        tags=frozenset(rng.sample(TAGS, 3)),
        tools=rng.random() < 0.3,
        tokens=rng.randrange(4000),
        at=1.75e9 + rng.randrange(10**7),
        text=text[:TEXT],
        sticky=str(rng.random()),
    )


def _somebody(rng: random.Random, at: int) -> dict[str, Any]:
    names = ("model", "is", rng.sample(MODELS, 2)), ("tenant", "is", [rng.choice(TENANTS)])
    whom = rng.choice([*names, ("tags", "has", [rng.choice(TAGS)]), ("key", "is", [f"key-{rng.randrange(200)}"])])
    more = [whom, ("tokens", "at_least", 1000), ("text", "contains", [rng.choice(WORDS)])][: 1 + rng.randrange(3)]
    return _rule(f"form {at}", more)


def _everybody(rng: random.Random, at: int) -> dict[str, Any]:
    return _rule(f"form {at}", [("tokens", "at_least", 10_000 + at)])


def _expression(rng: random.Random, at: int) -> dict[str, Any]:
    shapes = (
        "tokens > {n} && '{tag}' in tags",
        "tags.exists(t, t == '{tag}') || model.endsWith('-{n}')",
        "text.contains('never said {n}')",
        "tools && tenant.startsWith('{tag}') && budget_left < 0.2",
    )
    shape = shapes[at % len(shapes)]
    return {
        "name": f"expression {at}",
        "expression": shape.format(n=9000 + at, tag=rng.choice(TAGS)),
        "then": _then(at),
    }


def _rule(name: str, conditions: list[tuple[str, str, Any]]) -> dict[str, Any]:
    when = [dict(zip(("fact", "op", "value"), one, strict=True)) for one in conditions]
    return {"name": name, "when": when, "then": _then(len(name))}


def _then(at: int) -> dict[str, Any]:
    return [{"use": ["local"]}, {"never": [f"model-{at}"]}, {"most_tokens": 500}][at % 3]


def _times(decide: Callable[[Facts], Verdict], asked: list[Facts]) -> dict[str, float]:
    took = []
    for facts in asked:
        began = time.thread_time()
        decide(facts)
        took.append(1000 * (time.thread_time() - began))
    cuts = quantiles(took, n=100)
    return {"p50": rounded(cuts[49]), "p99": rounded(cuts[98])}


if __name__ == "__main__":
    measure()
    measure_hearing()
