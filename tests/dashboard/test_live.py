"""The live connection without a browser: who gets one, what it carries, what it costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.db import OperationalError

from dashboard import live as live_module
from dashboard.live import MOST_ROWS, Live, Mailbox, live
from dashboard.periods import DEFAULT
from dashboard.reading import Reader, newest_id
from dashboard.running import Look
from orchestrator.core.permissions import EVERYBODY
from tests.dashboard.site import burst, record, session_of

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
PATIENCE_S = 60.0


async def eventually(claim) -> None:
    """Wait until `claim()` is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not claim():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@asynccontextmanager
async def watching(address, user=None, origin: str | None = None, query="") -> AsyncIterator[Any]:
    """A live connection as `user`, from a page of `origin`."""
    headers = {"Cookie": f"orchestrator_session={await sync_to_async(session_of)(user)}"} if user else {}
    url = address.replace("http", "ws") + "/dashboard/live/" + query
    async with websockets.connect(url, additional_headers=headers, origin=origin or address, proxy=None) as socket:
        yield socket


async def heard(socket, *words: str) -> str:
    """The first message that holds all `words`."""
    async with asyncio.timeout(PATIENCE_S):
        async for message in socket:
            if all(word in message for word in words):
                return message
    raise AssertionError("the connection ended")


async def test_a_stranger_gets_no_connection(address):
    with pytest.raises(websockets.InvalidStatus, match="403"):
        async with watching(address):
            pass


async def test_an_account_without_staff_status_gets_none(address, passer_by):
    with pytest.raises(websockets.InvalidStatus, match="403"):
        async with watching(address, passer_by):
            pass


async def test_a_page_of_another_site_gets_none(address, operator):
    with pytest.raises(websockets.InvalidStatus, match="403"):
        async with watching(address, operator, origin="https://elsewhere.example"):
            pass


async def test_a_watcher_is_sent_every_part_first_and_then_what_changes(address, operator):
    async with watching(address, operator) as socket:
        first = await heard(socket, 'id="verdict"')
        for part in ("health", "figures", "steps", "heat", "models", "money", "beside-providers"):
            assert f'id="{part}"' in first
        assert 'hx-swap-oob="true"' in first
        await sync_to_async(record)(request_id="fresh", asked_model="a-new-model", model="a-new-model")
        awaited = [('hx-swap-oob="afterbegin"', "a-new-model"), ('id="verdict"', "1 request in the last hour")]
        async with asyncio.timeout(PATIENCE_S):
            while awaited:  # whichever comes first
                message = str(await socket.recv())
                awaited = [words for words in awaited if not all(word in message for word in words)]


async def test_the_poller_runs_while_somebody_watches_and_no_longer(address, operator):
    assert not live.is_polling
    async with watching(address, operator) as one, watching(address, operator) as other:
        await heard(one, 'id="figures"')
        await heard(other, 'id="figures"')
        assert live.is_polling
    await eventually(lambda: not live.is_polling)


async def test_a_quiet_connection_says_that_it_is_there(address, operator, monkeypatch):
    monkeypatch.setattr("dashboard.consumers.SPEAK_EVERY_S", 0.05)
    monkeypatch.setattr(live_module, "FIGURES_EVERY_S", 60)
    async with watching(address, operator) as socket:
        await heard(socket, "<!-- nothing new -->")


async def test_signing_out_ends_the_connection(address, operator, monkeypatch):
    monkeypatch.setattr("dashboard.consumers.SPEAK_EVERY_S", 0.05)
    monkeypatch.setattr("dashboard.sessions.LOOK_EVERY_S", 0.05)
    async with watching(address, operator) as socket:
        await heard(socket, 'id="verdict"')
        await sync_to_async(Session.objects.all().delete)()
        with pytest.raises(websockets.ConnectionClosedError):
            await heard(socket, "never said")
        assert socket.close_code == 4403


