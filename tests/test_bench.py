"""Every benchmark in a short form: it runs, and its lines say what was measured. No figure is judged."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench import dialects, hits, memory, misses, peers, rules, streams
from bench.load import Question, closed_loop
from bench.peers import Peer
from bench.plan import Plan
from bench.serving import Served
from bench.wrk import CONNECTIONS, wrk
from routing.rules.facts import MOST_CONVERSATION
from tests.product import PROJECT

SHORT = Plan(
    rounds=1,
    seconds=0.3,
    questions=3,
    warm_up=20,
    lookups=20,
    streams=4,
    frames=3,
    pause_ms=5,
    idle_streams=6,
    idle_s=0.1,
)
ABOUT = {"bench", "case", "cores", "load_average", "versions"}


@pytest.fixture
def lines(capfd: pytest.CaptureFixture[str]) -> Callable[[Callable[[Plan], None]], list[dict[str, Any]]]:
    """A function that runs a scenario and returns its lines; afterwards nothing that it started is left."""

    def run(scenario: Callable[[Plan], None]) -> list[dict[str, Any]]:
        before = set(psutil.Process().children(recursive=True))  # what other tests keep running
        scenario(SHORT)
        assert set(psutil.Process().children(recursive=True)) <= before
        found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        assert all(line.keys() > ABOUT for line in found)
        return found

    return run


def test_hits_are_measured_by_dialect_and_tier(
    lines: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hits, "Served", partial(Served, ORCHESTRATOR_REDIS_TIMEOUT_S=2))  # the machine may be busy
    found = lines(lambda plan: hits.run(replace(plan, rounds=2)))
    cases = [line["case"] for line in found]
    assert len(cases) == 14
    assert [case.split(":")[0] for case in cases[8:]] == ["redis", "sqlite", *["memory"] * 4]
    for line in found:
        assert {"API key", "a record of each request", "redis", "sqlite"} <= set(line["on"])
        assert line["product"].keys() >= line["floor"].keys()
        assert line["product"]["answers_per_s"].keys() == {"median", "min", "max"}
        assert line["ratio_to_floor"]["median"] > 0
    by_one = {
        case.split(":")[0]: line["product"]["share_alone"]
        for case, line in zip(cases, found, strict=True)
        if "once" in case
    }
    assert by_one.keys() == {"redis", "sqlite", "memory"}
    assert by_one["memory"]["min"] == 1
    # The others are passed over when they are slow. SQLite has 0.25 s: a stall of its thread may take all four lookups
    # of a round. The rounds are so far apart that no stall lasts from one to the next.
    assert all(0.75 <= share["max"] <= 1 for share in by_one.values()), by_one


def test_one_answer_is_measured_in_every_dialect(lines: Callable[..., list[dict[str, Any]]]) -> None:
    found = lines(dialects.run)
    assert len(found) == 2 * 6
    assert found[0]["cpu_ratio_to_first_dialect"]["median"] == 1
    assert all(line["product"]["answers_per_s"]["median"] > 0 for line in found)


def test_misses_are_measured_beside_the_provider_itself(lines: Callable[..., list[dict[str, Any]]]) -> None:
    found = lines(misses.run)
    assert [line["callers"] for line in found] == [1, 16, 64, 16]
    for line in found:
        assert line["product"]["calls_per_answer"]["median"] == 1
        assert line["product"]["web_cpu_us_per_answer"]["median"] >= 0
        assert line["added"].keys() == {"p50_ms", "p99_ms"}


def test_streams_are_measured_paced_and_idle(lines: Callable[..., list[dict[str, Any]]]) -> None:
    paced, apart, shared = lines(streams.run)
    for who in ("direct", "floor", "product"):
        assert paced[who]["errors"]["median"] == 0
        assert paced[who]["gap_max_ms"]["median"] > 0
    for idle in (apart, shared):
        assert idle["streams"] == idle["opened"] == SHORT.idle_streams
        assert idle["broken"] == 0
        assert idle["rss_mib"].keys() == {"before", "with", "after"}


def test_memory_is_measured_idle_under_load_and_after(lines: Callable[..., list[dict[str, Any]]]) -> None:
    [line] = lines(memory.run)
    assert line["idle"].keys() == line["after"].keys() == {"web", "models", "worker", "redis"}
    assert [kind["answers"] > 0 for load in line["web_under_load"].values() for kind in load] == [True, True]


def test_rules_are_measured_beside_a_loop_over_them(lines: Callable[..., list[dict[str, Any]]]) -> None:
    found = lines(lambda _: rules.measure(form_rules=30, expressions=4, requests=5))
    assert [line["case"] for line in found] == ["rules that name somebody", "rules about everybody"]
    assert all(line["decide_ms"].keys() == line["one_by_one_ms"].keys() == {"p50", "p99"} for line in found)


def test_rules_that_hear_long_conversations_are_measured(lines: Callable[..., list[dict[str, Any]]]) -> None:
    found = lines(lambda _: rules.measure_hearing(listeners=2, requests=3))
    assert [line["text_characters"] for line in found] == [MOST_CONVERSATION] * 2
    assert all(line["decide_ms"].keys() == {"p50", "p99"} for line in found)


def test_a_peer_that_does_not_start_has_a_line_and_the_others_are_measured(
    lines: Callable[..., list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Peer(package="broken", requirement="-", config="", run=lambda config, port: [], environment=lambda *_: {})
    monkeypatch.setattr(peers, "CACHE", tmp_path)
    monkeypatch.setattr(peers, "PEERS", (broken,))
    broken.program.parent.mkdir(parents=True)
    broken.program.write_text("#!/bin/sh\necho no licence; exit 3\n")
    broken.program.chmod(0o755)
    first, *rest = lines(peers.run)
    assert first["case"] == "broken"
    assert "exit code 3" in first["error"]
    assert "no licence" in first["error"]
    assert len(rest) == 5
    assert all(line["peers"].keys() == {"product"} for line in rest)


def test_a_round_that_ends_before_the_first_answer_is_begun_again() -> None:
    may_answer = threading.Event()
    asked = itertools.count()

    class Late(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # the base class calls it by this name
            if next(asked) >= CONNECTIONS:  # by a second round
                may_answer.set()
            may_answer.wait(30)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Late) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a round that hangs up is none
        threading.Thread(target=server.serve_forever, daemon=True).start()
        question = Question(f"http://127.0.0.1:{server.server_port}/api/chat", "any", is_streamed=False)
        assert wrk(question, 0.3).answers > 0
        assert next(asked) > CONNECTIONS
        server.shutdown()


async def test_a_caller_that_comes_in_when_the_round_is_over_asks_once() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        address = "http://{}:{}/api/chat".format(*server.sockets[0].getsockname())
        question = Question(address, "any", is_streamed=False)
        load = await closed_loop(question, itertools.count(5), callers=3, seconds=0)
        assert (load.took.keys(), load.failed) == ({5, 6, 7}, 0)
        none = await closed_loop(question, iter([]), callers=3, seconds=1)
        assert not none.latencies


def test_without_wrk_it_says_what_to_type() -> None:
    done = _cli(env={"PATH": ""})
    assert done.returncode == 1
    assert "apt-get install wrk" in done.stderr


def test_an_unknown_scenario_is_refused_by_name() -> None:
    done = _cli("hits", "mises")
    assert done.returncode == 2
    assert "no scenario mises; there are hits, dialects, misses, streams, memory" in done.stderr


def _cli(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.product", *arguments]
    return subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=60, check=False)
