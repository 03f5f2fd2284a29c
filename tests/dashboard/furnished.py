"""A console with something on every page: requests, answers, rules, providers, money, keys, people, the audit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from django.test import Client
from django.urls import Resolver404, resolve
from django.utils.timezone import now

from orchestrator.audit import note
from orchestrator.core.changing import By
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.identity.keys import make_key
from orchestrator.models import ApiKey, Attempt, Limit, RequestRecord, Team, Tenant
from orchestrator.registry.models import OpenBreaker, Provider
from orchestrator.ruling import draft, versions
from routing.rules.checking import read_document
from tests.dashboard.site import record, somebody, traffic
from tests.dashboard.spending import budget, company
from tests.dashboard.tried import third_try

HERE = {
    "name": "Private stays here",
    "when": [{"fact": "tags", "op": "has", "value": ["private"]}],
    "then": {"local_only": True},
}
SHORT = {
    "name": "Short ones",
    "when": [{"fact": "tokens", "op": "below", "value": 400}],
    "then": {"use": ["smollm2:135m"]},
}
MOST_PAGES = 400  # of one crawl: a table of addresses is finite, a fault in it may not be
FORBIDDEN_TO_FOLLOW = ("/dashboard/sign-out/", "/admin/logout/")


def furnish(count: int = 300) -> None:
    """Write it all. What the cache keeps is put there by whoever has one."""
    at = datetime.now(UTC)
    traffic(at, count=count)
    company(at, days=20)
    budget("month of acme", 50_000_000, 41_000_000, now=at)
    acme = Tenant.objects.get(name="acme")
    team = Team.objects.create(tenant=acme, name="platform")
    key, _ = make_key(acme, "expiring", expires_at=at + timedelta(days=2), team=team, families=["chat"])
    ApiKey.objects.of(EVERYBODY).filter(pk=key.pk).update(last_used_at=at)
    Limit.objects.create(name="acme by the minute", kind="requests", each="tenant", amount=600, per_s=60, tenant=acme)
    somebody("bob", Role.OPERATOR, "acme")
    Provider.objects.create(name="groq", kind="groq", is_from_environment=True)
    OpenBreaker.objects.create(
        provider="groq", model="groq/llama", worker="a:1", opened_at=now(), seen_at=now(), why="it was late"
    )
    third_try()
    record(
        outcome="engine_timeout", status=504, error="groq did not answer within 30 s", tier="miss", model="groq/llama"
    )
    failed = RequestRecord.objects.of(EVERYBODY).latest("pk")
    Attempt.rows.create(
        request_id=failed.request_id,
        tenant=failed.tenant,
        at=at,
        provider="groq",
        model="groq/llama",
        outcome="engine_timeout",
        error="it said nothing",
        took_us=800_000,
    )
    note("user:mira", "key.revoked", "web-app", acme.pk, {"reason": "it leaked"})
    by = By("mira", "local ones stay local", "user:mira")
    draft.save(read_document({"rules": [HERE]}), by)
    versions.publish(by)
    draft.save(read_document({"rules": [HERE, SHORT]}), by)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href") if tag == "a" else None
        if href:
            self.found.append(href)


def reached(client: Client, *begin: str) -> Mapping[str, str]:
    """Each page that links lead to from there, by the name of its address, with the first place it was found at."""
    found: dict[str, str] = {}
    waiting = list(begin)
    while waiting and len(found) < MOST_PAGES:
        address = waiting.pop(0)
        path = urlsplit(address).path
        try:
            match = resolve(path)
        except Resolver404:
            continue
        name = ":".join((*match.app_names, match.url_name or ""))
        if name in found or path in FORBIDDEN_TO_FOLLOW or "ninja" in match.app_names:
            continue
        response = client.get(address)
        if not response.get("Content-Type", "").startswith("text/html") or response.status_code != 200:
            assert response.status_code < 400, f"{address} is linked, and answers {response.status_code}"
            continue
        found[name] = address
        links = _Links()
        links.feed(response.content.decode())
        waiting += [urljoin(address, link) for link in links.found if not urlsplit(link).netloc]
    return found
