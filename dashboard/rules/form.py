"""One rule as a form has it: what was typed, what of it cannot be, and the rule it makes.

Fields are named as in the document: `when-2-value` is the value of the third condition, `cache-ttl_s` how long the
cache keeps an answer. What was typed stays as it was typed, right or wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict
from pydantic import ValidationError

from dashboard import formats
from orchestrator.core.numbers import whole
from routing.rules.checking import faults_of
from routing.rules.document import MOST_ARMS, MOST_CONDITIONS, Rule
from routing.rules.expressions import faults_in
from routing.rules.facts import FACTS, Kind

DAYS = {"mon": "Mon", "tue": "Tue", "wed": "Wed", "thu": "Thu", "fri": "Fri", "sat": "Sat", "sun": "Sun"}
OPS: Mapping[Kind, Mapping[str, str]] = {
    "name": {"is": "is", "is_not": "is not"},
    "words": {"has": "include", "has_not": "do not include"},
    "flag": {"is": "is"},
    "number": {"at_least": "is at least", "below": "is below", "between": "is between"},
    "text": {"contains": "contains", "contains_not": "does not contain"},
    "time": {"within": "is within"},
}
WHO = {
    "none": "Nothing said of it",
    "use": "These, one after the other",
    "split": "A split between several",
    "canary": "A share of the requests only",
}
BYS = {"conversation": "conversation", "request": "request", "key": "key", "tenant": "tenant"}
YES_NO = {"": "as usual", "yes": "yes", "no": "no"}
_YES = {"yes": True, "no": False}

Faults = dict[str, str]  # by field


@dataclass(slots=True)
class ConditionForm:
    """A condition as it was typed."""

    index: int
    fact: str = "model"
    op: str = ""
    value: str = ""
    low: str = ""
    high: str = ""
    days: Sequence[str] = ()
    since: str = "00:00"
    until: str = "24:00"
    zone: str = "UTC"

    @property
    def field(self) -> str:
        """How its fields begin."""
        return f"when-{self.index}"

    @property
    def kind(self) -> Kind:
        """Of the fact."""
        return FACTS[self.fact].kind if self.fact in FACTS else "name"

    @property
    def ops(self) -> Mapping[str, str]:
        """How its fact may be compared, in words."""
        return OPS[self.kind]

    @property
    def meaning(self) -> str:
        """What its fact is."""
        return FACTS[self.fact].meaning if self.fact in FACTS else ""

    def to_json(self, faults: Faults) -> dict[str, Any]:
        """As the document has it; what cannot be is put into `faults`."""
        op = self.op if self.op in self.ops else next(iter(self.ops))
        return {"fact": self.fact, "op": op, "value": self._value(op, faults)}

    def _value(self, op: str, faults: Faults) -> Any:
        if self.kind == "flag":
            return self.value != "no"
        if self.kind == "time":
            return {"days": list(self.days), "since": self.since, "until": self.until, "zone": self.zone}
        if self.kind == "number" and op == "between":
            return [_number(one, self.field, faults) for one in (self.low, self.high)]
        if self.kind == "number":
            return _number(self.value, self.field, faults)
        words = lines(self.value) if self.kind == "text" else names(self.value)
        if not words:
            faults[self.field] = "Say which; several are parted by " + ("lines." if self.kind == "text" else "commas.")
        return words


@dataclass(slots=True)
class ArmForm:
    """One side of a split, as it was typed."""

    index: int
    name: str = ""
    use: str = ""
    weight: str = "1"

    @property
    def field(self) -> str:
        """How its fields begin."""
        return f"arm-{self.index}"


@dataclass(slots=True)
class RuleForm:
    """A rule as it was typed. `typed` has every field that is not of a condition or an arm."""

    typed: dict[str, str] = field(default_factory=dict)
    conditions: list[ConditionForm] = field(default_factory=list)
    arms: list[ArmForm] = field(default_factory=list)
    faults: Faults = field(default_factory=dict)

    def rule(self) -> Rule | None:
        """The rule; None where it cannot be, and `faults` says why."""
        self.faults.clear()
        document = self._to_json()
        if document["expression"]:
            for words in faults_in(document["expression"])[:1]:
                self.blame(("expression",), words)
        try:
            made = Rule.model_validate(document)
        except ValidationError as error:
            for one in faults_of(error, document):
                self.blame(one.place, one.words)
            return None
        return None if self.faults else made

    def blame(self, place: Sequence[str | int], words: str) -> None:
        """Put what is wrong where it was typed. `place`: within the rule."""
        self.faults.setdefault(field_of(place), formats.sentence(words))

    def _to_json(self) -> dict[str, Any]:
        typed, faults = self.typed, self.faults
        document = {
            "name": typed.get("name", "").strip(),
            "note": typed.get("note", "").strip(),
            "is_on": typed.get("is_on") == "yes",
            "when": [one.to_json(faults) for one in self.conditions],
            "expression": typed.get("expression", "").strip(),
            "then": self._actions(),
        }
        if not document["name"]:
            faults["name"] = "A rule needs a name."
        return document

    def _actions(self) -> dict[str, Any]:
        typed, faults = self.typed, self.faults
        then: dict[str, Any] = {
            "forbid": typed.get("forbid", "").strip(),
            "local_only": typed.get("local_only") == "yes",
            "only": names(typed.get("only", "")),
            "never": names(typed.get("never", "")),
            "cascade": _YES.get(typed.get("cascade", "")),
            "context": typed.get("context") or None,
            "is_last": typed.get("is_last") == "yes",
        }
        if typed.get("most_tokens", "").strip():
            most = _number(typed["most_tokens"], "most_tokens", faults)
            then["most_tokens"] = int(most) if most is not None and most == int(most) else most
        if typed.get("most_cost", "").strip():
            then["most_cost"] = typed["most_cost"].strip().removeprefix("$")
        if typed.get("aim") in {"share", "quality"}:
            then["aim"] = {typed["aim"]: _share(typed.get("aim-level", ""), "aim", faults)}
        if typed.get("shadow-model", "").strip():
            share = _share(typed.get("shadow-share", ""), "shadow", faults)
            then["shadow"] = {"model": typed["shadow-model"].strip(), "share": share}
        cache = {
            "read": _YES.get(typed.get("cache-read", "")),
            "write": _YES.get(typed.get("cache-write", "")),
            "ttl_s": _number(typed["cache-ttl_s"], "cache", faults) if typed.get("cache-ttl_s", "").strip() else None,
        }
        if any(one is not None for one in cache.values()):
            then["cache"] = cache
        return then | self._who()

    def _who(self) -> dict[str, Any]:
        typed, faults, who = self.typed, self.faults, self.typed.get("who")
        if who == "use":
            if not names(typed.get("use", "")):
                faults["use"] = "Say which model is asked; several are parted by commas."
            return {"use": names(typed.get("use", ""))}
        if who == "canary":
            if not names(typed.get("canary-use", "")):
                faults["canary"] = "Say which model gets the share."
            share = _share(typed.get("canary-share", ""), "canary", faults)
            by = typed.get("canary-by") or "conversation"
            return {"canary": {"use": names(typed.get("canary-use", "")), "share": share, "by": by}}
        if who == "split":
            return {"split": {"arms": [self._arm(one) for one in self.arms], "by": typed.get("split-by", "request")}}
        return {}

    def _arm(self, arm: ArmForm) -> dict[str, Any]:
        if not arm.name.strip() or not names(arm.use):
            self.faults[arm.field] = "An arm needs a name, and a model."
        weight = _number(arm.weight, arm.field, self.faults)
        return {"name": arm.name.strip(), "use": names(arm.use), "weight": weight}


def of_rule(rule: Rule) -> RuleForm:
    """The form that makes this rule."""
    then = rule.then
    typed = {
        "name": rule.name,
        "note": rule.note,
        "is_on": "yes" if rule.is_on else "",
        "expression": rule.expression,
        "who": "split" if then.split else "canary" if then.canary else "use" if then.use else "none",
        "use": ", ".join(then.use),
        "forbid": then.forbid,
        "local_only": "yes" if then.local_only else "",
        "only": ", ".join(then.only),
        "never": ", ".join(then.never),
        "most_tokens": "" if then.most_tokens is None else str(then.most_tokens),
        "most_cost": then.most_cost or "",
        "cascade": _word(then.cascade),
        "context": then.context or "",
        "is_last": "yes" if then.is_last else "",
        "split-by": then.split.by if then.split else "conversation",
        "aim-level": "50",
        "canary-share": "5",
        "shadow-share": "5",
    }
    if then.canary:
        typed |= {"canary-use": ", ".join(then.canary.use), "canary-share": percents(then.canary.share)}
        typed |= {"canary-by": then.canary.by}
    if then.shadow:
        typed |= {"shadow-model": then.shadow.model, "shadow-share": percents(then.shadow.share)}
    if then.aim:
        kind = "share" if then.aim.share is not None else "quality"
        typed |= {"aim": kind, "aim-level": percents(getattr(then.aim, kind) or 0)}
    if then.cache:
        typed |= {"cache-read": _word(then.cache.read), "cache-write": _word(then.cache.write)}
        typed |= {"cache-ttl_s": "" if then.cache.ttl_s is None else _digits(then.cache.ttl_s)}
    arms = then.split.arms if then.split else ()
    return RuleForm(
        typed,
        [_condition(index, one.fact, one.op, one.value) for index, one in enumerate(rule.when)],
        [ArmForm(index, one.name, ", ".join(one.use), _digits(one.weight)) for index, one in enumerate(arms)]
        or two_arms(),
    )


def blank() -> RuleForm:
    """The form of a rule that is not there yet."""
    form = of_rule(Rule.model_validate({"name": "?"}))
    form.typed["name"] = ""
    return form


def of_post(post: QueryDict) -> RuleForm:
    """The form as it was sent."""

    def word(name: str, otherwise: str = "") -> str:
        return str(post.get(name, otherwise))

    conditions = [
        ConditionForm(
            0,
            fact=word(f"when-{number}-fact"),
            op=word(f"when-{number}-op"),
            value=word(f"when-{number}-value"),
            low=word(f"when-{number}-low"),
            high=word(f"when-{number}-high"),
            days=[day for day in DAYS if day in post.getlist(f"when-{number}-days")],
            since=word(f"when-{number}-since", "00:00"),
            until=word(f"when-{number}-until", "24:00"),
            zone=word(f"when-{number}-zone", "UTC"),
        )
        for number in range(MOST_CONDITIONS)
        if f"when-{number}-fact" in post
    ]
    arms = [
        ArmForm(0, word(f"arm-{number}-name"), word(f"arm-{number}-use"), word(f"arm-{number}-weight"))
        for number in range(MOST_ARMS)
        if f"arm-{number}-name" in post
    ]
    typed = {name: word(name) for name in post if not name.startswith(("when-", "arm-"))}
    form = RuleForm(typed, conditions, arms)
    _change_rows(form, post.get("act", ""))
    return form


def two_arms() -> list[ArmForm]:
    """What a split begins with."""
    return [ArmForm(0, "a"), ArmForm(1, "b")]


def field_of(place: Sequence[str | int]) -> str:
    """The field in which a part of the rule is typed: `then.split.arms[1].use` in `arm-1`."""
    parts = list(place[1:] if place and place[0] == "then" else place)
    if parts[:1] == ["when"] and len(parts) > 1:
        return f"when-{parts[1]}"
    if parts[:2] == ["split", "arms"] and len(parts) > 2:
        return f"arm-{parts[2]}"
    return str(parts[0]) if parts else ""


def names(typed: str) -> list[str]:
    """Words that are parted by commas or lines."""
    return [word.strip() for word in typed.replace("\n", ",").split(",") if word.strip()]


def lines(typed: str) -> list[str]:
    """Phrases, one a line."""
    return [line.strip() for line in typed.splitlines() if line.strip()]


def percents(share: float) -> str:
    """0.05 as 5."""
    return _digits(round(share * 100, 6))


def _change_rows(form: RuleForm, act: str) -> None:
    """Add or remove a condition or an arm, as the button that was pressed says; number what is there."""
    what, _, number = act.rpartition("-")
    if act == "add-condition" and len(form.conditions) < MOST_CONDITIONS:
        form.conditions.append(ConditionForm(0))
    elif act == "add-arm" and len(form.arms) < MOST_ARMS:
        form.arms.append(ArmForm(0, chr(ord("a") + len(form.arms))))
    elif what in {"remove-condition", "remove-arm"} and (at := whole(number)) is not None:
        rows: list[Any] = form.conditions if what == "remove-condition" else form.arms
        del rows[at : at + 1]
    for index, condition in enumerate(form.conditions):
        condition.index = index
    for index, arm in enumerate(form.arms):
        arm.index = index


def _condition(index: int, fact: str, op: str, value: Any) -> ConditionForm:
    form = ConditionForm(index, fact, op)
    if isinstance(value, bool):
        form.value = "yes" if value else "no"
    elif isinstance(value, int | float):
        form.value = _digits(value)
    elif op == "between":
        form.low, form.high = (_digits(one) for one in value)
    elif op == "within":
        form.days, form.since, form.until, form.zone = value.days, value.since, value.until, value.zone
    else:
        form.value = ("\n" if form.kind == "text" else ", ").join(value)
    return form


def _number(typed: str, name: str, faults: Faults) -> float | None:
    try:
        found = float(typed.strip().replace(",", ""))
    except ValueError:
        found = float("nan")
    if found != found or found in {float("inf"), float("-inf")}:
        faults[name] = "A number is written as 500 or 0.5."
        return None
    return found


def _share(typed: str, name: str, faults: Faults) -> float | None:
    found = _number(typed.strip().removesuffix("%"), name, faults)
    if found is not None and not 0 <= found <= 100:
        faults[name] = "A share is between 0 and 100 %."
    return None if found is None else round(found / 100, 8)


def _digits(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _word(flag: bool | None) -> str:
    return "" if flag is None else "yes" if flag else "no"
