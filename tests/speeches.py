"""What each kind of provider says, event by event, and a server on loopback that says it well or badly.

A speech knows the shapes of one API: its routes, its answers, its errors, and what it refuses to take. The server knows
how a connection can go wrong, by the model's name, the same for all of them.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from aiohttp import web

KEY = "secret-key-of-the-test"
GOOD = ("Par", "is é🎈")
Calls = Sequence[tuple[str, dict[str, Any]]]  # names and arguments
Counts = tuple[object, object] | None  # of the question's tokens and of the answer's


class Refused(Exception):
    """The request is not as the API takes it."""


def sse(value: object, kind: str = "") -> bytes:
    event = f"event: {kind}\n" if kind else ""
    return f"{event}data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


class Speech:
    """One API. Frames are what would be sent at once."""

    name = ""
    key_header = ("Authorization", f"Bearer {KEY}")

    def model(self, path: str, body: dict[str, Any]) -> str:
        """The model that is asked."""
        return str(body["model"])

    def check(self, path: str, body: dict[str, Any]) -> None:
        """Raises Refused for what the API would refuse."""

    def answer(
        self,
        pieces: Sequence[str] = GOOD,
        *,
        thinking: str = "",
        calls: Calls = (),
        usage: Counts = (11, 2),
        reason: str = "stop",
    ) -> list[bytes]:
        """An answer in frames; the last one is its end."""
        raise NotImplementedError

    def trouble(self, words: str = "overloaded") -> bytes:
        """An error within an answer."""
        raise NotImplementedError

    def silence(self) -> bytes:
        """What says that nothing came yet."""
        return b": still at work\n\n"

    def refusal(self, status: int, words: str = "") -> dict[str, Any]:
        """The body of a refusal, with these words, or `no, {status}`."""
        raise NotImplementedError

    def listing(self) -> dict[str, Any]:
        """The list of models: `good`, and some nonsense."""
        raise NotImplementedError

    def vectors(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """Vectors that tell the length of each text; None when there are none."""
        return None


class OpenAISpeech(Speech):
    name = "openai"

    def answer(
        self,
        pieces: Sequence[str] = GOOD,
        *,
        thinking: str = "",
        calls: Calls = (),
        usage: Counts = (11, 2),
        reason: str = "stop",
    ) -> list[bytes]:
        frames = [self._delta(reasoning_content=thinking)] if thinking else []
        frames += [self._delta(content=piece) for piece in pieces]
        for place, (name, arguments) in enumerate(calls):
            written = json.dumps(arguments)
            call = {"index": place, "id": f"call_{place}", "function": {"name": name, "arguments": written[:3]}}
            rest = {"index": place, "function": {"arguments": written[3:]}}
            frames += [self._delta(tool_calls=[call]), self._delta(tool_calls=[rest])]
        ended = {"stop": "tool_calls" if calls else "stop", "filter": "content_filter"}.get(reason, reason)
        frames.append(sse({"choices": [{"index": 0, "delta": {}, "finish_reason": ended}]}))
        if usage:
            counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
            frames.append(sse({"choices": [], "usage": counts}))
        return [*frames, b"data: [DONE]\n\n"]

    @staticmethod
    def _delta(**fields: Any) -> bytes:
        return sse({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})

    def trouble(self, words: str = "overloaded") -> bytes:
        return sse({"error": {"message": words, "code": 529}})

    def refusal(self, status: int, words: str = "") -> dict[str, Any]:
        return {"error": {"message": words or f"no, {status}", "type": "x", "code": None}}

    def listing(self) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "good", "context_length": 8192}, {"id": None}, {}]}

    def vectors(self, body: dict[str, Any]) -> dict[str, Any]:
        data = [{"index": place, "embedding": [len(text), 0.5]} for place, text in enumerate(body["input"])]
        return {"data": data, "usage": {"prompt_tokens": 4}}


class OpenRouterSpeech(OpenAISpeech):
    """As its documentation has it: comments while it works, who answered, and what it cost."""

    name = "openrouter"
    COST = 0.000123

    def check(self, path: str, body: dict[str, Any]) -> None:
        reasoning = body.get("reasoning", {})
        if "reasoning_effort" in body or {"effort", "max_tokens"} <= reasoning.keys():
            raise Refused('Only one of "reasoning.effort" and "reasoning.max_tokens" can be specified')
        if reasoning.get("effort", "low") not in {"xhigh", "high", "medium", "low", "minimal", "none"}:
            raise Refused("reasoning.effort: Invalid option")
        if "input" in body:
            return
        if path != "/chat/completions" or body["usage"] != {"include": True} or not body["stream"]:
            raise Refused("Invalid input")
        open_calls: list[str] = []
        for message in body["messages"]:
            if message["role"] == "tool":
                open_calls.remove(message["tool_call_id"])
            elif open_calls:
                raise Refused("Provider returned error: tool_use ids were found without tool_result blocks")
            open_calls += [call["id"] for call in message.get("tool_calls", ())]
            for part in message["content"] if isinstance(message["content"], list) else ():
                if part["type"] == "image_url" and not part["image_url"]["url"].startswith("data:image/"):
                    raise Refused("Invalid image")

    def answer(
        self,
        pieces: Sequence[str] = GOOD,
        *,
        thinking: str = "",
        calls: Calls = (),
        usage: Counts = (11, 2),
        reason: str = "stop",
    ) -> list[bytes]:
        frames = [self.silence()]
        if thinking:
            details = [{"type": "reasoning.text", "text": thinking, "format": "unknown", "index": 0}]
            frames.append(self._piece(content="", reasoning=thinking, reasoning_details=details))
        frames += [self._piece(content=piece) for piece in pieces]
        for place, (name, arguments) in enumerate(calls):
            written = json.dumps(arguments)
            function = {"name": name, "arguments": written[:3]}
            call = {"index": place, "id": f"call_{place}", "type": "function", "function": function}
            rest = {"index": place, "type": "function", "function": {"name": None, "arguments": written[3:]}}
            frames += [self._piece(content=None, tool_calls=[call]), self._piece(content=None, tool_calls=[rest])]
        ended = {"stop": "tool_calls" if calls else "stop", "filter": "content_filter"}.get(reason, reason)
        frames.append(self._piece(ended, content=""))
        if usage:
            counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "cost": self.COST, "is_byok": False}
            counts |= {"prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0}}
            counts |= {"cost_details": {"upstream_inference_cost": self.COST}}
            counts |= {"completion_tokens_details": {"reasoning_tokens": 0, "image_tokens": 0}}
            frames.append(self._piece(content="", usage=counts))
        return [*frames, b"data: [DONE]\n\n"]

    @staticmethod
    def _piece(ended: str | None = None, usage: Any = None, **fields: Any) -> bytes:
        delta = {"role": "assistant", **fields}
        choice = {"index": 0, "delta": delta, "finish_reason": ended, "native_finish_reason": ended, "logprobs": None}
        event = {"id": "gen-1", "provider": "Backend", "model": "m", "object": "chat.completion.chunk", "created": 1}
        return sse(event | {"choices": [choice]} | ({"usage": usage} if usage else {}))

    def trouble(self, words: str = "overloaded") -> bytes:
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error", "native_finish_reason": None}
        error = {"code": 502, "message": words, "metadata": {"provider_name": "Backend", "raw": "at capacity"}}
        return sse({"id": "gen-1", "provider": "Backend", "error": error, "choices": [choice]})

    def silence(self) -> bytes:
        return b": OPENROUTER PROCESSING\n\n"

    def refusal(self, status: int, words: str = "") -> dict[str, Any]:
        error = {"message": words or f"no, {status}", "code": status}
        return {"error": error | {"metadata": {"provider_name": "Backend", "raw": "so it said"}}, "user_id": "user_1"}

    def listing(self) -> dict[str, Any]:
        good = {
            "id": "good",
            "canonical_slug": "vendor/good-2026-01-02",
            "created": 1_700_000_000,
            "context_length": 8192,
            "architecture": {"modality": "text+image->text", "input_modalities": ["text", "image"], "tokenizer": "X"},
            "pricing": {"prompt": "0.000002", "completion": "0.0000085", "request": "0", "image": "0"},
            "top_provider": {"context_length": 8192, "max_completion_tokens": 4096, "is_moderated": False},
            "supported_parameters": ["max_tokens", "tools", "reasoning", "include_reasoning"],
            "reasoning": {"mandatory": False, "supported_efforts": ["high", "medium", "low"]},
        }
        return {"data": [good, {"id": None}, {}]}

    def vectors(self, body: dict[str, Any]) -> dict[str, Any]:
        found = super().vectors(body)
        return found | {"usage": found["usage"] | {"total_tokens": 4, "cost": self.COST}}


class AnthropicSpeech(Speech):
    name = "anthropic"
    key_header = ("x-api-key", KEY)

    def check(self, path: str, body: dict[str, Any]) -> None:
        if path != "/v1/messages" or not body["max_tokens"] or not body["stream"]:
            raise Refused("max_tokens: field required")
        roles = [turn["role"] for turn in body["messages"]]
        if not roles or any(one == other for one, other in pairwise(roles)) or roles[0] != "user":
            raise Refused("messages: roles must alternate")
        asked: list[str] = []
        for turn in body["messages"]:
            blocks = turn["content"]
            if isinstance(blocks, str):
                blocks = [{"type": "text", "text": blocks}]
            results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
            if any(block["type"] == "tool_result" for block in blocks[len(results) :]):
                raise Refused("messages: `tool_result` blocks must come first in their turn")
            if sorted(results) != sorted(asked):
                raise Refused("messages: `tool_use` ids were found without `tool_result` blocks immediately after")
            asked = [block["id"] for block in blocks if block["type"] == "tool_use"]
            if any(block["type"] == "text" and not block["text"].strip() for block in blocks):
                raise Refused("messages: text content blocks must be non-empty")
        self._check_thinking(body, body.get("thinking", {}))

    def _check_thinking(self, body: dict[str, Any], thinking: dict[str, Any]) -> None:
        if not 0 <= body.get("temperature", 1) <= 1:
            raise Refused("temperature: range: 0..1")
        if thinking.get("type", "disabled") == "disabled":
            return
        if body.get("temperature", 1) != 1 or "top_k" in body or body.get("top_p", 1) < 0.95:
            raise Refused("`temperature`, `top_p` and `top_k` may not be set when thinking is enabled")
        if thinking["type"] == "adaptive":
            return
        if not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
            raise Refused("max_tokens must be greater than thinking.budget_tokens")
        last = body["messages"][-1]
        if last["role"] == "assistant" or any(block["type"] == "tool_result" for block in last["content"]):
            raise Refused("Expected `thinking` or `redacted_thinking`: when thinking is enabled, a final turn needs it")

    def answer(
        self,
        pieces: Sequence[str] = GOOD,
        *,
        thinking: str = "",
        calls: Calls = (),
        usage: Counts = (11, 2),
        reason: str = "stop",
    ) -> list[bytes]:
        begun: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
        begun |= {"stop_reason": None, "stop_sequence": None}
        if usage:
            about = {"input_tokens": usage[0], "cache_read_input_tokens": 0, "output_tokens": 1}
            begun["usage"] = about
        frames = [self._event("message_start", message=begun), self._event("ping")]
        blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        if thinking:
            deltas = [{"type": "thinking_delta", "thinking": thinking}, {"type": "signature_delta", "signature": "s"}]
            blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
        if pieces:
            blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces]))
        for place, (name, arguments) in enumerate(calls):
            written = json.dumps(arguments)
            parts = [{"type": "input_json_delta", "partial_json": part} for part in ("", written[:3], written[3:])]
            blocks.append(({"type": "tool_use", "id": f"toolu_{place}", "name": name, "input": {}}, parts))
        for index, (block, deltas) in enumerate(blocks):
            frames.append(self._event("content_block_start", index=index, content_block=block))
            frames += [self._event("content_block_delta", index=index, delta=delta) for delta in deltas]
            frames.append(self._event("content_block_stop", index=index))
        names = {"stop": "tool_use" if calls else "end_turn", "length": "max_tokens", "filter": "refusal"}
        ended = {"stop_reason": names.get(reason, reason), "stop_sequence": None}
        frames.append(
            self._event("message_delta", delta=ended, **({"usage": {"output_tokens": usage[1]}} if usage else {}))
        )
        return [*frames, self._event("message_stop")]

    @staticmethod
    def _event(kind: str, **fields: Any) -> bytes:
        return sse({"type": kind, **fields}, kind)

    def trouble(self, words: str = "overloaded") -> bytes:
        return self._event("error", error={"type": "overloaded_error", "message": words})

    def silence(self) -> bytes:
        return self._event("ping")

    def refusal(self, status: int, words: str = "") -> dict[str, Any]:
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}
        error = {"type": kinds.get(status, "api_error"), "message": words or f"no, {status}"}
        return {"type": "error", "error": error, "request_id": "req_1"}

    def listing(self) -> dict[str, Any]:
        yes = {"supported": True}
        thinking = yes | {"types": {"adaptive": yes, "enabled": {"supported": False}}}
        able = {"image_input": yes, "thinking": thinking, "effort": yes | {"max": yes}}
        good = {"type": "model", "id": "good", "created_at": "2026-01-02T03:04:05Z", "max_input_tokens": 8192}
        return {"data": [good | {"max_tokens": 4096, "capabilities": able}, {"id": None}, {}], "has_more": False}


class GeminiSpeech(Speech):
    name = "gemini"
    key_header = ("x-goog-api-key", KEY)
    KNOWN = frozenset({"contents", "systemInstruction", "tools", "generationConfig", "safetySettings"})

    def model(self, path: str, body: dict[str, Any]) -> str:
        return path.partition("/models/")[2].partition(":")[0]

    def check(self, path: str, body: dict[str, Any]) -> None:
        if "requests" in body:
            if len(body["requests"]) > 100:
                raise Refused("at most 100 requests can be in one batch")
            return
        if not path.endswith(":streamGenerateContent") or body.keys() - self.KNOWN:
            raise Refused("Invalid JSON payload received. Unknown name")
        open_calls = 0
        for content in body["contents"]:
            if not content["parts"]:
                raise Refused("contents.parts must not be empty")
            answers = sum("functionResponse" in part for part in content["parts"])
            if answers != open_calls:
                raise Refused("the number of function response parts is not that of function call parts")
            open_calls = sum("functionCall" in part for part in content["parts"])

    def answer(
        self,
        pieces: Sequence[str] = GOOD,
        *,
        thinking: str = "",
        calls: Calls = (),
        usage: Counts = (11, 2),
        reason: str = "stop",
    ) -> list[bytes]:
        parts: list[dict[str, Any]] = [{"text": thinking, "thought": True}] if thinking else []
        parts += [{"text": piece} for piece in pieces]
        parts += [{"functionCall": {"name": name, "args": arguments}} for name, arguments in calls]
        names = {"stop": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY"}
        frames = [{"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}]} for part in parts]
        end: dict[str, Any] = {
            "candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": names.get(reason, reason)}]
        }
        for frame in (*frames, end) if usage else ():
            counts = {"promptTokenCount": usage[0], "thoughtsTokenCount": 0}
            frame["usageMetadata"] = counts | {"candidatesTokenCount": usage[1]} if frame is end else counts
        return [sse(frame).replace(b"\n", b"\r\n") for frame in (*frames, end)]

    def trouble(self, words: str = "overloaded") -> bytes:
        return sse({"error": {"code": 503, "message": words, "status": "UNAVAILABLE"}})

    def refusal(self, status: int, words: str = "") -> dict[str, Any]:
        names = {429: "RESOURCE_EXHAUSTED", 404: "NOT_FOUND", 400: "INVALID_ARGUMENT", 503: "UNAVAILABLE"}
        details = (
            [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}] if status == 429 else []
        )
        return {
            "error": {
                "code": status,
                "message": words or f"no, {status}",
                "status": names.get(status, "X"),
                "details": details,
            }
        }

    def listing(self) -> dict[str, Any]:
        good = {"name": "models/good", "supportedGenerationMethods": ["generateContent"], "inputTokenLimit": 8192}
        image = {"name": "models/imagen", "supportedGenerationMethods": ["predict"]}
        return {"models": [good | {"thinking": True, "version": "001"}, image, {"name": None}, {}]}

    def vectors(self, body: dict[str, Any]) -> dict[str, Any]:
        texts = [one["content"]["parts"][0]["text"] for one in body["requests"]]
        return {
            "embeddings": [{"values": [len(text), 0.5]} for text in texts],
            "usageMetadata": {"promptTokenCount": 4},
        }


class OllamaSpeech(Speech):
    name = "ollama"

    def model(self, path: str, body: dict[str, Any]) -> str:
        return str(body["model"]).removesuffix(":latest")

    def answer(
        self,
        pieces: Sequence[str] = GOOD,
        *,
        thinking: str = "",
        calls: Calls = (),
        usage: Counts = (11, 2),
        reason: str = "stop",
    ) -> list[bytes]:
        frames = [self._line(thinking=thinking)] if thinking else []
        frames += [self._line(content=piece) for piece in pieces]
        for place, (name, arguments) in enumerate(calls):
            frames.append(self._line(tool_calls=[{"function": {"index": place, "name": name, "arguments": arguments}}]))
        end: dict[str, Any] = {"done_reason": reason, "total_duration": 9, "load_duration": 1}
        if usage:
            end |= {
                "prompt_eval_count": usage[0],
                "eval_count": usage[1],
                "eval_duration": 5,
                "prompt_eval_duration": 3,
            }
        return [*frames, self._line(end)]

    @staticmethod
    def _line(end: dict[str, Any] | None = None, **message: Any) -> bytes:
        value = {"model": "m", "created_at": "x", "message": {"role": "assistant", "content": "", **message}}
        return json.dumps(value | {"done": bool(end)} | (end or {}), ensure_ascii=False).encode() + b"\n"

    def trouble(self, words: str = "overloaded") -> bytes:
        return json.dumps({"error": words}).encode() + b"\n"

    def silence(self) -> bytes:
        return b"\n"

    def refusal(self, status: int, words: str = "") -> dict[str, Any]:
        return {"error": words or f"no, {status}"}

    def listing(self) -> dict[str, Any]:
        details = {"family": "llama", "parameter_size": "1B", "quantization_level": "Q4_1", "context_length": 8192}
        good = {"name": "good:latest", "digest": "d" * 64, "size": 7, "modified_at": "2026-01-02T03:04:05+01:00"}
        able = ["completion", "tools", "vision", "thinking", "insert"]
        return {"models": [good | {"details": details, "capabilities": able}, {"name": None}, {}]}

    def vectors(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"embeddings": [[len(text), 0.5] for text in body["input"]], "prompt_eval_count": 4}


SPEECHES: tuple[Speech, ...] = (
    OpenAISpeech(),
    OpenRouterSpeech(),
    AnthropicSpeech(),
    GeminiSpeech(),
    OllamaSpeech(),
)


@dataclass
class SpeechServer:
    """Speaks as one API does. The model's name says how well."""

    speech: Speech
    address: str = ""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)  # with their queries, of every request
    encodings: list[str] = field(default_factory=list)  # that a packed answer was asked for in
    finished: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None

    async def start(self) -> SpeechServer:
        """Listen on a free port."""
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_get("/{path:.*}", self.list)
        app.router.add_post("/{path:.*}", self.post)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def stop(self) -> None:
        """Close everything."""
        self.gate.set()
        assert self._runner is not None
        await self._runner.cleanup()

    def _refused(self, status: int, headers: dict[str, str] | None = None) -> web.Response:
        return web.json_response(self.speech.refusal(status), status=status, headers=headers)

    def _is_known(self, request: web.Request) -> bool:
        self.paths.append(request.path_qs)
        name, value = self.speech.key_header
        return request.headers.get(name) == value

    async def list(self, request: web.Request) -> web.Response:
        """The models."""
        return web.json_response(self.speech.listing()) if self._is_known(request) else self._refused(401)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """An answer, or what the model's name says."""
        body = await request.json()
        if not self._is_known(request):
            return self._refused(401)
        self.asked.append((request.path, body))
        behaviour = self.speech.model(request.path, body)
        try:
            self.speech.check(request.path, body)
        except Refused as error:
            return web.json_response({"error": {"message": f"400: {error}", "type": "x"}}, status=400)
        if behaviour.isdigit():
            return self._refused(int(behaviour), {"Retry-After": "7"} if behaviour == "503" else None)
        if behaviour == "hangup":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if behaviour == "too_long":
            words = "prompt is too long: 9 tokens > 8 maximum"
            return web.json_response(self.speech.refusal(400, words), status=400)
        if behaviour == "tells":
            return web.Response(text=f"What is {self.speech.key_header[1]}?", status=500)
        if behaviour == "mute":  # a head that refuses, and nothing after it
            response = web.StreamResponse(status=503, headers={"Retry-After": "7"})
            await response.prepare(request)
            await self._wait()
        if behaviour in {"packed", "packed_refusal"}:
            self.encodings.append(request.headers["Accept-Encoding"])
            status = 200 if behaviour == "packed" else 503
            packed = gzip.compress(b"no, and " * 400_000)
            return web.Response(body=packed, status=status, headers={"Content-Encoding": "gzip"})
        if behaviour == "verbose":
            return web.Response(text="no, and " * 20_000, status=429, headers={"Retry-After": "7"})
        if match := re.fullmatch(r"(at|raw)(\d+)", behaviour):  # the key, that far into what it says
            words = "x" * int(match[2]) + KEY
            refusal = web.json_response(self.speech.refusal(500, words), status=500)
            return refusal if match[1] == "at" else web.Response(text=words, status=500)
        if behaviour == "html":
            return web.Response(text="<html>All is well</html>", content_type="text/html")
        if behaviour == "silent":
            await self._wait()
        if "embed" in behaviour:
            return web.json_response(self.speech.vectors(body))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await self._stream(response, behaviour, request)
        self.finished += 1
        return response

    async def _stream(self, response: web.StreamResponse, behaviour: str, request: web.Request) -> None:
        speech = self.speech
        good = speech.answer()
        half = good[: len(good) // 2]
        match behaviour:
            case "bytewise":
                for byte in b"".join(good):
                    await response.write(bytes([byte]))
            case "crlf":
                await response.write(b"".join(good).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
            case "thinks":
                await response.write(b"".join(speech.answer(thinking="Hm.")))
            case "tools":
                await response.write(b"".join(speech.answer((), calls=[("weather", {"city": "Rome"}), ("time", {})])))
            case "length" | "filter":
                await response.write(b"".join(speech.answer(reason=behaviour)))
            case "no_usage":
                await response.write(b"".join(speech.answer(usage=None)))
            case "absurd_usage":
                await response.write(b"".join(speech.answer(usage=(-5, 10**30))))
            case "great_usage":
                await response.write(b"".join(speech.answer(usage=(2_000_000_000, 2_000_000_000))))
            case "truncated":
                await response.write(b"".join(half))
            case "reset":
                await response.write(b"".join(half))
                assert request.transport is not None
                request.transport.abort()
            case "stall":
                await response.write(b"".join(half))
                await self._wait()
            case "headers_only":
                await self._wait()
            case "comments":
                async with asyncio.timeout(60):
                    while not self.gate.is_set():
                        await response.write(speech.silence())
                        await asyncio.sleep(0.05)
            case "garbage":
                await response.write(b"".join(half) + half[-1].replace(b"{", b"[", 1))
            case "error_inside":
                await response.write(b"".join(half) + speech.trouble())
            case "tells_inside":
                await response.write(good[0] + speech.trouble(f"What is {KEY}?"))
            case "error_first":
                await response.write(speech.trouble())
            case "endless_line":
                for _ in range(64):
                    await response.write(b"data: " + b"x" * 100_000)
            case _:
                for frame in good:
                    await response.write(frame)

    async def _wait(self) -> None:
        async with asyncio.timeout(60):
            await self.gate.wait()
