"""A provider on loopback that speaks the OpenAI chat protocol and misbehaves by model name, keeping its own log."""

from __future__ import annotations

import asyncio
import json
import struct
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Provider:
    """Its address, what it was asked, and what became of each call."""

    address: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)
    hung_up: int = 0
    finished: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> Provider:
        """Listen on a free port."""
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/embeddings", self.embeddings)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._loop = asyncio.get_running_loop()
        self.address = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def stop(self) -> None:
        """Close everything."""
        self.gate.set()
        assert self._runner is not None
        await self._runner.cleanup()

    def let_go(self) -> None:
        """Let every call that waits go on, and those to come; from any thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.gate.set)

    async def models(self, request: web.Request) -> web.Response:
        """Two models, and some nonsense that must not hurt."""
        return web.json_response({"object": "list", "data": [{"id": "good"}, {"id": "Big/One"}, {"id": None}, {}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Behave as the model's name says."""
        body = await request.json()
        self.asked.append(body)
        self.connections.add(request.transport)
        self.keys.append(request.headers.get("Authorization", ""))
        behaviour = body["model"]
        if behaviour.isdigit():
            error = {"error": {"message": f"no, {behaviour}", "type": "x"}}
            return web.json_response(error, status=int(behaviour), headers={"Retry-After": "7"})
        if behaviour == "html":
            return web.Response(text="<html>All is well</html>", content_type="text/html")
        if behaviour == "silent":
            await self._wait()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self._stream(response, behaviour, request)
        except (ConnectionResetError, asyncio.CancelledError):
            self.hung_up += 1
            raise
        self.finished += 1
        return response

    async def embeddings(self, request: web.Request) -> web.Response:
        """Vectors that tell the place and the length of each text, as the model's name says."""
        body = await request.json()
        self.asked.append(body)
        behaviour = body["model"].removeprefix("embed-")
        if behaviour.isdigit():
            return web.json_response({"error": {"message": f"no, {behaviour}"}}, status=int(behaviour))
        if behaviour == "silent":
            await self._wait()
        if behaviour == "html":
            return web.Response(text="<html>All is well</html>", content_type="text/html")
        numbers = [[float(place), float(len(text)), 0.5] for place, text in enumerate(body["input"])]
        vectors: list[Any] = list(numbers)
        if body.get("encoding_format") == "base64" and behaviour != "numbers":
            vectors = [b64encode(struct.pack("<3f", *one)).decode() for one in numbers]
        data = [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(vectors)]
        tokens = 2_000_000_000 if behaviour == "great" else 4
        match behaviour:
            case "shuffled":
                data.reverse()
            case "short":
                data.pop()
            case "uneven":
                data[-1]["embedding"] = [1.0]
            case "torn":
                data[0]["embedding"] = "AAA="
            case "words":
                data[0]["embedding"] = ["one", "two"]
            case "empty":
                data[0]["embedding"] = []
        return web.json_response(
            {"object": "list", "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
        )

    async def _stream(self, response: web.StreamResponse, behaviour: str, request: web.Request) -> None:
        first, second = delta(content="Par"), delta(content="is é🎈")
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        usage = {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13}}
        done = b"data: [DONE]\n\n"
        good = [sse(first), sse(second), sse(end), sse(usage), done]
        match behaviour:
            case "crlf":
                await response.write(b": comment\r\n\r\n" + b"".join(good).replace(b"\n", b"\r\n"))
            case "bytewise":
                for byte in b"".join(good):
                    await response.write(bytes([byte]))
            case "length":
                await response.write(sse(first))
                await response.write(sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}) + done)
            case "truncated":
                await response.write(sse(first))
            case "reset":
                await response.write(sse(first))
                assert request.transport is not None
                request.transport.abort()
            case "stall":
                await response.write(sse(first))
                await self._wait()
            case "headers_only":
                await self._wait()
            case "garbage":
                await response.write(sse(first) + b"data: {not json\n\n")
            case "error_inside":
                await response.write(sse(first) + sse({"error": {"message": "overloaded", "code": 529}}))
            case "odd_shape":
                await response.write(sse({"choices": [{"delta": {"content": {"not": "text"}}}]}))
            case "endless_line":
                for _ in range(64):
                    await response.write(b"data: " + b"x" * 100_000)
            case "endless":
                while True:
                    await response.write(sse(delta(content="x" * 10_000)))
            case "no_usage":
                await response.write(b"".join([sse(first), sse(second), sse(end), done]))
            case "absurd_usage":
                await response.write(
                    sse(first) + sse(end) + sse({"usage": {"prompt_tokens": -5, "completion_tokens": 10**30}})
                )
                await response.write(done)
            case "after_end":
                await response.write(b"".join([*good, sse(delta(content="IGNORED"))]))
            case "thinks":
                await response.write(sse(delta(reasoning_content="Hm.")) + b"".join(good))
            case "tools":
                call = {"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": '{"ci'}}
                more = {"index": 0, "function": {"arguments": 'ty":"Rome"}'}}
                tools_end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
                await response.write(
                    sse(delta(tool_calls=[call])) + sse(delta(tool_calls=[more])) + sse(tools_end) + done
                )
            case "agent" if (await request.json())["messages"][-1]["role"] != "tool":
                call = {"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
                tools_end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
                await response.write(sse(delta(tool_calls=[call])) + sse(tools_end) + done)
            case "json":
                await response.write(sse(delta(content='{"city": "Par')) + sse(delta(content='is"}')) + sse(end) + done)
            case "bad_tools":
                call = {"index": 0, "id": "c", "function": {"name": "weather", "arguments": "[1"}}
                await response.write(sse(delta(tool_calls=[call])) + sse(end) + done)
            case "odd_index":
                call = {"index": "x", "id": "c", "function": {"name": "weather", "arguments": "{}"}}
                await response.write(sse(delta(tool_calls=[call])) + sse(end) + done)
            case "filtered":
                filtered = {"choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]}
                await response.write(sse(first) + sse(filtered) + done)
            case "logprobs":
                other = {"token": "par", "logprob": -2.5, "bytes": [112, 97, 114]}
                token = {"token": "Par", "logprob": -0.5, "bytes": None, "top_logprobs": [other]}
                piece = delta(content="Par")
                piece["choices"][0]["logprobs"] = {"content": [token]}
                await response.write(sse(piece) + sse(end) + done)
            case "slow":
                await response.write(sse(first))
                await self._wait()
                await response.write(b"".join(good[1:]))
            case _:
                await response.write(b"".join(good))

    async def _wait(self) -> None:
        async with asyncio.timeout(30):
            await self.gate.wait()


def delta(**fields: Any) -> dict[str, Any]:
    """One piece of an answer."""
    return {
        "id": "x",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": fields, "finish_reason": None}],
    }


def sse(value: dict[str, Any]) -> bytes:
    """One event."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
