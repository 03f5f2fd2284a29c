"""Whatever stands in an address: a page answers it, refuses it in words, or knows no such thing. It never breaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.http import QueryDict
from django.test import AsyncClient
from django.urls import reverse

from dashboard.keys import forms
from dashboard.policy import PAGES
from dashboard.reading import reader
from dashboard.requests.asked import FIELDS
from dashboard.urls import urlpatterns
from tests.dashboard.furnished import furnish
from tests.dashboard.site import fill

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

# As they stand in an address.
HOSTILE = (
    "",
    "a%00b",
    "%ED%A0%80",  # half of a pair, which no text has
    "%C2%B2",  # a digit, and no number
    "-1",
    "1" + 30 * "0",
    5_000 * "9",  # more digits than Python reads
    "1e400",
    "2026-01-01_x",  # no time zone
    "0001-01-01T00:00:00%2B23:59",  # before the first moment there is
    "%0D%0ASet-Cookie:%20a=b",
    "%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
    "%25_%5C*%5B",  # what patterns are made of
    3_000 * "%F0%9F%A6%99",
)
# Each of them also for one parameter alone: what is wrong with another may hide what it does.
WORST = (HOSTILE[1], HOSTILE[3], HOSTILE[5], HOSTILE[9])
NUMBERS = (0, 1, 2**63, 10**30)
NAMES = ("x", "acme", "groq", "smollm2:135m", "../../x", 300 * "y")
FINE = {200, 204, 302, 404, 405, 422}
# Taken as a whole: which are read cannot be heard.
AS_A_WHOLE = {
    "requests": FIELDS,
    "requests-csv": FIELDS,
    "key-new": forms.KEY_FIELDS,
    "limit-new": forms.LIMIT_FIELDS,
    "budget-new": forms.BUDGET_FIELDS,
}
NOT_ASKED = {"sign-out", "sign-in-link", "doctor"}  # ends the session, takes a token that is a path, looks at machines


class Heard:
    """Which parameters a page asks for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        of_one, of_many = QueryDict.__getitem__, QueryDict.getlist

        def one(data: QueryDict, key: str) -> Any:
            self.names.add(key)
            return of_one(data, key)

        def many(data: QueryDict, key: str, default: Any = None) -> Any:
            self.names.add(key)
            return of_many(data, key, default)

        monkeypatch.setattr(QueryDict, "__getitem__", one)
        monkeypatch.setattr(QueryDict, "getlist", many)


def _paths() -> Iterator[tuple[str, str]]:
    """Every page, with every number and name that its address may have."""
    for pattern in urlpatterns:
        assert pattern.name
        if pattern.name in NOT_ASKED:
            continue
        kinds = pattern.pattern.converters
        page = f"dashboard:{pattern.name}"
        if pattern.name == "provider-switch":
            yield pattern.name, reverse(page, kwargs={"name": "groq", "to": "on"})
        elif "number" in kinds:
            for number in NUMBERS:
                yield pattern.name, reverse(page, args=[number])
        elif "name" in kinds:
            for name in NAMES:
                is_slug = type(kinds["name"]).__name__ == "SlugConverter"
                if not is_slug or name.replace("-", "").isalnum():
                    yield pattern.name, reverse(page, args=[name])
        else:
            yield pattern.name, reverse(page)


@pytest.fixture
async def site(console: object, operator: User) -> AsyncClient:
    """An admin of every tenant, who is told of faults by their status, as anybody is."""
    await sync_to_async(furnish)(60)
    await fill(console, 2)  # type: ignore[arg-type]
    reader.forget()
    client = AsyncClient(raise_request_exception=False)
    await client.aforce_login(operator)
    return client


async def test_no_address_breaks_a_page(site: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard(monkeypatch)
    broken: list[str] = []
    asked: dict[str, set[str]] = {}

    async def ask(address: str) -> None:
        response = await site.get(address)
        parts: Any = response  # typed as if it were whole
        content = b"".join([part async for part in parts]) if response.streaming else response.content
        if response.status_code not in FINE or b"<script>alert" in content:
            broken.append(f"{response.status_code} {address[:200]}")

    for name, path in _paths():
        heard.names = set(AS_A_WHOLE.get(name, ()))
        await ask(path)
        names = sorted(heard.names - asked.setdefault(name, set()))
        asked[name] |= heard.names
        if names:
            for value in HOSTILE:
                await ask(f"{path}?{'&'.join(f'{parameter}={value}' for parameter in names)}")
            for value in (value for value in WORST for _ in names[1:2]):
                for parameter in names:
                    await ask(f"{path}?{parameter}={value}")
    assert not broken, "\n".join(broken)
    assert {"q", "state", "tenant", "before"} <= asked["keys"], "it was heard what a page reads"
    assert {f"dashboard:{name}" for name in (*asked, *NOT_ASKED)} == {
        name for name in PAGES if name.startswith("dashboard:")
    }
