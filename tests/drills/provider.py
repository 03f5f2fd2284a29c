"""A provider in a process of its own that answers each `Question` as it asks for, and keeps a log of its calls.

Run by `ScriptedProvider`: `python -m tests.drills.provider`. Times are the machine's monotonic
clock, which all its processes share.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import uvloop
from aiohttp import web

from tests.drills.question import MODEL, Question
from tests.product import PROJECT

STARTS_WITHIN_S = 20.0
STOPS_WITHIN_S = 5.0
LONGEST_WAIT_S = 600.0  # at a gate
SEND_BUFFER = 64 * 1024


@dataclass(slots=True)
class Call:
    """One call to the provider."""

    name: str  # of the question
    at: float
    peer_port: int  # tells which process of the product made it
    has_headers: bool = False  # they were sent
    pieces: int = 0  # handed to the connection
    state: str = "open"  # then finished, or closed by the caller before the end
    ended_at: float = 0.0


class ScriptedProvider:
    """The provider's process, from outside.

    with ScriptedProvider() as provider:
        Product(OPENAI_API_KEY="sk-drill", OPENAI_BASE_URL=provider.address)
    """

    def __init__(self, port: int = 0) -> None:
        """It listens on `port`, or on a free one."""
        self.address = ""
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ScriptedProvider:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.drills.provider", str(self._port)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,  # its end is the process's end, whatever becomes of this one
            stdout=subprocess.PIPE,
        )
        try:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            self.address = f"http://127.0.0.1:{json.loads(line)['port']}/v1"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.address.rpartition(":")[2].partition("/")[0])

    def environment(self) -> dict[str, str]:
        """What makes a product ask it."""
        return {"OPENAI_API_KEY": "sk-drill", "OPENAI_BASE_URL": self.address}

    def calls(self, name: str = "") -> list[Call]:
        """The calls so far, oldest first: those for the question of that name, or all."""
        return [Call(**call) for call in self._ask("GET", f"calls?name={name}")]

    def summary(self) -> dict[str, int]:
        """How many calls are open, finished, closed."""
        found: dict[str, int] = self._ask("GET", "summary")
        return found

    def open_gate(self, gate: str) -> None:
        """Let every call that waits at `gate` go on, and those to come."""
        self._ask("POST", f"gates/{gate}")

    def _ask(self, method: str, path: str) -> Any:
        url = f"{self.address.removesuffix('v1')}drill/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as response:  # noqa: S310  # our own
            return json.load(response)


class _Provider:
    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def serve(self) -> None:
        """Serve until standard input ends."""
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_get("/drill/calls", self.calls)
        app.router.add_get("/drill/summary", self.summary)
        app.router.add_post("/drill/gates/{gate}", self.open_gate)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5, access_log=None)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
        # Or the kernel takes in megabytes, and what was handed over says little about what the product took.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        await web.SockSite(runner, listener, backlog=4096).start()
        sys.stdout.write(json.dumps({"port": runner.addresses[0][1]}) + "\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await runner.cleanup()

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": MODEL}]})

    async def calls(self, request: web.Request) -> web.Response:
        name = request.query.get("name")
        return web.json_response([asdict(call) for call in self._calls if not name or call.name == name])

    async def summary(self, request: web.Request) -> web.Response:
        states = [call.state for call in self._calls]
        return web.json_response({state: states.count(state) for state in ("open", "finished", "closed")})

    async def open_gate(self, request: web.Request) -> web.Response:
        self._gates[request.match_info["gate"]].set()
        return web.json_response({})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        question = _question(await request.json())
        assert request.transport is not None
        call = Call(question.name, time.monotonic(), request.transport.get_extra_info("peername")[1])
        self._calls.append(call)
        try:
            response = await self._answer(question, call, request)
        except ConnectionResetError:
            call.state = "closed"
            return web.Response()
        except asyncio.CancelledError:
            call.state = "closed"
            raise
        finally:
            call.ended_at = time.monotonic()
        call.state = "finished"
        return response

    async def _answer(self, question: Question, call: Call, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(question.headers_s)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        call.has_headers = True
        await asyncio.sleep(question.first_s)
        due = time.monotonic()
        for number in range(question.pieces):
            if question.gate and number == question.gate_after:
                await self._wait(question.gate)
            await response.write(_event(delta={"content": question.piece(number)}))
            call.pieces += 1
            due += question.gap_s
            if question.gap_s:
                await asyncio.sleep(due - time.monotonic())
        if question.gate and question.gate_after >= question.pieces:
            await self._wait(question.gate)
        await asyncio.sleep(question.end_s)
        usage = {"prompt_tokens": 7, "completion_tokens": question.pieces}
        end = _event(finish_reason="stop") + _sse({"choices": [], "usage": usage}) + b"data: [DONE]\n\n"
        await response.write(end)
        await response.write_eof()
        return response

    async def _wait(self, gate: str) -> None:
        async with asyncio.timeout(LONGEST_WAIT_S):
            await self._gates[gate].wait()


def _question(body: dict[str, Any]) -> Question:
    """What is asked last; what is no question is answered all the same, for callers who ask anything."""
    try:
        return Question.read(body["messages"][-1]["content"])
    except (ValueError, TypeError, KeyError, IndexError):
        return Question(name="no question")


def _event(**choice: Any) -> bytes:
    return _sse({"choices": [{"index": 0, "delta": {}, "finish_reason": None, **choice}]})


def _sse(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def main() -> None:
    """Serve, with as many files open as may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(_Provider().serve())


if __name__ == "__main__":
    main()
