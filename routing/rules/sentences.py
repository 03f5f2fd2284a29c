"""A rule as one sentence in English: for pages, lists and the history of versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from routing.rules.document import Actions, AimPart, CachePart, Condition, Hours, Rule
from routing.rules.facts import FACTS, TEXTS

# Within a half of a sentence: what is a name, and what joins the parts. No name that a rule may have holds these.
NAME, STRONG = "\ue000\ue001", "\ue002\ue003"
_PLAIN = str.maketrans(dict.fromkeys(NAME + STRONG, ""))
_NAMES = {"model", "key", "tags"}  # facts whose values are names, and no words of a language

_BY = {"request": "each request", "conversation": "conversation", "key": "key", "tenant": "tenant"}
_OPS = {
    "is": "is",
    "is_not": "is not",
    "has": "have",
    "has_not": "do not have",
    "contains": "contains",
    "contains_not": "does not contain",
    "at_least": "is at least",
    "below": "is below",
}
_FLAGS = {
    "tools": ("tools are offered", "no tools are offered"),
    "images": ("there is an image", "there is no image"),
    "stream": ("the answer is streamed", "the answer is not streamed"),
    "thinking": ("the model is to think", "the model is not to think"),
    "embedding": ("vectors are wanted", "text is wanted, not vectors"),
}
_SUBJECTS = {"tokens": "the number of tokens", "turns": "the number of turns", "cap": "the answer’s cap"}
_DAYS = {"mon": "Mon", "tue": "Tue", "wed": "Wed", "thu": "Thu", "fri": "Fri", "sat": "Sat", "sun": "Sun"}


def sentence(rule: Rule) -> str:
    """When a request is like this, that becomes of it."""
    return plain(marked(rule))


def marked(rule: Rule) -> str:
    """The same with marks."""
    return ": ".join(halves(rule))


def plain(words: str) -> str:
    """The same without marks."""
    return words.translate(_PLAIN)


def halves(rule: Rule) -> tuple[str, str]:
    """The same in two: what a request is like, and what becomes of it. Names and what joins are between marks."""
    then = "; ".join(_actions(rule.then)) or "it is noted, and nothing else"
    when = [condition_words(condition) for condition in rule.when]
    if rule.expression.strip():
        when.append(f"`{' '.join(rule.expression.split())}`")
    end = "" if then.endswith((".”", "!”", "?”")) else "."
    when_words = f"{_strong('When')} {_listed(when, _strong('and'))}" if when else _strong("Always")
    return when_words, f"{then}{end}"


def condition_words(condition: Condition) -> str:
    """One thing that has to be so, in words; names are between marks."""
    fact, op, value = condition.fact, condition.op, condition.value
    if isinstance(value, Hours):
        return _hours(value)
    if isinstance(value, bool):
        return _FLAGS[fact][not value] if fact in _FLAGS else f"{fact} is {str(value).lower()}"
    subject = _SUBJECTS.get(fact, FACTS[fact].label if fact in FACTS else fact)
    subject = subject if fact in {*_SUBJECTS, "tags"} else f"the {subject}"
    if isinstance(value, int | float):
        return f"{subject} {_OPS.get(op, op)} {_number(value)}"
    if op == "between":
        low, high = (_number(float(one)) for one in value)
        return f"{subject} is at least {low} and below {high}"
    words = [_name(str(one)) if fact in _NAMES else str(one) for one in value]
    if fact in TEXTS:
        words = [f"“{word}”" for word in words]
    return f"{subject} {_OPS.get(op, op)} {_listed(words, 'or')}"


def _actions(then: Actions) -> Iterator[str]:
    """What becomes of a request, in the order in which people want to know."""
    if then.forbid:
        yield f"refuse it, and say “{then.forbid}”"
    yield from _who(then)
    if then.local_only:
        yield "nothing leaves this machine"
    if then.only:
        yield f"only {_listed([*map(_name, then.only)], 'or')} may answer"
    if then.never:
        yield f"never ask {_listed([*map(_name, then.never)], 'or')}"
    if then.most_tokens is not None:
        yield f"at most {then.most_tokens:,} tokens of answer"
    if then.most_cost is not None:
        yield f"at most ${then.most_cost} a call"
    yield from _choice(then)
    if then.cache is not None:
        yield from _cache(then.cache)
    if then.shadow is not None:
        yield f"ask {_name(then.shadow.model)} too for {percent(then.shadow.share)}, afterwards"
    if then.is_last:
        yield "no rule after this one is asked"


def _who(then: Actions) -> Iterator[str]:
    if then.use:
        yield f"ask {_chain(then.use)}"
    if then.split is not None:
        whole = sum(arm.weight for arm in then.split.arms)
        arms = [f"{percent(arm.weight / whole)} {arm.name} to {_chain(arm.use)}" for arm in then.split.arms]
        yield f"split by {_BY[then.split.by]}, {_listed(arms, 'and')}"
    if then.canary is not None:
        yield f"{percent(then.canary.share)} by {_BY[then.canary.by]} to {_chain(then.canary.use)}"


def _choice(then: Actions) -> Iterator[str]:
    if then.aim is not None:
        yield _aim(then.aim)
    if then.cascade is not None:
        yield "a local answer may be tried first" if then.cascade else "no local answer is tried first"
    if then.context is not None:
        yield "shorten what is too long" if then.context == "trim" else "refuse what is too long"


def _aim(aim: AimPart) -> str:
    if aim.quality is not None:
        return f"`auto` aims at answers of which {percent(aim.quality)} are good"
    return f"`auto` sends {percent(aim.share or 0.0)} to the dear side"


def _cache(cache: CachePart) -> Iterator[str]:
    if cache.read is not None:
        yield "answers may come from cache" if cache.read else "no answer comes from cache"
    if cache.write is not None:
        yield "answers may be kept" if cache.write else "no answer is kept"
    if cache.ttl_s is not None:
        yield f"answers are kept for {_seconds(cache.ttl_s)}"


def _hours(hours: Hours) -> str:
    days = f"on {_listed([_DAYS[day] for day in hours.days], 'or')}" if hours.days else "on any day"
    if (hours.since, hours.until) == ("00:00", "24:00"):
        return f"it is {days} ({hours.zone})"
    return f"it is {days} from {hours.since} to {hours.until} ({hours.zone})"


def _chain(models: Sequence[str]) -> str:
    return ", then ".join(map(_name, models))


def _name(name: str) -> str:
    """Each word of it by itself, so that a sentence may be parted between words."""
    return " ".join(f"{NAME[0]}{word}{NAME[1]}" for word in name.split(" "))


def _strong(word: str) -> str:
    return f"{STRONG[0]}{word}{STRONG[1]}"


def _listed(words: Sequence[str], last: str) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6g}"


def percent(share: float) -> str:
    """A share, for people."""
    return f"{100 * share:.3g} %"


def _seconds(seconds: float) -> str:
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {word}{'s' * (count > 1)}"
    return f"{seconds:g} s"
