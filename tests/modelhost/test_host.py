"""The model host as a process."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn

from orchestrator.core.heart import Heart
from orchestrator.core.types import ChatRequest, Message
from orchestrator.modelhost import wire
from orchestrator.modelhost.embedded import NAME
from orchestrator.modelhost.host import TICKS_A_BEAT, Server
from tests.modelhost.hosting import ROOT, ModelHost, is_running, until


@pytest.fixture(scope="module")
def host() -> Iterator[ModelHost]:
    """One that the tests leave running."""
    host = ModelHost(ORCHESTRATOR_MAX_BODY="100000", OPENAI_API_KEY="sk-secret")
    try:
        yield host.start()
    finally:
        host.clear()


@pytest.fixture
async def client(host: ModelHost) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to it directly."""
    async with httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(host.socket)), base_url="http://models", timeout=30
    ) as client:
        yield client


def question(tokens: int) -> bytes:
    return wire.to_frame(
        ChatRequest(
            model=NAME,
            messages=(Message(role="user", content="Tell me a long story about the sea."),),
            options={"num_predict": tokens, "temperature": 0},
        )
    )


async def test_an_answer_is_lines_of_json(client: httpx.AsyncClient):
    response = await client.post("/chat", content=question(3))
    assert response.status_code == 200
    chunks = [wire.from_line(line.encode()) for line in response.text.splitlines()]
    assert chunks[-1].done
    assert "".join(chunk.text for chunk in chunks)


async def test_an_error_before_the_answer_is_a_status(client: httpx.AsyncClient):
    response = await client.post("/chat", content=wire.to_frame(ChatRequest(model="nobody", prompt="x")))
    assert response.status_code == 404
    assert response.json() == {"error": "model 'nobody' not found", "kind": "model_not_found"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/chat", b"nonsense", 400),
        ("POST", "/chat", b"x" * 300_000, 413),
        ("POST", "/load", b"{", 400),
        ("POST", "/load", b'{"name": 1}', 400),
        ("POST", "/unload", b'{"name": "nobody"}', 404),
        ("GET", "/nothing", b"", 404),
        ("GET", "/chat", b"", 404),
    ],
)
async def test_bad_input_is_refused(client: httpx.AsyncClient, method: str, path: str, body: bytes, status: int):
    response = await client.request(method, path, content=body)
    assert response.status_code == status
    assert set(response.json()) == {"error", "kind"}


async def test_only_its_own_user_may_reach_it(host: ModelHost):
    assert host.socket.stat().st_mode & 0o777 == 0o600
    assert host.socket.parent.stat().st_mode & 0o777 == 0o700


async def test_a_child_sees_no_secret_and_holds_nothing_of_the_hosts(client: httpx.AsyncClient, host: ModelHost):
    await client.post("/load", content=json.dumps({"name": NAME}).encode())
    (pid,) = host.children()
    child = psutil.Process(pid)
    assert set(child.environ()) <= {
        "PYTHONPATH",
        "GGML_NO_BACKTRACE",
        "LANG",
        "LD_LIBRARY_PATH",
        "OMP_WAIT_POLICY",
        "GOMP_SPINCOUNT",
        "LC_CTYPE",
    }
    assert child.net_connections(kind="inet") == []
    assert sockets_of(pid) == 1


def sockets_of(pid: int) -> int:
    return sum("socket" in str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())


async def test_a_second_host_does_not_take_the_socket(host: ModelHost):
    environment = {"PATH": os.environ["PATH"], "ORCHESTRATOR_DATA_DIR": str(host.data_dir)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator.modelhost"), env=environment, cwd=ROOT, stderr=subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode
    assert b"Another process listens" in said
    assert host.answers()


def test_a_socket_that_a_killed_host_left_is_replaced():
    host = ModelHost().start()
    try:
        host.kill()
        assert host.socket.exists()
        host.start()
        assert host.stop() == 0
        assert not host.socket.exists()
    finally:
        host.clear()


async def test_told_to_stop_it_finishes_its_answers_first():
    host = ModelHost(ORCHESTRATOR_DRAIN_S="60").start()  # more than forty tokens take on a busy machine
    try:
        async with (
            httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=str(host.socket)), base_url="http://models", timeout=30
            ) as client,
            client.stream("POST", "/chat", content=question(40)) as response,
        ):
            lines = response.aiter_lines()
            await anext(lines)
            children = host.children()
            host.process.send_signal(signal.SIGTERM)
            rest = [line async for line in lines]
        done = wire.from_line(rest[-1].encode()).done
        assert done
        assert done.usage.completion_tokens == 40
        assert await asyncio.to_thread(host.process.wait, 60) == 0
        assert not any(is_running(child) for child in children)
    finally:
        host.clear()


async def test_a_child_ends_with_its_host_whatever_it_is_doing():
    host = ModelHost().start()
    try:
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(host.socket)), base_url="http://models", timeout=30
        ) as client:
            await client.post("/load", content=json.dumps({"name": NAME}).encode())
        (child,) = host.children()
        os.kill(child, signal.SIGSTOP)  # it cannot notice anything by itself
        host.kill()
        await asyncio.to_thread(until, lambda: not is_running(child))
    finally:
        host.clear()


def test_a_bad_setting_ends_it_with_its_name():
    host = ModelHost(OLLAMA_NUM_PARALLEL="many")
    environment = {"PATH": os.environ["PATH"], "ORCHESTRATOR_DATA_DIR": str(host.data_dir), **host.settings}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.modelhost"], env=environment, cwd=ROOT, capture_output=True, timeout=20
    )
    host.data_dir.rmdir()
    assert done.returncode == 78
    assert b"OLLAMA_NUM_PARALLEL=many" in done.stderr


async def test_it_gives_a_sign_of_life_each_second() -> None:
    class Beats(Heart):
        count = 0

        def beat(self) -> None:
            self.count += 1

    heart = Beats()
    server = Server(uvicorn.Config(lambda: None, log_config=None), heart)  # no log of its own for the whole process
    for tick in range(3 * TICKS_A_BEAT):
        await server.on_tick(tick)
    assert heart.count == 3
