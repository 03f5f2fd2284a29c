"""A running console with records in it: the real ASGI table on a real socket, and a browser to look at it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import transaction
from django.http import QueryDict
from django.test import Client
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright
from playwright.async_api import TimeoutError as TimedOut

from cache import missed
from cache.entries import CacheKey, Entry
from cache.models import CacheEntry
from dashboard.answers import purging
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.core.types import Done, Model, Reply, Usage
from orchestrator.engines.llamacpp import LoadedModel
from orchestrator.ledger.rows import insert
from orchestrator.models import ApiKey, Membership, Tenant
from orchestrator.parts import Parts

START_S = 60.0
KEYS_WITHIN_S = 1.5  # as in static/js/keys.js
MISSED = (missed.NEW, missed.NEW, missed.EXPIRED, missed.NEW, missed.NOT_ASKED, missed.NEW, missed.TOO_OLD, missed.GONE)


class Server(uvicorn.Server):
    """Serves inside the test's own event loop, and leaves its signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


@contextlib.asynccontextmanager
async def served(application: Any) -> AsyncIterator[str]:
    """Serve on a free port; the address."""
    config = uvicorn.Config(application, port=0, lifespan="off", log_level="warning", ws="websockets-sansio")
    server = Server(config)
    serving = asyncio.create_task(server.serve())
    deadline = time.monotonic() + START_S
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        assert not serving.done(), serving
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        await asyncio.wait_for(serving, START_S)


ARGUMENTS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update")  # no calling home


# What htmx says of a request that was under way when its page was left. What fails has more said of it than that.
ASKED_IN_VAIN = ("htmx:afterRequest,", "htmx:sendAbort,")


def chromium_program() -> str:
    """The system's Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "No Chromium here; type: apt-get install chromium"
    return path


@contextlib.asynccontextmanager
async def running_chromium(folder: Path) -> AsyncIterator[str]:
    """Run a Chromium with an empty profile in `folder`; the address it is driven at, by several one after the other."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch_persistent_context(
            folder, executable_path=chromium_program(), args=[*ARGUMENTS, "--remote-debugging-port=0"]
        )
        try:
            yield f"http://127.0.0.1:{await _port(folder / 'DevToolsActivePort')}"
        finally:
            await started.close()


async def _port(file: Path) -> int:
    """What a Chromium wrote there; it does so from a thread of its own, that nothing else of its start waits for."""
    async with asyncio.timeout(START_S):
        while (port := _port_in(file)) is None:
            await asyncio.sleep(0.01)
        return port


def _port_in(file: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError, ValueError):
        port, _ = file.read_text().split("\n")  # the second line says that the first is whole
        return int(port)
    return None


