"""The rules of the draft as rows: each a sentence, beside what is live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from hashlib import blake2b
from typing import Literal, NamedTuple

from orchestrator.ruling.dry_run import DryRun
from orchestrator.ruling.lately import Lately
from routing.rules.differences import moved
from routing.rules.document import Document, Rule
from routing.rules.sentences import halves

Mark = Literal["", "old", "new"]
Change = Literal["", "new", "changed", "moved", "removed"]


class Piece(NamedTuple):
    """A few words of a sentence: as they are live, gone from it, or put into it."""

    words: str
    mark: Mark = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One rule of the draft, or one that it removes."""

    rule: Rule
    place: int  # from 1; of one that is removed, where it was
    change: Change
    words: str  # what the draft does to it: changed, switched off, moved from 6
    when: Sequence[Piece]
    then: Sequence[Piece]
    note: Sequence[Piece] = ()
    faults: Sequence[str] = ()
    caught: int | None = (
        None  # of the requests that were tried; else of those that came of late, by a rule that is live
    )
    share: float | None = None  # of them
    failed: int = 0  # of them, for which its expression had no answer
    unheard: int = 0  # of them, whose text it asks for and nobody kept

    @property
    def key(self) -> str:
        """A word for it that may stand in an id, whatever it is called."""
        return key_of(self.rule.name)


def rows_of(
    draft: Document,
    live: Document,
    faults: Mapping[int, Sequence[str]],
    trial: DryRun | None = None,
    late: Lately | None = None,
) -> list[Row]:
    """Every rule of the draft in order, and those it removes where they were. `faults`: of rules, by their index."""
    before = {rule.name: rule for rule in live.rules}
    places = {rule.name: place for place, rule in enumerate(live.rules, 1)}
    elsewhere = moved(live, draft)
    rows = []
    for index, rule in enumerate(draft.rules):
        was = before.get(rule.name)
        change: Change = (
            "new" if was is None else "changed" if was != rule else "moved" if rule.name in elsewhere else ""
        )
        when, then, note = _beside(was, rule)
        row = Row(
            rule,
            index + 1,
            change if before else "",  # where nothing is live, all are new, and nothing stands out
            _words(was, rule, elsewhere.get(rule.name)) if before else "",
            when,
            then,
            note,
            faults.get(index, ()),
        )
        if trial is not None:
            row = _tried(row, trial)
        elif late is not None and was is not None:
            row = _counted(row, late)
        rows.append(row)
    at = {rule.name: index for index, rule in enumerate(draft.rules)}
    gone: dict[int, list[Row]] = {}  # by the rule of the draft that they stand behind; -1: before all
    behind = -1
    for rule in live.rules:
        if rule.name in at:
            behind = at[rule.name]
            continue
        when, then = ([Piece(words, "old")] for words in halves(rule))
        gone.setdefault(behind, []).append(Row(rule, places[rule.name], "removed", "removed", when, then))
    return [*gone.get(-1, ()), *(one for index, row in enumerate(rows) for one in (row, *gone.get(index, ())))]


def _tried(row: Row, trial: DryRun) -> Row:
    name = row.rule.name
    caught = trial.caught.get(name, 0)
    return replace(
        row,
        caught=caught,
        share=caught / trial.requests if trial.requests else None,
        failed=trial.failed.get(name, 0),
        unheard=trial.unheard.get(name, 0),
    )


def _counted(row: Row, late: Lately) -> Row:
    caught = late.caught.get(row.rule.name, 0)
    return replace(row, caught=caught, share=caught / late.requests if late.requests else None)


def _words(was: Rule | None, rule: Rule, places: tuple[int, int] | None) -> str:
    if was is None:
        return "new"
    parts = []
    if was.model_copy(update={"is_on": rule.is_on}) != rule:
        parts.append("changed")
    if was.is_on != rule.is_on:
        parts.append("switched on" if rule.is_on else "switched off")
    if places:
        parts.append(f"moved from {places[0]}")
    return ", ".join(parts)


def _beside(was: Rule | None, rule: Rule) -> Iterator[list[Piece]]:
    """When, then and note of a rule, with what they were."""
    new = (*halves(rule), rule.note)
    if was is None or was == rule:
        return ([Piece(words)] if words else [] for words in new)
    return (marked(before, after) for before, after in zip((*halves(was), was.note), new, strict=True))


def marked(old: str, new: str) -> list[Piece]:
    """One sentence made of two, word by word."""
    before, after = old.split(), new.split()
    pieces: list[Piece] = []
    for what, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if what == "equal":
            pieces.append(Piece(" ".join(after[j1:j2])))
            continue
        if i2 > i1:
            pieces.append(Piece(" ".join(before[i1:i2]), "old"))
        if j2 > j1:
            pieces.append(Piece(" ".join(after[j1:j2]), "new"))
    return pieces


def count_changes(rows: Iterable[Row]) -> dict[Change, int]:
    """How many rules the draft changes, by what it does to them."""
    counts: dict[Change, int] = {}
    for row in rows:
        if row.change:
            counts[row.change] = counts.get(row.change, 0) + 1
    return counts


def key_of(name: str) -> str:
    """Twelve letters that stand for a name."""
    return blake2b(name.encode(), digest_size=6).hexdigest()
