"""The list of requests without a browser: what is found by which filter, for whom, and at what price."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.http import QueryDict
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext

from dashboard.reading import reader
from dashboard.requests import searching, sheet
from dashboard.requests.asked import asked
from dashboard.requests.searching import Found, news, search
from orchestrator.core.errors import Busy
from orchestrator.core.permissions import EVERYBODY, Reach, Role
from orchestrator.models import RequestRecord, Tenant
from tests.dashboard.site import record, somebody, traffic

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

PAGE = "/dashboard/requests/"
NOW = datetime.now(UTC)


@pytest.fixture
async def staff(operator: Any, console: Any) -> AsyncClient:
    """A client that is signed in."""
    client = AsyncClient()
    await client.aforce_login(operator)
    return client


def text(response: Any) -> str:
    """The words of a page, tags taken out."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def found(query: str, reach: Reach = EVERYBODY, **where: Any) -> list[str]:
    """The ids of the requests that an address asks for."""

    return [row.request_id for row in search(asked(QueryDict(query).dict(), datetime.now(UTC)), reach, **where).rows]


SAMPLES: dict[str, dict[str, Any]] = {
    "plain": {},
    "slow": {"total_us": 5_000_000},
    "failed": {"outcome": "engine_timeout", "status": 504, "tier": "miss", "error": "Groq was silent."},
    "refused": {"outcome": "model_not_found", "status": 404, "tier": "", "model": ""},
    "paid": {"tier": "miss", "is_paid": True, "provider": "groq", "model": "groq/llama", "asked_model": "auto"},
    "ruled": {"route": 'rule "night"; engine_timeout: x', "tags": "mail,night", "cache_key": "cd" * 32},
    "tagged": {"tags": "nightly", "dialect": "openai"},
    "other": {"tenant": "globex"},
    "gone-by": {"at": NOW - timedelta(days=3)},
}


@pytest.fixture
def samples(transactional_db: None) -> None:
    """One request of each kind."""
    for name, fields in sorted(SAMPLES.items(), key=lambda one: one[1].get("at", NOW)):
        record(request_id=name, **fields)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", {*SAMPLES} - {"gone-by"}),
        ("period=any", {*SAMPLES}),
        ("period=15m&tier=miss", {"failed", "paid"}),
        ("tier=none", {"refused"}),
        ("outcome=failed", {"failed"}),
        ("outcome=refused", {"refused"}),
        ("outcome=engine_timeout", {"failed"}),
        ("model=auto", {"paid"}),
        ("model=groq/llama", {"paid"}),
        ("provider=groq", {"paid"}),
        ("rule=night", {"ruled"}),
        ("rule=nigh", set()),
        ("route=timeout", {"ruled"}),
        ("dialect=openai", {"tagged"}),
        ("paid=1", {"paid"}),
        ("slower=5000", {"slow"}),
        ("tag=night", {"ruled"}),
        ("tag=nightly", {"tagged"}),
        ("key=0&outcome=failed", {"failed"}),
        ("q=silent", {"failed"}),
        ("q=ref", {"refused"}),
        ("q=cdcdcdcd", {"ruled"}),
        ("q=%25", set()),
        (f"to={NOW - timedelta(days=1):%Y-%m-%dT%H:%M}", {"gone-by"}),
        (
            f"from={NOW - timedelta(days=4):%Y-%m-%dT%H:%M}&outcome=done",
            {*SAMPLES} - {"failed", "refused"},
        ),
    ],
)
def test_each_filter_finds_its_own(samples: None, query: str, names: set[str]) -> None:
    assert set(found(query)) == names


def test_whose_they_are_bounds_what_is_found(samples: None) -> None:
    globex = Reach(frozenset({Tenant.objects.get(name="globex").pk}))
    assert found("", globex) == ["other"]
    assert found("q=plain", globex) == []
    assert found("q=oth", globex) == ["other"]
    assert news(asked({}, NOW), globex, 0).rows[0].request_id == "other"


@pytest.fixture
def jobs(transactional_db: None) -> list[str]:
    """Ids of two tenants that begin alike, globex's behind those of acme; and an error with the same word in it."""
    names = [f"job-{number:02d}" for number in range(8)]
    for name in names:
        record(request_id=name, tenant="globex" if name > "job-04" else "acme")
    record(request_id="about-it", tenant="globex", error="The job was lost.", tier="miss")
    return names


