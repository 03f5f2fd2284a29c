"""What a provider calls a model, and what it is called here. By rules, or as calls show that are known to both."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import date

_DATED = re.compile(r"-(\d{4})-?(\d{2})-?(\d{2})(?=$|:)", re.ASCII)
_DATE_IN_WORDS = re.compile(r"(\d{4})-(\d{2})-(\d{2})$", re.ASCII)
_LATEST = re.compile(r"-latest(?=$|:)")


def plain(name: str, provider: str) -> str:
    """Without the provider before it; Anthropic's names for people as its API has them.

    `openai/gpt-4o` is `gpt-4o`, `Claude 3.5 Sonnet 2024-10-22` is `claude-3-5-sonnet-20241022`.
    """
    name = name.removeprefix(f"{provider}/")
    if not name.startswith("Claude "):
        return name
    name = _DATE_IN_WORDS.sub(r"\1\2\3", name)
    return name.lower().replace(" ", "-").replace(".", "-")


def undated(name: str) -> str:
    """Without the day of its making, or `-latest`, where it ends so or a variant follows: `gpt-4o-2024-08-06`."""
    if found := _DATED.search(name):
        try:
            date(*map(int, found.groups()))
        except ValueError:
            return name
        return name[: found.start()] + name[found.end() :]
    return _LATEST.sub("", name)


class Names:
    """Which names are of one model.

    Those that are the same are. Those that differ in their day only are where one of them has none: whoever asks for
    `gpt-4o` is told of `gpt-4o-2024-08-06`, and may be of another one tomorrow. Two days are two models otherwise.
    """

    def __init__(self, provider: str, theirs: Iterable[str], ours: Iterable[str]) -> None:
        self._provider = provider
        self.learned: dict[str, str] = {}  # of names that no rule knows
        self._found: dict[str, str] = {}
        plain_names = {plain(name, provider) for name in (*theirs, *ours)}
        self._without_day = {undated(name) for name in plain_names if not _DATED.search(name)}

    def of(self, name: str) -> str:
        """The name of the model that this one is of."""
        found = self._found.get(name)
        if found is None:
            bare = plain(name, self._provider)
            base = undated(bare)
            found = self._found[name] = base if base in self._without_day else bare
        return self.learned.get(found, found)

    def learn(self, calls: Iterable[tuple[str, str]]) -> None:
        """Take what a name means from calls that are known to both, by their names there and here.

        Only where no rule knows it, and more than half of the calls by that name are of one model here, of whose calls
        they are more than half. What does not fit then is a difference of those calls.
        """
        pairs = Counter((self.of(theirs), self.of(ours)) for theirs, ours in calls)
        there, here = Counter[str](), Counter[str]()
        for (theirs, ours), times in pairs.items():
            there[theirs] += times
            here[ours] += times
        for (theirs, ours), times in pairs.items():
            if theirs not in here and 2 * times > max(there[theirs], here[ours]):
                self.learned[theirs] = ours