@contextlib.asynccontextmanager
async def chromium(address: str) -> AsyncIterator[Browser]:
    """Drive the Chromium at that address. What is opened here knows nothing of what others open, and ends with it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(address)
        try:
            yield browser
        finally:
            await browser.close()


def somebody(name: str, role: Role | None = None, tenant: str | None = None, **fields: Any) -> User:
    """A person, with a role in a tenant or in every one."""
    user = User.objects.create_user(name, **fields)
    if role is not None:
        of = None if tenant is None else Tenant.objects.get_or_create(name=tenant)[0]
        Membership.objects.create(user=user, tenant=of, role=role)
    return user


def session_of(user: User) -> str:
    """The cookie of a session that is signed in as `user`."""
    client = Client()
    client.force_login(user)
    return client.cookies["orchestrator_session"].value


async def opened(browser: Browser, address: str, user: User | None, **options: Any) -> Page:
    """A page of a browser that is signed in as `user`, with what it complains about in `page.complaints`."""
    context = await browser.new_context(**options)
    if user is not None:
        cookie = await sync_to_async(session_of)(user)
        await context.add_cookies([{"name": "orchestrator_session", "value": cookie, "url": address}])
    page = await context.new_page()
    complaints: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(ASKED_IN_VAIN):
            complaints.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.complaints = complaints  # type: ignore[attr-defined]  # carried along with the page
    return page


async def sign_in(page: Page, link: str) -> None:
    """Open a link that signs in once, and press the button of its page."""
    await page.goto(link)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.wait_for_url(lambda url: url != link)


async def go(page: Page, letter: str) -> None:
    """Press `g` and the letter of a page, and wait until that is loaded.

    Again where a busy machine let more time pass between the two than they may take.
    """
    left = page.url
    while True:
        began = time.monotonic()
        await page.keyboard.press("g")
        await page.keyboard.press(letter)
        is_in_time = time.monotonic() - began < KEYS_WITHIN_S
        try:
            await page.wait_for_url(lambda url: url != left, timeout=30_000 if is_in_time else 5_000)
        except TimedOut:
            if is_in_time:
                raise
        else:
            return


class FakeLocal:
    """A model host with one model in memory and one on disk; `is_silent` makes it never answer."""

    name = "llamacpp"
    is_silent = False
    is_down = False

    async def ready(self) -> bool:
        """Whether it runs."""
        if self.is_silent:
            await asyncio.Event().wait()
        return not self.is_down

    async def ps(self) -> list[LoadedModel]:
        """What is loaded."""
        if self.is_down:
            raise ConnectionError("no socket")
        return [
            LoadedModel(
                model=_model("smollm2:135m"),
                size=201_000_000,
                context_length=4096,
                expires_at=time.time() + 272,
                slots=4,
                busy=2,
                waiting=0,
                tokens_per_s=148.2,
                threads=1,
                pid=1,
            )
        ]

    async def models(self) -> list[Model]:
        """What is installed."""
        return [_model("smollm2:135m"), _model("qwen2.5:3b-instruct")]

    async def find(self, name: str) -> Model | None:
        """One of them."""
        return next((one for one in await self.models() if one.name == name), None)

    async def loading(self) -> frozenset[str]:
        """Nothing is being loaded."""
        return frozenset()

    async def aclose(self) -> None:
        """Nothing is open."""


def _model(name: str) -> Model:
    return Model(name=name, digest="0" * 64, engine="llamacpp", size=98_000_000)


ROW: dict[str, Any] = {
    "key_id": None,
    "dialect": "ollama",
    "endpoint": "/api/chat",
    "asked_model": "smollm2:135m",
    "model": "smollm2:135m",
    "provider": "llamacpp",
    "route": "named",
    "tier": "memory",
    "cache_key": "ab" * 32,
    "streamed": False,
    "status": 200,
    "outcome": "done",
    "error": "",
    "prompt_tokens": 41,
    "completion_tokens": 18,
    "cached_tokens": 0,
    "is_estimated": False,
    "first_us": 200,
    "engine_first_us": None,
    "total_us": 300,
    "is_paid": False,
    "tags": "",
    "unsupported": "",
    "granted_by_id": None,
    "adapted": None,
    "stages": None,
    "missed": None,
    "cost_microusd": 0,
    "saved_microusd": None,
    "saved_why": None,
    "saved_of": None,
    "saved_price_id": None,
}


def record(at: datetime | None = None, **fields: Any) -> None:
    """Write one request."""
    tenant = Tenant.objects.get_or_create(name=fields.pop("tenant", "acme"))[0]
    at = at or datetime.now(UTC)
    insert([ROW | {"request_id": f"r{time.time_ns()}", "at": at, "tenant_id": tenant.pk} | fields])


def burst(count: int) -> None:
    """So many requests at the same moment, however long a busy machine takes to write them."""
    with transaction.atomic():
        for _ in range(count):
            record()


def traffic(now: datetime, span: timedelta = timedelta(hours=24), count: int = 4000, seed: int = 1) -> None:
    """Write the requests of a small company: half from memory, a tide, a few failures; the same every time."""
    chance = random.Random(seed)
    keys = _keys()
    rows = []
    for index in range(count):
        # A quarter of them in the last hour, so that both periods have something to show.
        near = index % 4 == 0
        ago = (min(span, timedelta(hours=1)) if near else span) * chance.random() ** 1.2
        tier = chance.choices(["memory", "redis", "sqlite", "miss", "collapsed", "bypass"], [48, 17, 9, 21, 4, 1])[0]
        from_model = tier in {"miss", "bypass", "collapsed"}
        asked, model, took = chance.choice(
            [
                ("auto", "smollm2:135m", 13.0),
                ("smollm2:135m", "smollm2:135m", 12.6),
                ("auto", "qwen2.5:3b-instruct", 14.2),
                ("openai/gpt-4.1-mini", "openai/gpt-4.1-mini", 13.8),
            ]
        )
        center = {"memory": 5.6, "redis": 7.1, "sqlite": 7.6}.get(tier, took)
        total = int(chance.lognormvariate(center, 0.5))
        row = ROW | {
            "request_id": f"seed{seed}-{index}",
            "at": now - ago,
            "asked_model": asked,
            "model": model,
            "provider": "openai" if "/" in model else "llamacpp",
            "tier": tier,
            "missed": MISSED[index % len(MISSED)] if tier == "miss" else None,
            "prompt_tokens": chance.randint(8, 1900),
            "completion_tokens": chance.randint(2, 420),
            "first_us": int(total * 0.3) if from_model else total - 40,
            "engine_first_us": int(total * 0.3) if from_model else None,
            "total_us": total,
            "is_paid": from_model and "/" in model,
            **chance.choice(keys),
        }
        if from_model and chance.random() < 0.02:
            row |= {
                "outcome": "engine_timeout",
                "status": 504,
                "error": "silent",
                "total_us": 30_000_000,
                "first_us": None,
                "engine_first_us": None,
            }
        elif chance.random() < 0.004:
            row |= {"outcome": "model_not_found", "status": 404, "model": "", "tier": "", "total_us": 400}
        rows.append(row)
    insert(sorted(rows, key=lambda row: row["at"]))


def _keys() -> list[dict[str, int | None]]:
    owners = []
    for tenant_name, key_name in (
        ("acme", "web-app"),
        ("acme", "ci"),
        ("globex", "helpdesk"),
        ("northwind", "support-bot"),
    ):
        tenant = Tenant.objects.get_or_create(name=tenant_name)[0]
        key = ApiKey.objects.of(EVERYBODY).get_or_create(
            prefix=f"{tenant_name[:4]}{key_name[:4]}", defaults={"tenant": tenant, "name": key_name, "digest": "x"}
        )[0]
        owners.append({"tenant_id": tenant.pk, "key_id": key.pk})
    owners.append({"tenant_id": Tenant.objects.get_or_create(name="default")[0].pk, "key_id": None})
    return owners


def answer(
    number: int, model: str = "smollm2:135m", namespace: str = "", tenant_id: int = 1, text: str = "Four."
) -> Entry:
    """A kept answer."""
    now = time.time()
    usage = Usage(prompt_tokens=9, completion_tokens=4)
    return Entry(
        CacheKey(f"{number:064x}", tenant_id, namespace, model),
        Reply(model=model, text=text, done=Done(reason="stop", usage=usage)),
        created_at=now - 60 * number,
        expires_at=now + 7 * 86400 - 60 * number,
    )


async def fill(console: Parts, count: int = 5, **fields: Any) -> None:
    """Keep so many answers, and wait until pages can read them: the file is written behind a `put`."""
    await keep(console, *(answer(number, **fields) for number in range(1, count + 1)))  # health asks for key 0


async def keep(console: Parts, *answers: Entry) -> None:
    """Keep these, and wait as `fill` does."""
    for one in answers:
        assert await console.cache.put(one, console.cache.generation())
    hashes = [one.key.hash for one in answers]
    async with asyncio.timeout(60):
        while await CacheEntry.objects.of(EVERYBODY).filter(hash__in=hashes).acount() < len(answers):
            await asyncio.sleep(0.01)


async def away(page: Page, is_away: bool) -> None:
    """As when the tab goes into the background, and as when it comes back."""
    await page.evaluate(
        "is => { Object.defineProperty(document, 'hidden', {value: is, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        is_away,
    )


def as_counted(form: dict[str, str]) -> dict[str, str]:
    """A purge's form as its page sends it: with what was counted."""
    return form | {"counted": purging.read(QueryDict(urlencode(form))).about}
