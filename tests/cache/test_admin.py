"""The admin shows what is kept, changes nothing, and purges everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import include, path

from cache.assembly import open_cache
from cache.entries import Entry
from cache.generation import Generation
from cache.models import CacheEntry, Purge
from cache.tiered import TieredCache
from orchestrator.core.clock import Clock
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.core.types import CacheControl
from orchestrator.models import AuditEvent, Membership, Tenant
from tests.cache.conftest import CHARLIE, MakeEntry, reply
from tests.servers import RedisServer

admin.autodiscover()
urlpatterns = [path("admin/", admin.site.urls), path("", include("dashboard.urls"))]

pytestmark = [pytest.mark.django_db(databases=["default", "cache"], transaction=True), pytest.mark.urls(__name__)]


@pytest.fixture(autouse=True)
def _own_generation(tmp_path: Path, settings) -> None:
    settings.GENERATION_FILE = tmp_path / "generation"


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


@asynccontextmanager
async def opened() -> AsyncIterator[TieredCache]:
    generation = Generation(settings.GENERATION_FILE)
    cache = open_cache(Clock(), generation)
    try:
        yield cache
    finally:
        await cache.aclose()
        generation.close()


def keep(*entries: Entry) -> None:
    async def run() -> None:
        async with opened() as cache:
            for entry in entries:
                assert await cache.put(entry, since=cache.generation())

    asyncio.run(run())


def is_found(entry: Entry) -> bool:
    async def run() -> bool:
        async with opened() as cache:
            return await cache.find((entry.key,), CacheControl(), None) is not None

    return asyncio.run(run())


def test_the_list_names_model_and_tenant(operator: Client, make_entry: MakeEntry):
    home = Tenant.objects.create(name="home")
    entry = make_entry()
    keep(entry)
    CacheEntry.objects.of(EVERYBODY).update(tenant_id=home.pk)
    page = operator.get("/admin/cache/cacheentry/").content.decode()
    assert entry.key.hash[:16] in page
    assert "tiny:latest" in page
    assert ">home<" in page


def test_filters_and_the_beginning_of_a_hash_narrow_it(operator: Client, make_entry: MakeEntry):
    hers, theirs = make_entry(namespace="drafts"), make_entry("Other?", caller=CHARLIE)
    keep(hers, theirs)
    Tenant.objects.create(pk=CHARLIE.tenant_id, name="elsewhere")
    for query, shown, hidden in (
        (f"tenant={CHARLIE.tenant_id}", theirs, hers),
        ("namespace=drafts", hers, theirs),
        (f"q={hers.key.hash[:10]}", hers, theirs),
    ):
        page = operator.get(f"/admin/cache/cacheentry/?{query}").content.decode()
        assert shown.key.hash[:16] in page
        assert hidden.key.hash[:16] not in page


def test_nothing_is_counted_for_the_filters(operator: Client, make_entry: MakeEntry):
    keep(make_entry(namespace="drafts"))
    for query in ("", "?_facets=True"):
        page = operator.get(f"/admin/cache/cacheentry/{query}").content.decode()
        assert "Show counts" not in page
        assert "drafts (1)" not in page


def test_an_answer_is_shown_decoded_and_cannot_be_changed(operator: Client, make_entry: MakeEntry):
    entry = make_entry(answer=reply("four <script>"))
    keep(entry)
    page = operator.get(f"/admin/cache/cacheentry/{entry.key.hash}/change/").content.decode()
    assert "four &lt;script&gt;" in page
    assert "stop, after 1 tokens" in page
    assert operator.post(f"/admin/cache/cacheentry/{entry.key.hash}/change/", {"model": "x"}).status_code == 403
    assert operator.post("/admin/cache/cacheentry/add/", {"hash": "x"}).status_code == 403
    assert operator.post(f"/admin/cache/cacheentry/{entry.key.hash}/delete/", {"post": "yes"}).status_code == 403


def test_a_damaged_answer_is_shown_as_such(operator: Client, make_entry: MakeEntry):
    entry = make_entry()
    keep(entry)
    CacheEntry.objects.of(EVERYBODY).update(body=b"\x01rubbish")
    page = operator.get(f"/admin/cache/cacheentry/{entry.key.hash}/change/").content.decode()
    assert "never served" in page


def test_the_purge_action_drops_the_chosen_ones_and_writes_that_down(operator: Client, make_entry: MakeEntry):
    chosen, other = make_entry("chosen"), make_entry("other")
    keep(chosen, other)
    data = {"action": "purge", "_selected_action": [chosen.key.hash]}
    page = operator.post("/admin/cache/cacheentry/", data, follow=True).content.decode()
    assert "Answers purged: 1." in page
    assert list(CacheEntry.objects.of(EVERYBODY).values_list("hash", flat=True)) == [other.key.hash]
    assert Purge.objects.get().hash == chosen.key.hash
    assert not is_found(chosen)
    assert is_found(other)
    assert chosen.key.hash in operator.get("/admin/cache/purge/").content.decode()
    event = AuditEvent.objects.of(EVERYBODY).get()
    assert (event.actor, event.action, event.details["keys"]) == ("user:operator", "cache.purged", [chosen.key.hash])


def test_a_purge_that_redis_did_not_hear_of_says_so_and_holds(
    operator: Client, make_entry: MakeEntry, own_redis: RedisServer, settings
):
    redis = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": own_redis.url}
    options = {"SERIALIZER": "cache.tiers.redis.Bytes", "SOCKET_TIMEOUT": 0.2, "SOCKET_CONNECT_TIMEOUT": 0.2}
    settings.CACHES = {**settings.CACHES, "redis": {**redis, "OPTIONS": options}}
    settings.REDIS_LOCATION = own_redis.url
    entry = make_entry()
    keep(entry)
    assert own_redis.command("DBSIZE") == b":1\r\n"
    own_redis.pause()
    data = {"action": "purge", "_selected_action": [entry.key.hash]}
    page = operator.post("/admin/cache/cacheentry/", data, follow=True).content.decode()
    own_redis.resume()
    assert "Redis was not swept" in page
    assert not is_found(entry)
    assert own_redis.command("DBSIZE") == b":1\r\n"  # still there, out of sight


def test_who_may_only_look_may_not_purge(make_entry: MakeEntry):
    keep(make_entry())
    auditor = User.objects.create_user("auditor")
    Membership.objects.create(user=auditor, role=Role.AUDITOR)
    client = Client()
    client.force_login(auditor)
    assert 'value="purge"' not in client.get("/admin/cache/cacheentry/").content.decode()


def test_the_file_of_the_settings_is_the_one_that_is_used():
    assert Path(str(settings.DATABASES["cache"]["NAME"])).name.startswith("test-cache.sqlite3")
