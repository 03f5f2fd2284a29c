"""What the page of rules shows: the draft beside what is live, and what a dry run of it came to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from dashboard import formats
from dashboard.rules.form import percents
from dashboard.rules.rows import Row, count_changes, rows_of
from dashboard.rules.verdict import rules_verdict
from dashboard.verdict import Verdict
from orchestrator.core.documents import Fault
from orchestrator.core.permissions import NOBODY, Reach
from orchestrator.ruling import draft, versions
from orchestrator.ruling.draft import DraftView
from orchestrator.ruling.dry_run import DryRun, dry_run
from orchestrator.ruling.lately import Lately, lately
from routing.models import RuleVersion
from routing.rules.checking import faults_in
from routing.rules.document import AutoPart, Document, Rule

TRIED = 1000  # requests of a dry run
MOST_VERSIONS = 8  # that stand beside the rules
RULES = "rules"  # where faults of rules are, in a document

EXAMPLES: Mapping[str, Rule] = {
    slug: Rule.model_validate(example)
    for slug, example in {
        "private": {
            "name": "Private stays here",
            "note": "Whoever tags a key or a request so has it answered on this machine.",
            "when": [{"fact": "tags", "op": "has", "value": ["private"]}],
            "then": {"local_only": True},
        },
        "budget": {
            "name": "Budget nearly gone",
            "note": "The last of a budget is kept: local models cost nothing.",
            "when": [{"fact": "budget_left", "op": "below", "value": 0.05}],
            "then": {"local_only": True},
        },
    }.items()
}


@dataclass(frozen=True, slots=True)
class Parted:
    """A rule that parts requests: which way each goes, and how many."""

    row: Row
    by: str
    arms: Sequence[tuple[str, Sequence[str], str]]  # name, models, share in per cent


@dataclass(frozen=True, slots=True)
class Rules:
    """All of it."""

    draft: DraftView
    live: Document
    number: int  # of the live version; 0: there is none
    rows: Sequence[Row]
    faults: Sequence[tuple[str, str]]  # rule, words
    versions: Sequence[RuleVersion]
    verdict: Verdict
    changes_auto: bool
    trial: DryRun | None = None
    late: Lately | None = None  # what live rules caught of late; None: nothing came, or a trial is shown

    @property
    def is_changed(self) -> bool:
        """Whether the draft says something else than what is live."""
        return self.changes_auto or any(row.change for row in self.rows) or (not self.number and bool(self.rows))

    @property
    def parted(self) -> Sequence[Parted]:
        """The splits and canaries of the draft."""
        return [one for row in self.rows if row.change != "removed" and (one := _parted(row))]

    @property
    def newest(self) -> RuleVersion | None:
        """The version that is live."""
        return self.versions[0] if self.versions else None


def read_rules(whose: Reach = NOBODY, *, tries: bool = False, models: Collection[str] | None = None) -> Rules:
    """The draft, checked; `tries`: and tried on the requests that came last, of those in `whose`.

    models  those that can be had, to try it with. None: nobody knows.
    """
    view = draft.read()
    number, live = versions.live()
    document = view.document
    faults = faults_in(document)
    by_rule: dict[int, list[str]] = {}
    for fault in faults:
        if fault.place[:1] == (RULES,) and len(fault.place) > 1:
            by_rule.setdefault(int(fault.place[1]), []).append(formats.sentence(fault.words))
    named = named_faults(faults, document)
    trial = dry_run(document, TRIED, whose, models=models) if tries else None
    late = lately(whose, timezone.now()) if trial is None and number and whose != NOBODY else None
    late = late if late and late.requests else None
    rows = rows_of(document, live, by_rule, trial, late)
    changes_auto = document.auto != live.auto
    verdict = rules_verdict(
        live=number,
        rules=len(document.rules),
        changes=count_changes(rows),
        changes_auto=changes_auto,
        faults=len(faults),
        trial=trial,
    )
    newest = list(versions.versions()[:MOST_VERSIONS])
    return Rules(view, live, number, rows, named, newest, verdict, changes_auto, trial, late)


def named_faults(faults: Iterable[Fault], document: Document) -> list[tuple[str, str]]:
    """What is wrong, by the name of the rule it is wrong with; empty where it is no rule."""
    return [(_rule_of(fault.place, document), formats.sentence(fault.words)) for fault in faults]


def newest_touch(view: DraftView) -> tuple[str, datetime] | None:
    """Who changed the draft last, and when, as far as its rules tell."""
    newest = max(view.touched.values(), key=lambda one: one.at, default=None)
    return (newest.by, newest.at) if newest and newest.by else None


def auto_words(auto: AutoPart) -> str:
    """How the router chooses, in a sentence."""
    if auto.aim.quality is not None:
        quality = f"{percents(auto.aim.quality)}{formats.NARROW}%"
        aim = f"the cheapest model whose chance of a good answer is at least {quality}"
    else:
        aim = f"a dear model for at most {percents(auto.aim.share or 0)}{formats.NARROW}% of the calls"
    local = ", a local one first where it may do" if auto.cascade else ""
    explores = f"; {percents(auto.explore)}{formats.NARROW}% of them try another" if auto.explore else ""
    never = f"; never {formats.listing(list(auto.never))}" if auto.never else ""
    return f"{aim}{local}{explores}{never}"


def _rule_of(place: Sequence[str | int], document: Document) -> str:
    if place[:1] == (RULES,) and len(place) > 1 and int(place[1]) < len(document.rules):
        return document.rules[int(place[1])].name
    return ""


def _parted(row: Row) -> Parted | None:
    then = row.rule.then
    if then.split:
        whole = sum(arm.weight for arm in then.split.arms)
        arms = [(arm.name, arm.use, percents(round(arm.weight / whole, 4))) for arm in then.split.arms]
        return Parted(row, then.split.by, arms)
    if then.canary:
        rest = percents(round(1 - then.canary.share, 6))
        arms = [("canary", then.canary.use, percents(then.canary.share)), ("the others", [], rest)]
        return Parted(row, then.canary.by, arms)
    return None
