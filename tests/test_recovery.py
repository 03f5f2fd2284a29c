"""What is killed comes back, and what was answered stays answered."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.product import READY_WITHIN_S, Product, is_running, until
from tests.provider import Provider

CAPITAL = {
    "model": "smollm2:135m",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "options": {"temperature": 0},
    "stream": False,
}
STORY = {
    "model": "smollm2:135m",
    "messages": [{"role": "user", "content": "Tell me a long story about the sea."}],
    "options": {"num_predict": 2000, "seed": 3},
}
CRASHED = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error,"
    " check ollama server logs for details"
)


@pytest.fixture
def product(provider: Provider) -> Iterator[Product]:
    """One of its own: these tests break it."""
    settings = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": provider.address}
    with Product(**settings, ORCHESTRATOR_REDIS_TIMEOUT_S=20) as product:  # the machine may be busy
        yield product


def ask(product: Product, body: dict[str, object], path: str = "/api/chat") -> httpx.Response:
    response = httpx.post(product.base_url + path, json=body, timeout=120)
    assert response.status_code == 200, response.text
    return response


def connections(pid: int) -> list[object]:
    """Open connections over TCP: callers' and those to the provider."""
    found = psutil.Process(pid).net_connections("tcp")
    return [one for one in found if one.status == psutil.CONN_ESTABLISHED]


def kill(product: Product, role: str) -> None:
    """Kill a role's processes, and return when others have taken their place."""
    killed = product.pids(role)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        now = product.pids(role)
        return len(now) == len(killed) and not set(now) & set(killed) and product.is_whole()

    until(is_back, f"{role} to be back", READY_WITHIN_S)


def is_on_disk(product: Product) -> bool:
    """Whether the cache file holds an answer."""
    file = sqlite3.connect(product.data / "cache.sqlite3")
    try:
        return bool(file.execute("SELECT count(*) FROM cache_cacheentry").fetchone()[0])
    finally:
        file.close()


def test_an_answer_outlives_every_process_that_made_it(product: Product) -> None:
    first = ask(product, CAPITAL)
    assert first.headers["Cache-Status"] == "orchestrator; fwd=miss; stored"
    text = first.json()["message"]["content"]
    assert "Paris" in text

    def found_in(body: dict[str, object] = CAPITAL, path: str = "/api/chat") -> str:
        def find() -> httpx.Response | None:
            headers = {"Cache-Control": "only-if-cached"}
            found = httpx.post(product.base_url + path, json=body, headers=headers, timeout=120)
            return None if found.status_code == 504 else found  # a tier that is slow is passed over

        response = until(find, "the answer to be found", 30)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert (answer["message"] if "message" in answer else answer["choices"][0]["message"])["content"] == text
        return response.headers["Cache-Status"].rpartition("=")[2]

    assert found_in() == "memory"
    openai = {"model": CAPITAL["model"], "messages": CAPITAL["messages"], "temperature": 0}
    assert found_in(openai, "/v1/chat/completions") == "memory"

    until(lambda: is_on_disk(product), "the answer to be written, which nobody waits for")
    kill(product, "web")
    assert found_in() == "redis"
    assert found_in() == "memory", "a find is copied to the nearer tier"

    assert product.stop() == 0
    product.start()
    assert found_in() == "sqlite"

    kill(product, "redis")
    kill(product, "web")
    assert found_in() in {"sqlite", "redis"}, "redis only where the copy came after it was back"

    product.kill()
    until(lambda: not any(map(is_running, product.pids())), "every process to follow its supervisor")
    product.start()
    assert found_in() == "sqlite"


def test_a_model_killed_mid_answer_is_an_error_to_that_caller_and_the_next_is_served(product: Product) -> None:
    ask(product, CAPITAL)
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(product.data / "run" / "models.sock"))) as host:
        (loaded,) = host.get("http://models/ps").json()
    with httpx.stream("POST", f"{product.base_url}/api/chat", json=STORY, timeout=60) as response:
        lines = response.iter_lines()
        assert not json.loads(next(lines))["done"]
        os.kill(loaded["pid"], signal.SIGKILL)
        *_, last = lines
    assert json.loads(last) == {"error": CRASHED}
    fresh = ask(
        product, CAPITAL | {"messages": [{"role": "user", "content": "Say hi."}], "options": {"num_predict": 3}}
    )
    assert fresh.json()["eval_count"] == 3
    only_cached = {"Cache-Control": "only-if-cached"}
    again = httpx.post(f"{product.base_url}/api/chat", json=STORY, headers=only_cached, timeout=60)
    assert again.status_code == 504, "nothing partial is kept"


def test_with_the_model_host_gone_cached_answers_go_on_and_it_comes_back(product: Product) -> None:
    ask(product, CAPITAL)
    kill(product, "models")
    assert ask(product, CAPITAL).headers["Cache-Status"].endswith("memory")
    assert ask(product, CAPITAL | {"options": {"seed": 5, "num_predict": 2}}).json()["done"]


def test_a_call_that_cost_money_is_recorded_though_everything_dies_at_its_last_byte(
    product: Product, provider: Provider
) -> None:
    until(lambda: provider.address, "the provider")
    for number in range(5):
        question = {"model": "openai/good", "messages": [{"role": "user", "content": f"Number {number}?"}]}
        with httpx.stream("POST", f"{product.base_url}/api/chat", json=question, timeout=60) as response:
            request_id = response.headers["X-Request-Id"]
            for line in response.iter_lines():
                if json.loads(line)["done"]:
                    product.kill()
                    break  # whether the end of the response came, too, is chance
        until(lambda: not any(map(is_running, product.pids())), "every process to follow its supervisor")
        with sqlite3.connect(product.data / "ledger.sqlite3") as ledger:
            rows = ledger.execute(
                "SELECT outcome, is_paid, completion_tokens FROM orchestrator_requestrecord WHERE request_id = ?",
                [request_id],
            ).fetchall()
        ledger.close()
        assert rows == [("done", 1, 2)]
        product.start()


def test_many_callers_share_one_call_to_the_provider(product: Product, provider: Provider) -> None:
    provider.gate.clear()
    before = len(provider.asked)
    question = {"model": "openai/slow", "messages": [{"role": "user", "content": "All at once?"}]}
    results: list[tuple[int, str]] = []

    def one(number: int) -> None:
        path = "/api/chat" if number % 2 else "/v1/chat/completions"
        body = question | {"stream": number % 3 == 0}
        response = httpx.post(product.base_url + path, json=body, timeout=60)
        results.append((response.status_code, response.headers["Cache-Status"]))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    until(lambda: len(provider.asked) > before, "the call")
    (web,) = product.pids("web")
    until(lambda: len(connections(web)) >= 40, "all to be connected")
    provider.let_go()
    for thread in threads:
        thread.join(60)
    provider.hold()  # as it was found
    assert [status for status, _ in results] == [200] * 40
    assert len(provider.asked) - before == 1
    assert sum("collapsed" in status for _, status in results) > 0