async def test_rows_of_a_burst_are_bounded_and_the_rest_is_counted(address, operator):
    async with watching(address, operator) as socket:
        await heard(socket, 'id="verdict"')
        await sync_to_async(burst)(60)
        messages = []
        async with asyncio.timeout(PATIENCE_S):
            while not any("<tr " in message for message in messages):
                messages.append(await heard(socket, ""))
        assert 0 < messages[-1].count("<tr ") <= MOST_ROWS
        assert any("came too fast to list" in message for message in messages)


async def test_what_came_since_the_page_was_made_is_sent_first_whoever_watches_already(address, operator):
    await sync_to_async(record)(model="shown")
    shown = await sync_to_async(newest_id)()
    async with watching(address, operator, query=f"?after={shown}") as before:
        for name in ("early", "later"):
            await sync_to_async(record)(model=name)
        await heard(before, "later")  # so that it is news no more
        async with watching(address, operator, query=f"?after={shown}") as socket:
            missed = await heard(socket, '<tbody id="rows"')
        assert missed.index("later") < missed.index("early")
        assert "shown" not in missed
        for nonsense in ("", "?after=", "?after=%C2%B2", f"?after={'9' * 40}", f"?after={10**18 - 1}"):
            async with watching(address, operator, query=nonsense) as socket:
                await heard(socket, 'id="figures"')
                await sync_to_async(record)(model="and-more")
                await heard(socket, "and-more")


# Mailboxes


async def test_a_mailbox_holds_the_newest_of_each_part():
    mailbox = Mailbox()
    for number in range(100):
        mailbox.put_parts({"figures": f"<p>{number}</p>", "health": "<p>fine</p>"})
        mailbox.put_rows({number: f"<tr>{number}</tr>"})
    parts, rows = await mailbox.take()
    assert parts == "<p>99</p><p>fine</p>"
    assert rows.count("<tr>") == MOST_ROWS
    assert rows.index("<tr>99") < rows.index("<tr>98")
    mailbox.put_rows({7: "<tr>7</tr>", 8: "<tr>8</tr>"})
    mailbox.put_rows({6: "<tr>6</tr>", 7: "<tr>7</tr>"})  # late, and once more
    assert "<tr>8</tr><tr>7</tr><tr>6</tr>" in (await mailbox.take())[0]


async def test_what_was_sent_is_not_sent_again_until_it_changes():
    mailbox = Mailbox()
    mailbox.put_parts({"health": "fine", "figures": "1"})
    await mailbox.take()
    mailbox.put_parts({"health": "fine", "figures": "2"})
    assert await mailbox.take() == ["2"]


# A ledger that fails


async def nothing_known() -> Look:
    return Look(None, None, None)


async def test_the_poller_outlives_a_ledger_that_cannot_be_read(transactional_db, monkeypatch, caplog):
    monkeypatch.setattr(live_module, "BACK_OFF_S", 0.05)
    broken = True

    def figures(*args: Any) -> Any:
        if broken:
            raise OperationalError("disk I/O error")
        return real(*args)

    from dashboard import reading

    real = reading.read_snapshot
    monkeypatch.setattr(reading, "read_snapshot", figures)
    own = Live(Reader(), nothing_known)
    async with own.watch(DEFAULT, EVERYBODY) as mailbox, asyncio.timeout(PATIENCE_S):
        first = "".join(await mailbox.take())
        assert "The figures could not be read." in first
        assert 'id="figures"' not in first  # those on the page stay
        broken = False
        while 'id="figures"' not in "".join(await mailbox.take()):
            pass
    assert [r.message for r in caplog.records].count("the dashboard cannot read the figures: disk I/O error") == 1


async def test_a_poller_that_breaks_says_so_and_the_next_watcher_starts_another(transactional_db, caplog):
    async def broken() -> Look:
        raise RuntimeError("a fault of ours")

    own = Live(Reader(), broken)
    async with own.watch(DEFAULT, EVERYBODY):
        await eventually(lambda: not own.is_polling)
    assert "the dashboard's poller ended" in caplog.text
    own = Live(Reader(), nothing_known)
    async with own.watch(DEFAULT, EVERYBODY) as mailbox, asyncio.timeout(PATIENCE_S):
        assert await mailbox.take()
