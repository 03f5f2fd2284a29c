"""What matching rules say, taken together: each thing by the first rule that says it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from routing.rules.document import Actions, Rule
from routing.rules.draws import arm_of, draw, word_of
from routing.rules.facts import Facts
from routing.rules.verdict import Aim, CachePolicy, Matched, Shadow, Verdict

CANARY = "canary"  # the arm of those that a canary draws
_ONCE = ("most_tokens", "cascade", "context")


class Said:
    """All that was said of one request so far."""

    def __init__(self, facts: Facts, version: int) -> None:
        self._facts = facts
        self._values: dict[str, Any] = {"version": version}
        self._only: dict[tuple[str, ...], None] = {}  # as sets that keep their order
        self._never: dict[str, None] = {}
        self._matched: list[Matched] = []
        self.failed: list[str] = []
        self.unheard: list[str] = []
        self.unread: list[str] = []

    def add(self, rule: Rule, place: int) -> bool:
        """Take what a rule says that nobody said before; whether that is the end of it."""
        then, values = rule.then, self._values
        if then.forbid:
            values.update(forbid=then.forbid, forbid_rule=rule.name)
            self._matched.append(Matched(rule=rule.name, place=place, did=("forbid",)))
            return True
        new = {name: value for name, value in _plain(then, rule.name).items() if name not in values}
        values.update(new)
        did = [*self._who(rule), *(_NAMES.get(name, name) for name in new)]
        if then.only:
            self._only[tuple(then.only)] = None
            did.append("only")
        if then.never:
            self._never.update(dict.fromkeys(then.never))
            did.append("never")
        if then.is_last:
            did.append("is_last")
        self._matched.append(Matched(rule=rule.name, place=place, did=tuple(did)))
        return then.is_last

    def _who(self, rule: Rule) -> tuple[str, ...]:
        then, values = rule.then, self._values
        if "use" in values or (self._facts.embedding and not _is_about_vectors(rule)):
            return ()
        if then.canary is not None and draw(rule.name, word_of(self._facts, then.canary.by)) < then.canary.share:
            values.update(use=tuple(then.canary.use), use_rule=rule.name, split=rule.name, arm=CANARY)
            return ("canary",)
        if then.split is not None:
            arm = arm_of(then.split.arms, draw(rule.name, word_of(self._facts, then.split.by)))
            values.update(use=tuple(arm.use), use_rule=rule.name, split=rule.name, arm=arm.name)
            return ("split",)
        if then.use:
            values.update(use=tuple(then.use), use_rule=rule.name)
            return ("use",)
        return ()

    def verdict(self, heard: Mapping[str, bool | None]) -> Verdict:
        """The whole of it."""
        return Verdict(
            **self._values,
            only=tuple(self._only),
            never=tuple(self._never),
            matched=tuple(self._matched),
            failed=tuple(self.failed),
            unheard=tuple(self.unheard),
            unread=tuple(self.unread),
            heard=heard,
        )


def _is_about_vectors(rule: Rule) -> bool:
    """Whether a condition says so: vectors of two models do not compare, so none are swapped unasked."""
    return any(condition.fact == "embedding" and condition.value is True for condition in rule.when)


_NAMES = {"is_local_only": "local_only", "most_micros": "most_cost"}


def _plain(then: Actions, rule: str) -> dict[str, Any]:
    """What it says of things that one rule decides alone."""
    said: dict[str, Any] = {name: value for name in _ONCE if (value := getattr(then, name)) is not None}
    if then.local_only:
        said["is_local_only"] = True
    if then.most_cost is not None:
        said["most_micros"] = int(Decimal(then.most_cost) * 1_000_000)
    if then.aim is not None:
        said["aim"] = Aim(share=then.aim.share, quality=then.aim.quality)
    if then.cache is not None:
        said["cache"] = CachePolicy(read=then.cache.read, write=then.cache.write, ttl_s=then.cache.ttl_s)
    if then.shadow is not None:
        said["shadow"] = Shadow(model=then.shadow.model, share=then.shadow.share, rule=rule)
    return said
