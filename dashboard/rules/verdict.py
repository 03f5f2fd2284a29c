"""The first line of the page of rules: what is live, what the draft changes, what stands in its way."""

from __future__ import annotations

from collections.abc import Mapping

from dashboard import formats
from dashboard.rules.rows import Change
from dashboard.verdict import Verdict
from orchestrator.ruling.dry_run import DryRun

MOST_KINDS = 2  # of changes that a headline has room for
_VERBS: Mapping[Change, str] = {"changed": "changes", "new": "adds", "removed": "removes", "moved": "moves"}


def rules_verdict(
    *,
    live: int,
    rules: int,
    changes: Mapping[Change, int],
    changes_auto: bool,
    faults: int,
    trial: DryRun | None = None,
) -> Verdict:
    """live: the version, 0 where there is none. rules: how many the draft has."""
    if not live and not rules and not changes_auto:
        return Verdict(
            "There is no rule yet.",
            "Every request goes to the model it asks for, and the router chooses for auto. A rule sends requests"
            " elsewhere, keeps them here, caps or refuses them. Nothing changes before you publish.",
        )
    if faults:
        things = "One thing is wrong" if faults == 1 else f"{formats.in_words(faults).capitalize()} things are wrong"
        return Verdict("The draft cannot be published yet.", f"{things} in it.", "slow")
    if not live:
        return Verdict(f"The draft has {_rules(rules)}, and nothing is live yet.", _tried(trial))
    told = what_changes(changes, changes_auto=changes_auto)
    if not told:
        return Verdict(f"Version {live} is live, with {_rules(rules)}.", "The draft is the same.")
    if len(changes) + changes_auto <= MOST_KINDS:
        return Verdict(f"The draft {told}{_effect(trial)}.", _tried(trial))
    headline = f"The draft differs in {_rules(sum(changes.values()))}{_effect(trial)}."
    return Verdict(headline, f"It {told}. {_tried(trial)}".strip())


def what_changes(changes: Mapping[Change, int], *, changes_auto: bool) -> str:
    """Changes two rules, adds one and moves one; empty: nothing."""
    parts: list[str] = []
    for change, verb in _VERBS.items():
        if number := changes.get(change, 0):
            noun = "" if parts else " rule" if number == 1 else " rules"
            parts.append(f"{verb} {formats.in_words(number)}{noun}")
    if changes_auto:
        parts.append("changes how auto chooses")
    return formats.listing(parts)


def _effect(trial: DryRun | None) -> str:
    if trial is None or not trial.requests or not trial.saved_micros:
        return ""
    verb = "would have saved" if trial.saved_micros > 0 else "would have cost"
    more = "" if trial.saved_micros > 0 else " more"
    return f" and {verb} {formats.money(abs(trial.saved_micros))}{more}"


def _tried(trial: DryRun | None) -> str:
    if trial is None:
        return ""
    if not trial.requests:
        return "No request was recorded that it could be tried on."
    return f"It would have moved {formats.count(trial.moved)} of the last {formats.count(trial.requests)} requests."


def _rules(number: int) -> str:
    return "no rule" if not number else "one rule" if number == 1 else f"{formats.in_words(number)} rules"
