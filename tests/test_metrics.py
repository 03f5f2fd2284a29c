"""Two workers, one page: what each did is counted once, and outlives it."""

from __future__ import annotations

import os
import re
import signal
import statistics
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.figures import Figures, parse, value
from tests.product import Product, sign_in, until
from tests.provider import Provider


@pytest.fixture
def product(provider: Provider) -> Iterator[Product]:
    """One of its own: a worker is killed."""
    with Product(ORCHESTRATOR_WEB_WORKERS=2, OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=provider.address) as product:
        yield product


@pytest.fixture
def clients(product: Product) -> Iterator[dict[int, httpx.Client]]:
    """A client with a connection to each web worker, by process."""
    opened: list[httpx.Client] = []
    by_worker: dict[int, httpx.Client] = {}

    def both() -> bool:
        client = httpx.Client(base_url=product.base_url, timeout=30)
        opened.append(client)
        port = client.get("/healthz").extensions["network_stream"].get_extra_info("client_addr")[1]
        mine = next(pid for pid in product.pids("web") if port in peers(pid))
        by_worker.setdefault(mine, client)
        return len(by_worker) == 2

    until(both, "both workers to take a connection")
    yield by_worker
    for client in opened:
        client.close()


def peers(pid: int) -> set[int]:
    """The ports that this process has connections from."""
    return {one.raddr.port for one in psutil.Process(pid).net_connections("tcp") if one.raddr}


def ask(client: httpx.Client, text: str) -> str:
    body = {"model": "openai/good", "messages": [{"role": "user", "content": text}], "stream": False}
    path = "/api/chat" if len(text) % 2 else "/v1/chat/completions"
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.headers["Cache-Status"]


def read(client: httpx.Client) -> Figures:
    response = client.get("/metrics")
    assert response.status_code == 200, response.text
    return parse(response.text)


def test_any_worker_tells_for_all_and_what_a_dead_one_counted_stays(
    product: Product, clients: dict[int, httpx.Client]
) -> None:
    (one_pid, one), (_, other) = clients.items()
    for number in range(5):
        ask(one, f"one asks {number}")
    for number in range(7):
        ask(other, f"other asks {number:03}")
    for _ in range(8):  # the last ones are replayed
        assert "detail=memory" in ask(one, "one asks 0")

    def agrees(client: httpx.Client, requests: int) -> bool:
        seen = read(client)
        return value(seen, "requests_total") == value(seen, "request_seconds_count") == requests

    for client in (one, other):
        until(lambda: agrees(client, 20), "a page that holds what both did")  # noqa: B023  # called at once
        seen = read(client)
        assert value(seen, "requests_total", tier="miss", outcome="done") == 12
        assert value(seen, "requests_total", tier="memory", outcome="done") == 8
        assert value(seen, "model_requests_total", model="openai/good") == 20
        assert value(seen, "unpriced_requests_total", model="openai/good") == 12
        assert value(seen, "tokens_total", kind="prompt") == 12 * 11
        assert value(seen, "tokens_total", kind="completion_saved") == 8 * 2
    until(lambda: value(read(other), "cache_entries", tier="memory") == 12, "both memories to be counted")
    until(lambda: memory_on_the_page(product, one) == "12", "the page of the cache to tell of both")
    until(lambda: value(read(one), "ledger_written_total") == 20, "every record to be counted")
    assert value(read(one), "process_open_fds", role="web")
    print(f"a page takes {scrape_ms(one):.1f} ms")  # noqa: T201  # measured, not judged

    os.kill(one_pid, signal.SIGKILL)
    until(lambda: one_pid not in product.pids("web") and len(product.pids("web")) == 2, "a new worker")
    until(lambda: value(read(other), "cache_entries", tier="memory") == 7, "what the dead one held to be gone")
    seen = read(other)
    assert value(seen, "requests_total") == 20, "what it counted stays"
    assert value(seen, "process_restarts_total", role="web") == 1
    until(lambda: all(process["is_ready"] for process in product.status()["processes"]), "all to be ready")
    ask(other, "and on it goes")
    until(lambda: agrees(other, 21), "the count to go on")
    files = [path.name for path in (product.data / "run" / "metrics").iterdir()]
    assert len(files) == 9, files  # of two workers and of what makes pages


def memory_on_the_page(product: Product, client: httpx.Client) -> str:
    """How many answers the memory keeps, as the page says it."""
    if "orchestrator_session" not in client.cookies:
        link = next(line for line in product.logs().splitlines() if "signs you in once" in line).rpartition(" ")[2]
        assert sign_in(client, link).status_code == 302
    row = client.get("/dashboard/cache/").text.partition("?tier=memory&amp;")[2].partition("</tr>")[0]
    assert "all 2 workers" in row, row
    return re.findall(r'<td class="number">([^<]*)</td>', row)[2]


def scrape_ms(client: httpx.Client) -> float:
    """The median of twenty."""
    took = []
    for _ in range(20):
        began = time.perf_counter()
        client.get("/metrics")
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def test_counts_begin_anew_when_it_does(product: Product) -> None:
    with httpx.Client(base_url=product.base_url, timeout=30) as client:
        ask(client, "before")
        until(lambda: value(read(client), "requests_total") == 1, "it to be counted")
    product.kill()
    product.start()
    with httpx.Client(base_url=product.base_url, timeout=30) as client:
        assert value(read(client), "requests_total") is None
        ask(client, "after")
        until(lambda: value(read(client), "requests_total") == 1, "it to be counted")


def test_with_keys_required_the_token_opens_the_page_and_nothing_else() -> None:
    with Product(ORCHESTRATOR_REQUIRE_KEYS=1, ORCHESTRATOR_METRICS_TOKEN="prometheus-only") as product:
        token = {"Authorization": "Bearer prometheus-only"}
        with httpx.Client(base_url=product.base_url, timeout=30) as client:
            assert client.get("/metrics").status_code == 401
            assert client.get("/metrics", headers=token).status_code == 200
            assert client.get("/api/tags", headers=token).status_code == 401
        assert "prometheus-only" not in product.logs()
