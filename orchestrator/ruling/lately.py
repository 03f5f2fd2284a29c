"""How often each rule caught a request of late, as what was written down of decisions says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from orchestrator.core.permissions import Reach
from orchestrator.models import RouteDecision

WITHIN = timedelta(hours=24)
MOST_READ = 1_000  # decisions: the page that shows this does not wait longer for a busy day than for a quiet one


@dataclass(frozen=True, slots=True)
class Lately:
    """Requests of the last day, or the newest of them.

    requests  that were looked at; each decision of a sample stands for as many as it was drawn from.
    caught    how many of them each rule did, by its name.
    is_cut    there were more.
    """

    requests: int
    caught: Mapping[str, int]
    is_cut: bool


def lately(reach: Reach, now: datetime) -> Lately:
    """What rules caught of the requests of those in `reach`."""
    newest = RouteDecision.objects.of(reach).filter(at__gt=now - WITHIN).order_by("-at")
    documents = list(newest.values_list("document", flat=True)[: MOST_READ + 1])
    requests, caught = 0, Counter[str]()
    for document in documents[:MOST_READ]:
        try:
            said = orjson.loads(document)
            many = max(int(said.get("stands_for", 1)), 1)
            names = list(_names(said))
        except (ValueError, TypeError, KeyError, AttributeError):  # another release wrote it
            continue
        requests += many
        caught.update(dict.fromkeys(names, many))
    return Lately(requests, caught, len(documents) > MOST_READ)


def _names(said: Mapping[str, dict[str, list[dict[str, str]]]]) -> Iterator[str]:
    for one in said["verdict"].get("matched", ()):
        yield one["rule"]
