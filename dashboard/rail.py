"""The rail: which pages there are, for whom, where they stand, and by which key one gets there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dashboard.policy import PAGES, Open
from orchestrator.core.permissions import Permission


class Word(NamedTuple):
    """What is said beside a page, where there is something to say."""

    text: str
    state: str = ""  # "" where it is no matter of being well; else ok, slow, down


@dataclass(frozen=True, slots=True)
class Item:
    """One page of the rail."""

    name: str  # as pages call themselves, and their address
    title: str
    key: str  # after `g`
    word: Word | None = None
    is_here: bool = False

    @property
    def page(self) -> str:
        """Its name among the addresses."""
        return f"dashboard:{self.name}"


@dataclass(frozen=True, slots=True)
class Rail:
    """The pages somebody may see.

    bar   those that stand in the bar of a narrow screen, and more  the others; fifth is in both: the narrowest have no
          room for it in the bar.
    """

    groups: Sequence[tuple[str, Sequence[Item]]]
    bar: Sequence[Item]
    more: Sequence[Item]
    fifth: Item | None
    here: Item | None
    worst: Item | None  # with a word that asks for attention


GROUPS: Sequence[tuple[str, Sequence[Item]]] = (
    ("Watch", (Item("overview", "Overview", "o"), Item("requests", "Requests", "r"), Item("audit", "Audit", "l"))),
    (
        "Steer",
        (
            Item("rules", "Routing", "u"),
            Item("cache", "Cache", "c"),
            Item("models", "Models", "m"),
            Item("providers", "Providers", "p"),
        ),
    ),
    ("Account", (Item("costs", "Costs", "b"), Item("keys", "Keys and tenants", "k"), Item("people", "People", "e"))),
    ("More", (Item("playground", "Playground", "y"), Item("settings", "Settings", "s"))),
)
FIRST_IN_BAR = ("overview", "requests", "cache", "rules", "models")
IN_BAR = 5
WORST_FIRST = ("down", "slow")


def rail(held: Collection[Permission], here: str, words: Mapping[str, Word]) -> Rail:
    """The rail for who has those permissions, on the page called `here`."""
    groups = []
    for title, items in GROUPS:
        seen = [
            Item(one.name, one.title, one.key, words.get(one.name), one.name == here)
            for one in items
            if _may_see(one, held)
        ]
        if seen:
            groups.append((title, seen))
    everything = [one for _, items in groups for one in items]
    wanted = [one for name in FIRST_IN_BAR for one in everything if one.name == name]
    bar = [*wanted, *(one for one in everything if one not in wanted)][:IN_BAR]
    ill = [one for state in WORST_FIRST for one in everything if one.word and one.word.state == state]
    return Rail(
        groups=groups,
        bar=bar,
        more=[one for one in everything if one not in bar],
        fifth=bar[4] if len(bar) == IN_BAR else None,
        here=next((one for one in everything if one.is_here), None),
        worst=ill[0] if ill else None,
    )


def _may_see(item: Item, held: Collection[Permission]) -> bool:
    rule = PAGES[item.page]
    return isinstance(rule, Open) or rule in held