def test_the_beginning_of_an_id_finds_all_that_begin_so_and_nothing_else(jobs: list[str]) -> None:
    assert found("q=job") == jobs[::-1]
    assert found("q=job&tier=miss") == [], "it stays a search for ids"
    wanted, before, seen = asked({"q": "job"}, datetime.now(UTC)), 0, []
    for _ in range(2):
        page = search(wanted, EVERYBODY, before=before, most=4)
        before = page.older
        seen += [row.request_id for row in page.rows]
    assert (seen, before) == (jobs[::-1], 0), "the last page is full, and nothing is older"
    back = search(wanted, EVERYBODY, after=page.newer, most=4)
    assert [row.request_id for row in back.rows] == jobs[:3:-1]
    assert back.newer == 0
    assert [row.request_id for row in news(wanted, EVERYBODY, 0).rows] == jobs[::-1]


def test_ids_of_others_hide_none_of_ones_own(jobs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    globex = Reach(frozenset({Tenant.objects.get(name="globex").pk}))
    assert found("q=job", globex) == jobs[:4:-1]
    assert found("q=job-00", globex) == []
    monkeypatch.setattr(searching, "MOST_IDS", 3)
    assert found("q=job", globex) == ["about-it", *jobs[:4:-1]]


def test_more_ids_than_are_looked_up_are_found_by_their_numbers(jobs: list[str], monkeypatch) -> None:
    """With what has the word in its error; none is left out, and the newest come first."""
    monkeypatch.setattr(searching, "MOST_IDS", 3)
    wanted, before, seen = asked({"q": "job"}, datetime.now(UTC)), 0, []
    for _ in range(3):
        page = search(wanted, EVERYBODY, before=before, most=3)
        before = page.older
        seen += [row.request_id for row in page.rows]
    assert (seen, before) == (["about-it", *jobs[::-1]], 0)
    assert [row.request_id for row in news(wanted, EVERYBODY, 0).rows] == seen


def test_pages_go_on_by_numbers_and_come_back(transactional_db: None) -> None:
    for index in range(7):
        record(request_id=f"r{index}")
    wanted = asked({}, datetime.now(UTC))
    first = search(wanted, EVERYBODY, most=3)
    assert [row.request_id for row in first.rows] == ["r6", "r5", "r4"]
    assert first.newer == 0
    second = search(wanted, EVERYBODY, before=first.older, most=3)
    assert [row.request_id for row in second.rows] == ["r3", "r2", "r1"]
    last = search(wanted, EVERYBODY, before=second.older, most=3)
    assert [row.request_id for row in last.rows] == ["r0"]
    assert last.older == 0
    back = search(wanted, EVERYBODY, after=last.newer, most=3)
    assert [row.request_id for row in back.rows] == ["r3", "r2", "r1"]
    top = search(wanted, EVERYBODY, after=back.newer, most=3)
    assert [row.request_id for row in top.rows] == ["r6", "r5", "r4"]
    assert top.newer == 0


def test_a_search_that_runs_out_of_time_says_how_far_it_came(transactional_db, monkeypatch) -> None:
    """And going on from there finds the rest, each once."""
    for index in range(12):
        record(request_id=f"r{index}", outcome="cut" if index == 1 else "done")
    monkeypatch.setattr(searching, "FIRST_SLICE", 4)
    monkeypatch.setattr(searching, "BUDGET_S", 1e-9)
    wanted, before, seen = asked({"outcome": "cut"}, datetime.now(UTC)), 0, []
    first = search(wanted, EVERYBODY)
    assert first.looked_to is not None
    assert first.rows == []
    for _ in range(20):
        page = search(wanted, EVERYBODY, before=before)
        seen += [row.request_id for row in page.rows]
        before = page.older
        if not before:
            break
    assert not before
    assert seen == ["r1"]


@pytest.mark.parametrize("most_ids", [0, 1])
@pytest.mark.parametrize("reach", [EVERYBODY, Reach(frozenset({1})), Reach(frozenset({1, 2}))])
def test_no_look_reads_all_there_is(transactional_db, monkeypatch, reach: Reach, most_ids: int) -> None:
    """Each statement is bounded by numbers or by an index; none of them sorts or counts."""

    monkeypatch.setattr(searching, "MOST_IDS", most_ids)
    record(request_id="something-1")
    wanted = asked({"outcome": "failed", "period": "1h", "q": "something"}, datetime.now(UTC))
    with CaptureQueriesContext(
        connection,
    ) as asked_for:
        search(wanted, reach)
        search(asked({"q": "none such"}, datetime.now(UTC)), reach)
        news(wanted, reach, 0)
    for query in asked_for.captured_queries:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            plan = " / ".join(row[3] for row in cursor.fetchall())
        assert "COUNT(" not in query["sql"]
        if "LIMIT 1" in query["sql"]:
            continue
        assert "SCAN orchestrator_requestrecord" not in plan or "request_id" in plan, plan
        assert "rowid" in plan or "request_id" in plan or "tenant_id" in plan, plan


async def test_where_many_ids_begin_so_more_of_one_finds_it(staff: AsyncClient, monkeypatch) -> None:
    for number in range(12):
        await sync_to_async(record)(request_id=f"old-{number:02d}" if number < 6 else f"new-{number:02d}")
    monkeypatch.setattr(searching, "MOST_IDS", 3)
    monkeypatch.setattr(searching, "FIRST_SLICE", 4)
    monkeypatch.setattr(searching, "BUDGET_S", 1e-9)
    said = "Many ids begin so; with more of it an id is found at once."
    assert said in text(await staff.get(f"{PAGE}?q=old"))
    assert said not in text(await staff.get(f"{PAGE}?q=old-00"))
    assert said not in text(await staff.get(f"{PAGE}?q=none"))


async def test_the_page_says_how_many_and_what_stands_out(staff: AsyncClient) -> None:
    await sync_to_async(traffic)(datetime.now(UTC), count=800)
    await sync_to_async(record)(outcome="engine_timeout", status=504, tier="miss", total_us=31_000_000)
    said = text(await staff.get(PAGE))
    assert "801 requests in the last 24 hours." in said
    assert "took 31.0" in said
    assert "of 801 requests in the last 24 hours." in text(await staff.get(f"{PAGE}?outcome=failed"))
    assert "Take away: answered by memory" in (await staff.get(f"{PAGE}?tier=memory")).content.decode()


async def test_nothing_yet_and_nothing_that_matches_say_what_to_do(staff: AsyncClient) -> None:
    assert "No request in the last 24 hours" in text(await staff.get(PAGE))
    await sync_to_async(record)()
    said = text(await staff.get(f"{PAGE}?provider=nobody"))
    assert "No request matches." in said
    assert "Take the conditions away" in said


HOSTILE = [
    "q=%00",
    "q='%3B DROP TABLE",
    "q=%3Cscript%3E",
    "tenant=abc",
    "tenant=99999999999999999999",
    "key=-1",
    "slower=nan",
    "slower=1e400",
    "tier=none-such",
    "from=yesterday",
    "from=0001-01-01T00:00",
    "to=9999-12-31T23:59",
    "from=2026-01-02&to=2026-01-01",
    "period=century",
    "before=99999999999999999999",
    "before=-1",
    "after=abc",
    f"q={'x' * 5000}",
    "paid=2",
    "outcome=%22%3E%3Cb%3E",
]


@pytest.mark.parametrize("query", HOSTILE)
async def test_whatever_the_address_says_is_answered_in_words(staff: AsyncClient, query: str) -> None:
    await sync_to_async(record)()
    for path in (PAGE, f"{PAGE}requests.csv"):
        response = await staff.get(f"{path}?{query}")
        assert response.status_code in {200, 422}
        if response.streaming:
            assert b"".join([part async for part in response]).startswith(b"at,request_id")
        else:
            assert "<script>" not in response.content.decode().replace("<script src", "")
            is_said = 'class="fault"' in response.content.decode() or path.endswith(".csv")
            assert (response.status_code == 422) == is_said


async def test_a_ledger_that_cannot_be_read_leaves_the_page_standing(staff, monkeypatch) -> None:
    async def fails(*args: Any) -> None:
        raise Busy("Too many wait.")

    monkeypatch.setattr(reader, "run", fails)
    monkeypatch.setattr(reader, "snapshot", fails)
    monkeypatch.setattr(reader, "kept", fails)
    response = await staff.get(PAGE)
    assert response.status_code == 200
    assert "The requests could not be read." in text(response)
    assert "Try again" in text(response)


async def test_who_sees_one_tenant_sees_its_requests_only(samples: None, console: Any) -> None:
    client = AsyncClient()
    await client.aforce_login(await sync_to_async(somebody)("ada", Role.VIEWER, "acme"))
    other = await RequestRecord.objects.of(EVERYBODY).aget(request_id="other")
    for path in (PAGE, f"{PAGE}?period=any", f"{PAGE}?tenant={other.tenant_id}", f"{PAGE}?part=news&after=0"):
        said = (await client.get(path)).content.decode()
        assert "globex" not in said
        assert f"request-{other.pk}" not in said
    lines = await client.get(f"{PAGE}requests.csv?period=any")
    assert "globex" not in b"".join([part async for part in lines]).decode()


async def test_news_are_rows_and_how_far_they_reach(staff: AsyncClient) -> None:
    await sync_to_async(record)(request_id="old")
    newest = await RequestRecord.objects.of(EVERYBODY).aget(request_id="old")
    await sync_to_async(record)(request_id="new", tier="miss")
    await sync_to_async(record)(request_id="newer", tier="memory")
    response = await staff.get(f"{PAGE}?tier=miss&part=news&after={newest.pk}")
    assert response["X-Newest"] == str(newest.pk + 2)
    assert "X-More" not in response
    assert re.findall(r'id="request-(\d+)"', response.content.decode()) == [str(newest.pk + 1)]


def test_news_say_whether_there_may_be_more(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(12):
        record(request_id=f"r{index}", outcome="cut" if index == 1 else "done")
    first = RequestRecord.objects.of(EVERYBODY).earliest("pk").pk
    everything, cut = asked({}, datetime.now(UTC)), asked({"outcome": "cut"}, datetime.now(UTC))
    assert news(everything, EVERYBODY, first - 1).has_more
    assert len(news(everything, EVERYBODY, first - 1).rows) == searching.MOST_NEWS
    assert not news(everything, EVERYBODY, first + 1).has_more
    assert not news(cut, EVERYBODY, first - 1).has_more
    monkeypatch.setattr(searching, "NEWS_S", 1e-9)
    monkeypatch.setattr(searching, "FIRST_SLICE", 4)
    assert not news(cut, EVERYBODY, first - 1).rows
    assert news(cut, EVERYBODY, first - 1).has_more
    assert not news(cut, EVERYBODY, first + 7).has_more


async def test_the_sheet_has_what_is_filtered_and_says_where_it_was_cut(staff, monkeypatch) -> None:
    for index in range(5):
        await sync_to_async(record)(request_id=f"r{index}", error="=1+1", cost_microusd=-5)
    answer = await staff.get(f"{PAGE}requests.csv")
    rows = list(csv.DictReader(io.StringIO(b"".join([part async for part in answer]).decode())))
    assert [row["request_id"] for row in rows] == ["r4", "r3", "r2", "r1", "r0"]
    assert rows[0]["error"] == "'=1+1"
    assert rows[0]["cost_usd"] == "-0.000005"
    monkeypatch.setattr(sheet, "PAGE", 2)
    monkeypatch.setattr(sheet, "MOST_LINES", 4)
    answer = await staff.get(f"{PAGE}requests.csv")
    lines = b"".join([part async for part in answer]).decode().splitlines()
    assert len(lines) == 6
    assert lines[-1].startswith('"cut after 4 lines; ask with before=')


async def test_a_sheet_is_refused_where_its_filter_cannot_be_read(staff: AsyncClient) -> None:
    await sync_to_async(record)()
    answer = await staff.get(f"{PAGE}requests.csv?slower=fast&tenant=acme")
    assert answer.status_code == 422
    assert answer["Content-Type"].startswith("text/plain")
    said = answer.content.decode()
    assert "slower: Milliseconds, as a number." in said
    assert "tenant: That is a number." in said


async def test_a_sheet_ends_where_nothing_more_is_found() -> None:
    asked_for = []

    async def next_page(before: int) -> Found:
        asked_for.append(before)
        return Found([], older=7)

    lines = [part async for part in sheet.sheet(next_page)]
    assert len(asked_for) == sheet.MOST_LOOKS
    assert b"cut after 0 lines" in lines[-1]


def test_a_page_takes_few_queries(transactional_db, django_assert_max_num_queries) -> None:
    traffic(datetime.now(UTC), count=300)
    with django_assert_max_num_queries(4):
        search(asked({"tier": "miss"}, datetime.now(UTC)), EVERYBODY)


def test_what_a_tenant_is_told_is_of_its_own_requests(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for minute in range(40, 0, -1):
        record(NOW - timedelta(minutes=minute), tenant="acme" if minute % 8 else "globex")
    globex = Reach(frozenset({Tenant.objects.get(name="globex").pk}))
    own = dict(RequestRecord.objects.of(globex).order_by("pk").values_list("pk", "at"))
    monkeypatch.setattr(searching, "BUDGET_S", 0.0)
    monkeypatch.setattr(searching, "FIRST_SLICE", 4)
    wanted, before, told = asked({"outcome": "failed", "period": "any"}, NOW), 0, []
    for _ in range(40):
        page = search(wanted, globex, before=before)
        before = page.older
        if not before:
            break
        told.append(page.looked_to)
        assert page.newest == max(own)
    assert set(told) <= set(own.values()), "and of nobody else's"
    assert len(set(told)) >= 3
    assert news(asked({}, NOW), globex, 0).newest == max(own)


def test_news_of_a_time_that_is_over_are_none(transactional_db: None) -> None:
    record()
    over = {"to": (NOW - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M")}
    assert news(asked(over, NOW), EVERYBODY, 0).rows == []
    assert len(news(asked({}, NOW), EVERYBODY, 0).rows) == 1
