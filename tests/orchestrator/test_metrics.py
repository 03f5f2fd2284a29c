"""What is counted, and that nobody outside can make it more."""

from __future__ import annotations

import asyncio
import os
import random
import string
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import Metric, values

from orchestrator.core.types import ChatRequest, Usage
from orchestrator.ledger.savings import Saving
from orchestrator.metrics import MOST_MODELS, RESERVED, Metrics, open_metrics
from tests.figures import Figures, answered, parse, value


async def read(metrics: Metrics) -> Figures:
    metrics.hand_over()
    body, _ = await metrics.page("")
    return parse(body.decode())


@pytest.fixture
def alone() -> Iterator[Metrics]:
    metrics = Metrics()
    yield metrics
    metrics.close()


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Opens the metrics of worker after worker, as if each were a process."""
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setitem(os.environ, "PROMETHEUS_MULTIPROC_DIR", "")
    opened = []

    def open_(worker: str) -> Metrics:
        opened.append(open_metrics(tmp_path / "metrics", worker))
        return opened[-1]

    yield open_
    for metrics in opened:
        metrics.close()
    values.close_all_multiprocess_files()


async def test_an_answer_is_counted_by_what_became_of_it(alone: Metrics) -> None:
    alone.answered(answered())
    alone.answered(answered(tier="memory", first_s=0.0001, total_s=0.0002, laps={"route": 0.00004, "cache": 0.00005}))
    alone.answered(answered(model="", tier="", outcome="model_not_found", first_s=None, usage=Usage()))
    seen = await read(alone)
    assert value(seen, "requests_total", dialect="ollama", tier="miss", outcome="done") == 1
    assert value(seen, "requests_total", tier="memory") == 1
    assert value(seen, "requests_total", tier="none", outcome="model_not_found") == 1
    assert value(seen, "request_seconds_count", tier="miss") == 1
    assert value(seen, "request_seconds_bucket", tier="memory", le="0.0001") == 0
    assert value(seen, "request_seconds_bucket", tier="memory", le="0.00025") == 1
    assert value(seen, "first_chunk_seconds_sum", tier="miss") == pytest.approx(0.1)
    assert value(seen, "model_requests_total", model="tiny:latest") == 2
    assert value(seen, "tokens_total", kind="prompt", model="tiny:latest") == 7
    assert value(seen, "tokens_total", kind="completion_saved", model="tiny:latest") == 2


async def test_the_parts_of_the_way_add_up_to_the_whole(alone: Metrics) -> None:
    alone.answered(answered())
    seen = await read(alone)
    parts = {part: value(seen, "part_seconds_sum", part=part) for part in ("route", "cache", "engine", "answer")}
    assert parts == pytest.approx({"route": 0.01, "cache": 0.02, "engine": 0.07, "answer": 0.4})
    alone.settled(0.003)
    assert value(await read(alone), "part_seconds_sum", part="settle") == pytest.approx(0.003)


async def test_no_price_is_not_nothing(alone: Metrics) -> None:
    alone.answered(answered(model="openai/big", cost_microusd=None))
    alone.answered(answered(model="openai/big", cost_microusd=1_500_000))
    seen = await read(alone)
    assert value(seen, "unpriced_requests_total", model="openai/big") == 1
    assert value(seen, "cost_dollars_total", model="openai/big") == 1.5


async def test_what_was_saved_is_counted_by_tier_and_no_price_is_not_nothing_there_either(alone: Metrics) -> None:
    alone.answered(answered(tier="redis", saved=Saving(1_500, "price")))
    alone.answered(answered(tier="redis", saved=Saving(None, "unknown")))
    alone.answered(answered(tier="memory", saved=Saving(0, "free")))
    alone.replayed("openai", "memory", "openai/big", [0.1] * 4, saved=[40, 2, None, 0])
    seen = await read(alone)
    assert value(seen, "saved_microdollars_total", tier="redis") == 1_500
    assert value(seen, "savings_unknown_total", tier="redis") == 1
    assert value(seen, "saved_microdollars_total", tier="memory") == 42
    assert value(seen, "savings_unknown_total", tier="memory") == 1


async def test_many_replays_at_once_are_as_many_answers(alone: Metrics) -> None:
    durations = [0.00001, 0.00005, 0.00006, 0.3, 1000.0]  # one on a bound, one beyond the last
    alone.replayed("openai", "memory", "tiny:latest", durations, "cut", prompt_tokens=35, completion_tokens=10)
    one_by_one = Metrics()
    for duration in durations:
        one_by_one.answered(
            answered(
                request=ChatRequest(model="", dialect="openai"),
                tier="memory",
                outcome="cut",
                total_s=duration,
                first_s=duration,
            )
        )
    same = ("orchestrator_requests", "orchestrator_request_seconds", "orchestrator_tokens")
    many, single = await read(alone), await read(one_by_one)
    one_by_one.close()
    for name in same:
        assert samples(many[name]) == pytest.approx(samples(single[name]))


def samples(family: Metric) -> dict[Any, float]:
    return {(sample.name, *sorted(sample.labels.items())): sample.value for sample in family.samples}


async def test_threads_may_replay_at_once(alone: Metrics) -> None:
    def replay() -> None:
        for _ in range(200):
            alone.replayed("ollama", "memory", "tiny:latest", [0.001] * 5)

    threads = [threading.Thread(target=replay) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join, 30)
    seen = await read(alone)
    assert value(seen, "requests_total") == value(seen, "request_seconds_count") == 4 * 200 * 5


async def test_hostile_words_make_no_series(alone: Metrics) -> None:
    chance = random.Random(7)

    async def series_after(turns: int) -> int:
        for _ in range(turns):
            word = "".join(chance.choices(string.printable + 'é🎈"\\\n{}', k=40))
            request = ChatRequest(model=word, dialect=word, endpoint=word)  # type: ignore[arg-type]  # hostile
            alone.answered(answered(request=request, model=word, tier=word, outcome=word, laps={word: 0.1}))
            alone.replayed(word, word, word, [0.1])
        return sum(len(family.samples) for family in (await read(alone)).values())

    assert await series_after(200) == await series_after(2000)
    seen = await read(alone)
    assert value(seen, "requests_total") == 2 * 2200
    assert value(seen, "model_requests_total", model="other") == 2 * (2200 - MOST_MODELS)


async def test_names_that_callers_make_up_leave_room_for_models_that_answer(alone: Metrics) -> None:
    for number in range(2 * MOST_MODELS):
        alone.answered(
            answered(model=f"openai/made-up-{number}", outcome="model_not_found", first_s=None, usage=Usage())
        )
    alone.answered(answered(model="openai/real"))
    seen = await read(alone)
    assert value(seen, "model_requests_total", model="openai/real") == 1
    assert value(seen, "model_requests_total") == 1
    assert value(seen, "requests_total") == 2 * MOST_MODELS + 1


async def test_workers_add_up_and_one_that_comes_back_counts_on(shared: Any, tmp_path: Path) -> None:
    first, second = shared("1"), shared("2")
    first.answered(answered())
    second.answered(answered(tier="memory"))
    second.pending.set(5)
    first.pending.set(3)
    second.hand_over()
    assert value(await read(first), "requests_total") == 2
    assert value(await read(second), "ledger_pending") == 8
    again = shared("1")  # the first was killed
    assert value(await read(again), "ledger_pending") == 5, "what it held is gone"
    again.answered(answered())
    assert value(await read(again), "requests_total") == 3, "what it counted stays"
    assert len(list((tmp_path / "metrics").glob("*.db"))) == 2 * len(RESERVED)


async def test_models_are_bounded_over_restarts_too(shared: Any) -> None:
    for life in range(3):
        metrics = shared("1")
        for number in range(MOST_MODELS):
            metrics.answered(answered(model=f"model-{life}-{number}"))
        seen = await read(metrics)
    models = {sample.labels["model"] for sample in seen["orchestrator_model_requests"].samples}
    assert len(models) == MOST_MODELS + 1
    assert value(seen, "model_requests_total") == 3 * MOST_MODELS


async def test_the_files_have_room_for_every_label_there_can_be(shared: Any, tmp_path: Path) -> None:
    metrics = shared("1")
    for number in range(200):
        for dialect in ("ollama", "openai", "anthropic", "a", "b"):
            request = ChatRequest(model="x", dialect=dialect)  # type: ignore[arg-type]  # one too many
            one = answered(request=request, model=f"openai/{number:0>200}", laps={f"part {number}": 0.1})
            metrics.answered(
                SimpleNamespace(**vars(one) | {"tier": f"tier {number % 20}", "outcome": f"kind {number}"})
            )
            metrics.replayed(dialect, f"tier {number % 20}", f"openai/{number:0>200}", [0.1])
        provider = f"{number:0>39}"
        kinds = [f"kind {kind}" for kind in range(60)]
        failed = [SimpleNamespace(provider=provider, outcome=kind) for kind in kinds]
        metrics.answered(answered(provider=provider, attempts=failed))
        for gauge in (metrics.provider_calls, metrics.provider_breakers):
            gauge.labels(metrics.providers(provider)).set(1)
    metrics.hand_over()
    assert {file.stat().st_size for file in (tmp_path / "metrics").glob("*.db")} == set(RESERVED.values())


@pytest.mark.parametrize("garbage", [b"", b"\0" * 3, b"\xff" * 4096, b"\x40\x00\x00\x00junk" + b"\x7f" * 200])
async def test_a_file_that_cannot_be_read_is_begun_anew(shared: Any, tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "counter_1.db").write_bytes(garbage)
    metrics = shared("1")
    metrics.answered(answered())
    assert value(await read(metrics), "requests_total") == 1


async def test_on_a_full_disk_a_worker_counts_for_itself(
    shared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = shared("2")
    (tmp_path / "metrics" / "histogram_1.draft").symlink_to("/dev/full")
    monkeypatch.setattr(values, "ValueClass", values.MutexValue)
    metrics = shared("1")
    metrics.answered(answered())
    assert value(await read(metrics), "requests_total") == 1
    assert "No space left on device" in caplog.text
    assert value(await read(other), "ledger_pending") == 0, "the others' page is not hurt"


async def test_it_speaks_text_and_openmetrics(alone: Metrics) -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

    alone.answered(answered())
    alone.hand_over()
    body, content_type = await alone.page("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in read_openmetrics(body.decode())}
    assert families["orchestrator_requests"].type == "counter"
    _, content_type = await alone.page("*/*")
    assert content_type.startswith("text/plain; version=0.0.4")
