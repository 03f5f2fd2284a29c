"""What the buttons of the page of rules do to the draft."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import QueryDict

from dashboard.rules.board import EXAMPLES, auto_words
from dashboard.rules.form import names
from orchestrator.core.changing import By
from orchestrator.core.errors import NotThere
from orchestrator.core.numbers import whole
from orchestrator.ruling import draft, versions
from routing.rules.document import AutoPart, Rule


@dataclass(frozen=True, slots=True)
class Said:
    """What is true after an act, and the act that takes it back."""

    words: str
    is_warning: bool = False
    undo: tuple[tuple[str, str], ...] = ()  # fields of a form


def act(form: QueryDict, who: By) -> Said:
    """Do what the button says. Raises NotThere, Conflict, WrongDocument."""
    name, expected, wanted = form.get("rule", ""), edition(form), form.get("act", "")
    if wanted in {"on", "off"}:
        draft.switch_rule(name, who, is_on=wanted == "on", expected=expected)
        other = "off" if wanted == "on" else "on"
        return Said(f"{name} is {wanted} in the draft.", undo=(("act", other), ("rule", name)))
    if wanted in {"up", "down", "place"}:
        return _moved(name, wanted, form, who, expected)
    if wanted == "delete":
        draft.delete_rule(name, who, expected=expected)
        return Said(f"{name} is gone from the draft. What is live stays until you publish.")
    if wanted == "keep":  # a rule that is live, and that the draft removes
        place, rule = _find(name, versions.live()[1].rules)
        draft.add_rule(rule, who, place=place, expected=expected)
        return Said(f"{name} is back in the draft.", undo=(("act", "delete"), ("rule", name)))
    if wanted == "example" and form.get("example") in EXAMPLES:
        rule = EXAMPLES[str(form["example"])]
        draft.add_rule(rule, who, expected=expected)
        return Said(f"{rule.name} is in the draft. Nothing changes before you publish.")
    if wanted == "discard":
        versions.discard(who, expected=expected)
        return Said("The draft is what is live again.")
    if wanted == "auto":
        return _auto(form, who, expected)
    raise NotThere("There is no such act.")


def _moved(name: str, wanted: str, form: QueryDict, who: By, expected: int | None) -> Said:
    before = draft.read().document.rules
    place, _ = _find(name, before)
    steps = {"up": -1, "down": 1}
    to = place + steps[wanted] if wanted in steps else int_of(form, "place")
    if to is None:
        return Said(f"Nothing was changed. Say where to, with a number from 1 to {len(before)}.", is_warning=True)
    to = min(max(to, 1), len(before))
    draft.move_rule(name, to, who, expected=expected)
    if to == place:
        return Said(f"{name} is number {to}, as it was.")
    undo = (("act", "place"), ("rule", name), ("place", str(place)))
    return Said(f"{name} is number {to} of {len(before)} in the draft.", undo=undo)


def _auto(form: QueryDict, who: By, expected: int | None) -> Said:
    level, explore = int_of(form, "level"), form.get("explore", "").strip()
    kind = "quality" if form.get("aim") == "quality" else "share"
    try:
        auto = draft.read().document.auto.model_dump() | {
            "aim": {kind: None if level is None else level / 100},
            "cascade": form.get("cascade") == "yes",
            "explore": float(explore) / 100,
            "never": names(form.get("never", "")),
        }
        made = AutoPart.model_validate(auto)
    except ValueError:  # and pydantic's
        return Said(
            "Nothing was changed. The slider goes from 0 to 100, and at most 20 % of the calls try another model.",
            is_warning=True,
        )
    draft.put_auto(made, who, expected=expected)
    return Said(f"In the draft, auto takes {auto_words(made)}.")


def _find(name: str, rules: list[Rule]) -> tuple[int, Rule]:
    for place, rule in enumerate(rules, 1):
        if rule.name == name:
            return place, rule
    raise NotThere(f"There is no rule {name[:80]!r} any more.")


def edition(form: QueryDict) -> int | None:
    """Of the draft that a form was made from."""
    return int_of(form, "edition")


def int_of(form: QueryDict, name: str) -> int | None:
    """A number of a form; None where there is none."""
    return whole(form.get(name, ""))
