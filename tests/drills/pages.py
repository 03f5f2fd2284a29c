"""Every page of the console, and the long lists of the admin, with what narrows them: how long they take."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import unescape
from typing import cast
from urllib.parse import urlencode

import httpx
from django.http import HttpResponse
from django.test import Client

from tests.dashboard.furnished import reached
from tests.drills.queries import OWN, SHARED

PERIODS = ("15m", "1h", "24h", "7d", "30d")
OF_A_PERIOD = ("", "cache/", "providers/", "providers/openai/", "models/", "models/of/smollm2:135m/", "requests/")
LISTS = ("requestrecord", "charge", "spendday", "auditevent", "routedecision")
MOST_FILTERS = 12  # of one list that are asked for, of each kind
COMMON = ("tier=memory", "outcome=done", "model=llama3.2:1b", "provider=openai", "dialect=ollama", "paid=1", "slower=1")
RARE = (
    *("tier=semantic", "outcome=engine_timeout", "model=nothing/like-it", "provider=nobody", "dialect=anthropic"),
    *("slower=29000", "rule=Short+ones", "route=nowhere", "tag=nightly", "key=0"),
)
SOUGHT = ("bench-0000000007", "bench-00", "engine_timeout", "00000000", "no such thing")


@dataclass(slots=True)
class Asked:
    """A page, how long it took each time, and how many queries it made at most."""

    address: str
    took_s: list[float] = field(default_factory=list)
    queries: int = 0
    shared: int = 0  # queries that are made once for all who look in the same moment
    status: int = 0

    @property
    def first_s(self) -> float:
        """The first time, when nothing of it was in memory."""
        return self.took_s[0]

    @property
    def usual_s(self) -> float:
        """The middle one of the other times."""
        return sorted(self.took_s[1:])[len(self.took_s[1:]) // 2]

    @property
    def longest_s(self) -> float:
        """Of the other times."""
        return max(self.took_s[1:])


class Visitor:
    """Somebody who is signed in and asks for pages over HTTP."""

    def __init__(self, address: str, session: str) -> None:
        cookies = {"orchestrator_session": session}
        self.client = httpx.Client(base_url=address, cookies=cookies, timeout=60)

    def get(self, address: str) -> HttpResponse:
        """A page as Django's own client has it."""
        if ".csv" in address:  # it leads nowhere, and may be long
            return HttpResponse(status=204)
        heard = self.client.get(address)
        return HttpResponse(heard.content, status=heard.status_code, content_type=heard.headers.get("content-type", ""))

    def ask(self, page: Asked) -> None:
        """Until it is whole; of a file until it has begun: it is as long as somebody reads."""
        began = time.perf_counter()
        with self.client.stream("GET", page.address) as heard:
            if "csv" in heard.headers.get("content-type", ""):
                next(heard.iter_raw(), None)
            else:
                heard.read()
            page.took_s.append(time.perf_counter() - began)
        page.status = heard.status_code
        page.queries = max(page.queries, int(heard.headers.get(OWN, 0)))
        page.shared = max(page.shared, int(heard.headers.get(SHARED, 0)))


def all_pages(visitor: Visitor, rows: int) -> list[Asked]:
    """Those that links lead to, and what these can be narrowed to; `rows` were filled in."""
    found = reached(cast(Client, visitor), "/dashboard/", "/admin/").values()
    addresses = [*found, *_periods(), *_requests(rows), *_files(), *_found()]
    for name in LISTS:
        addresses += _filters(visitor, f"/admin/orchestrator/{name}/")
    return [Asked(address) for address in dict.fromkeys(addresses)]


def _periods() -> Iterator[str]:
    for page in OF_A_PERIOD:
        yield from (f"/dashboard/{page}?period={period}" for period in PERIODS)
    for by in ("day", "tenant", "key", "team", "model", "provider"):
        yield f"/dashboard/costs/?{urlencode({'by': by})}"
    yield from (f"/dashboard/routing/results/?days={days}" for days in (1, 7, 30))


def _requests(rows: int) -> Iterator[str]:
    at = "/dashboard/requests/"
    for period in ("24h", "30d", "any"):
        yield from (f"{at}?period={period}&{filter_}" for filter_ in (*COMMON, *RARE))
        yield f"{at}?period={period}&model=openai/gpt-4.1&tier=miss&outcome=failed"
    yield from (f"{at}?{urlencode({'q': wanted})}" for wanted in SOUGHT)
    yield from (f"{at}?period=any&before={number}" for number in (rows, rows // 2, 60))
    yield from (f"{at}?period=any&after={number}" for number in (1, rows // 2))
    yield f"{at}?period=any&part=news&after={rows - 20}"
    yield f"{at}?period=any&tenant=3"
    yield f"{at}?period=any&tenant=3&outcome=failed&before={rows // 2}"
    yield from (f"{at}{number}/" for number in (1, rows // 2, rows))


def _files() -> Iterator[str]:
    names = ("series.csv", "requests/requests.csv", "costs/costs.csv", "costs/charges.csv", "audit/audit.csv")
    yield from (f"/dashboard/{name}" for name in names)
    yield "/dashboard/requests/requests.csv?period=30d"


def _found() -> Iterator[str]:
    yield from (
        f"/dashboard/go/?part=1&{urlencode({'q': q})}" for q in ("", "bench-000", "open", "ab12", "tenant", "x")
    )


def _filters(visitor: Visitor, at: str) -> Iterable[str]:
    """Each choice of its filters by itself, and what the admin searches and pages by."""
    page = unescape(visitor.client.get(at).text)
    seen: dict[str, int] = {}
    for query in re.findall(r'href="(\?[^"]+)"', page):
        kind = query.partition("=")[0]
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] <= MOST_FILTERS:
            yield at + query
    yield from (f"{at}?q={word}" for word in ("bench-0000000007", "nothing"))
    yield f"{at}?p=2"
