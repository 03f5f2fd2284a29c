"""Secrets of every kind go through everything the product has; then they are looked for wherever they must not be.

Each canary says where it may be: what the cache keeps is there to be kept, and whoever asked hears their answer.
It is looked for as it is, reversed, and in base64, hex, URL and JSON forms; of what is a secret, eight characters
of its beginning or end are enough to be found.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import redis as redis_client
from aiohttp import web

from orchestrator.core import secrets as core_secrets
from orchestrator.supervisor.redis import server_program
from tests.drills.base import Drill, Run
from tests.product import PROJECT, Product, until
from tests.servers import free_ports
from tests.test_headers import paths

MODEL = "model"
KEPT = frozenset({"cache", "redis"})  # answers are kept there
HEARD = frozenset({"reply"})  # by whoever asked
OURS = frozenset(f"environ of {name}" for name in ("serve", "web", "pages", "worker"))  # what was given to them
SHOWN = 8  # characters of a secret that are too many
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@dataclass(frozen=True, slots=True)
class Canary:
    """Something that must not be anywhere but in `may_be`."""

    kind: str
    value: str = field(repr=False)
    may_be: frozenset[str] = frozenset()
    is_secret: bool = True  # a part of it is too much, too

    def forms(self) -> Iterator[tuple[str, bytes]]:
        """What it may look like."""
        raw = self.value.encode()
        yield "as it is", raw
        yield "reversed", raw[::-1]
        yield "hex", raw.hex().encode()
        yield "escaped", "".join(f"\\u{ord(char):04x}" for char in self.value).encode()
        if (quoted := quote(self.value, safe="").encode()) != raw:
            yield "quoted", quoted
        if (escaped := json.dumps(self.value)[1:-1].encode()) != raw:
            yield "JSON", escaped
        for skipped in range(3):  # base64 of a longer text that holds it, wherever it begins in there
            middle = base64.b64encode(b"\0" * skipped + raw)[4 if skipped else 0 : -4]
            yield f"base64 {skipped}", middle
            yield f"base64url {skipped}", middle.translate(bytes.maketrans(b"+/", b"-_"))
        if self.is_secret:
            yield "its beginning", raw[:SHOWN]
            yield "its end", raw[-SHOWN:]


@dataclass(slots=True)
class Aviary:
    """All canaries, by kind, and what was seen of the product, by place."""

    canaries: dict[str, Canary] = field(default_factory=dict)
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)  # place, what exactly, content

    def add(self, kind: str, value: str = "", *may_be: str, is_secret: bool = True) -> str:
        """A canary of this kind, and its value."""
        value = value or f"{secrets.token_urlsafe(24)}"
        self.canaries[kind] = Canary(kind, value, frozenset(may_be), is_secret)
        return value

    def text(self, kind: str, *may_be: str) -> str:
        """One that is no secret by itself: somebody's words, with marks that every form writes in its own way."""
        return self.add(kind, f'{kind} "{secrets.token_hex(12)}" äß/+ end', *may_be, is_secret=False)

    def __getitem__(self, kind: str) -> str:
        return self.canaries[kind].value

    def saw(self, place: str, what: str, content: bytes | str) -> None:
        """Note what a place holds."""
        self.seen.append((place, what, content.encode("utf-8", "replace") if isinstance(content, str) else content))

    def escaped(self) -> Iterator[str]:
        """What is where it must not be, in words."""
        for canary in self.canaries.values():
            forms = list(canary.forms())
            for place, what, content in self.seen:
                if place in canary.may_be or place == "own words":
                    continue
                for form, needle in forms:
                    at = content.find(needle)
                    if at >= 0:
                        around = content[max(0, at - 60) : at + len(needle) + 20].decode("utf-8", "replace")
                        yield f"{canary.kind} ({form}) is in {place}: {what}: …{around!r}…"
                        break


class Echo:
    """A provider that says back what it must not: the key it was shown, and what it was asked."""

    def __init__(self, aviary: Aviary) -> None:
        self._aviary = aviary
        self.address = ""
        self.told = 0  # how often it said everything back

    async def models(self, request: web.Request) -> web.Response:
        """Its one model, under several names."""
        names = (MODEL, "refuses", "fails", "breaks", "babbles", "embeds")
        return web.json_response({"object": "list", "data": [{"id": name} for name in names]})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer as the model's name says."""
        asked = await request.text()
        shown = " ".join(f"{name}: {value}" for name, value in request.headers.items())
        words = f"Incorrect API key provided: {shown}. You asked: {asked}"
        model = json.loads(asked).get("model", "") if asked.startswith("{") else ""
        self.told += model in {"refuses", "fails", "babbles", "breaks"} or "claude" in request.path
        if model == "refuses":
            return web.json_response({"error": {"message": words, "type": "invalid_request_error"}}, status=401)
        if model == "fails":
            return web.Response(text=words, status=500)
        if model == "babbles":
            return web.Response(text=words, content_type="text/event-stream")
        if request.path.endswith("/embeddings"):
            return web.json_response({"data": [{"index": 0, "embedding": [0.5, 0.25]}], "usage": {"prompt_tokens": 3}})
        try:
            return await self._stream(request, model, words)
        except ConnectionResetError:  # the product has heard enough
            return web.Response()

    async def _stream(self, request: web.Request, model: str, words: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        call = {"name": "look", "arguments": json.dumps({"for": self._aviary["answer's tool arguments"]})}
        for delta in (
            {"reasoning_content": self._aviary["answer's thinking"]},
            {"content": self._aviary["answer"]},
            {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": call}]},
        ):
            await response.write(_event({"choices": [{"index": 0, "delta": delta}]}))
        if model == "breaks":
            await response.write(_event({"error": {"message": words}}))
            return response
        await response.write(_event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        await response.write(b"data: [DONE]\n\n")
        return response


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


@asynccontextmanager
async def echoing(aviary: Aviary) -> AsyncIterator[Echo]:
    """Serve it."""
    echo = Echo(aviary)
    app = web.Application(client_max_size=64 * 1024**2)
    app.router.add_get("/v1/models", echo.models)
    app.router.add_route("*", "/{rest:.*}", echo.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    echo.address = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield echo
    finally:
        await runner.cleanup()


@contextmanager
def redis_with(password: str) -> Iterator[tuple[str, redis_client.Redis]]:
    """A Redis that asks for a password, which it reads from a file."""
    server = server_program()
    assert server, "no redis-server here; type: apt-get install redis-server"
    folder = Path(tempfile.mkdtemp(prefix="orch-r-"))
    (port,) = free_ports(1)
    config = folder / "redis.conf"
    config.write_text(f'bind 127.0.0.1\nport {port}\nsave ""\ndir {folder}\nrequirepass {password}\n')
    process = subprocess.Popen([server, str(config)], stdout=subprocess.DEVNULL)
    try:
        with redis_client.Redis(port=port, password=password) as client:
            until(lambda: _answers(client), "Redis to listen")
            yield f"redis://:{password}@127.0.0.1:{port}/0", client
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def _answers(client: redis_client.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis_client.ConnectionError:
        return False


def hatch() -> Aviary:
    """Every canary there is before the product is started."""
    aviary = Aviary()
    for kind in ("OpenAI's key", "Anthropic's key", "Gemini's key", "metrics token", "Redis' password"):
        aviary.add(kind, "", *OURS)
    for kind in ("a registered provider's key", "a key that was replaced", "a key in a wrong document"):
        aviary.add(kind)
    for kind in ("account's password", "wrong password", "made up link", "wrong metrics token", "Basic password"):
        aviary.add(kind)
    for kind in ("another cookie", "key in a query", "key in another header", "key in wrong JSON"):
        aviary.add(kind)
    aviary.add("unknown key", secrets.token_urlsafe(32))
    aviary.add("malformed key", secrets.token_urlsafe(20))
    aviary.add("key in a path", "", "refusal")
    aviary.add("key in an unknown field")
    aviary.add("key for a field's name", "", "refusal")
    aviary.add("another's key for a model's name", "sk-proj-" + secrets.token_urlsafe(32), "reply")
    for kind in ("prompt", "system prompt", "earlier answer", "tool's description", "tool's result", "text to embed"):
        aviary.text(kind, *HEARD)
    for kind in ("text to complete", "suffix", "stop word", "schema's description"):
        aviary.text(kind, *HEARD)
    aviary.add("picture", PIXEL[:40] + secrets.token_hex(20) + PIXEL[80:], *HEARD, is_secret=False)
    for kind in ("answer", "answer's thinking"):
        aviary.text(kind, *HEARD, *KEPT)
    aviary.add("answer's tool arguments", secrets.token_hex(16), *HEARD, *KEPT, is_secret=False)
    return aviary


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens doors, whole."""

    key: str
    managing: str
    dead: tuple[str, ...]  # revoked, expired
    link: str
    spent_link: str
    recovery_codes: tuple[str, ...]


SCRIPT = """if True:
    import json, os, sys
    os.environ["DJANGO_SETTINGS_MODULE"] = "orchestrator.settings"
    import django
    django.setup()
    from datetime import timedelta
    from django.contrib.auth.models import User
    from django.utils import timezone
    from orchestrator.core.permissions import EVERYBODY, Role
    from tests.keys import issue_key
    from orchestrator.identity.links import make_link, redeem_link
    from orchestrator.models import ApiKey
    from base64 import b32encode
    import time
    from django_otp.oath import hotp
    from orchestrator.identity import second_factor
    password = sys.stdin.readline().strip()
    User.objects.create_superuser("mira", password=password)
    nora = User.objects.create_superuser("nora", password=password)
    second_factor.begin(nora)
    secret = second_factor.offered(nora)
    code = f"{hotp(secret, int(time.time()) // second_factor.STEP_S):06}"
    made = {
        "key": issue_key("web", "acme"),
        "managing": issue_key("boss", "acme", role=Role.ADMIN, reaches_all=True),
        "dead": [issue_key("gone", "acme"), issue_key("late", "acme")],
        "link": make_link("mira"),
        "spent_link": make_link("nora"),
        "second factor": [second_factor.shown(secret), secret.hex()],
        "recovery codes": second_factor.confirm(nora, code),
    }
    ApiKey.objects.of(EVERYBODY).filter(name="gone").update(revoked_at=timezone.now())
    ApiKey.objects.of(EVERYBODY).filter(name="late").update(expires_at=timezone.now() - timedelta(days=1))
    redeem_link(made["spent_link"])
    print(json.dumps(made))
"""


def issued(aviary: Aviary, product: Product) -> Credentials:
    """Keys, an account and links, made as an operator makes them."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=PROJECT,
        env=product.environment(),
        input=aviary["account's password"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    aviary.saw("output", "making keys", done.stderr)
    made = json.loads(done.stdout)
    codes = tuple(made["recovery codes"])
    credentials = Credentials(
        made["key"], made["managing"], tuple(made["dead"]), made["link"], made["spent_link"], codes
    )
    for number, written in enumerate(made["second factor"]):
        aviary.add(f"second factor, written {('in letters', 'in digits')[number]}", written)
    aviary.add("recovery code", codes[0], is_secret=False)
    aviary.add("spent recovery code", codes[1], is_secret=False)
    key_part = len("orch_") + 11  # what comes before may be shown
    aviary.add("API key", credentials.key[key_part:])
    aviary.add("managing key", credentials.managing[key_part:])
    aviary.add("revoked key", credentials.dead[0][key_part:])
    aviary.add("expired key", credentials.dead[1][key_part:])
    aviary.add("sign-in link", credentials.link)
    aviary.add("spent link", credentials.spent_link)
    masters = core_secrets.read(product.data / "keys" / "master")
    aviary.add("master secret", masters.current.hex(), "the secret's own file")
    for use in ("django", "api keys", "cache values", "provider keys"):
        aviary.add(f"secret for {use}", core_secrets.derive(masters.current, use).hex())
    return credentials


def questions(aviary: Aviary) -> Iterator[tuple[str, dict[str, Any]]]:
    """A question in every dialect, with something of everything in it."""
    look = {
        "name": "look",
        "description": aviary["tool's description"],
        "parameters": {
            "type": "object",
            "properties": {"for": {"type": "string", "description": aviary["schema's description"]}},
        },
    }
    call = {"name": "look", "arguments": json.dumps({"for": aviary["earlier answer"]})}
    openai_messages = [
        {"role": "system", "content": aviary["system prompt"]},
        {"role": "user", "content": aviary["prompt"]},
        {
            "role": "assistant",
            "content": aviary["earlier answer"],
            "tool_calls": [{"id": "c", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "c", "content": aviary["tool's result"]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": aviary["prompt"]},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{aviary['picture']}"}},
            ],
        },
    ]
    ollama_messages = [
        {"role": "system", "content": aviary["system prompt"]},
        {"role": "assistant", "content": aviary["earlier answer"]},
        {"role": "tool", "content": aviary["tool's result"], "tool_name": "look"},
        {"role": "user", "content": aviary["prompt"], "images": [aviary["picture"]]},
    ]
    extra = {"api_key": aviary["key in an unknown field"]}
    tools = [{"type": "function", "function": look}]
    yield "/v1/chat/completions", extra | {"messages": openai_messages, "tools": tools, "stop": aviary["stop word"]}
    yield "/api/chat", extra | {"messages": ollama_messages, "tools": tools}
    yield (
        "/api/generate",
        {"prompt": aviary["text to complete"], "system": aviary["system prompt"], "suffix": aviary["suffix"]},
    )
    yield "/v1/completions", extra | {"prompt": aviary["text to complete"], "suffix": aviary["suffix"]}
    yield "/v1/responses", {"input": aviary["prompt"], "instructions": aviary["system prompt"]}
    yield (
        "/v1/messages",
        {
            "max_tokens": 9,
            "system": aviary["system prompt"],
            "messages": [{"role": "user", "content": aviary["prompt"]}],
        },
    )
    yield "/v1/embeddings", {"input": aviary["text to embed"]}
    yield "/api/embed", {"input": aviary["text to embed"]}
    yield "/api/embeddings", {"prompt": aviary["text to embed"]}


class Visitor:
    """Asks, and notes what is answered."""

    def __init__(self, client: httpx.AsyncClient, aviary: Aviary, run: Run) -> None:
        self._client, self._aviary, self.counting = client, aviary, run

    async def ask(self, place: str, method: str, path: str, **options: Any) -> httpx.Response | None:
        """The answer, whatever it is; none when the connection broke."""
        self.counting.counts["requests"] += 1
        try:
            response = await self._client.request(method, path, **options)
        except httpx.TransportError as error:
            self.counting.counts["connections that broke"] += 1
            self._aviary.saw("output", "broken connection", str(error))
            return None
        self.counting.counts[f"status {response.status_code}"] += 1
        told = "\n".join(f"{name}: {value}" for name, value in response.headers.items() if name != "set-cookie")
        self._aviary.saw(
            place, f"{method} {path.split('?')[0]} {response.status_code}", told.encode() + b"\n" + response.content
        )
        return response


async def programs(visitor: Visitor, aviary: Aviary, own: Credentials) -> None:
    """Everything programs do, well and badly."""
    bearer = {"Authorization": f"Bearer {own.key}"}
    for path, body in questions(aviary):
        for provider in ("openai", "kept"):
            for model in (MODEL, "refuses", "fails", "breaks", "babbles", "there-is-none"):
                for stream in (True, False):
                    asked = body | {"model": f"{provider}/{model}", "stream": stream}
                    await visitor.ask("reply", "POST", path, json=asked, headers=bearer)
        await visitor.ask(
            "reply", "POST", path, json=body | {"model": f"openai/{MODEL}", "stream": False}, headers=bearer
        )
        for key in (aviary["another's key for a model's name"], own.key, aviary["OpenAI's key"], own.managing):
            # Whoever pastes one there hears it back, as the contract has it; nobody else does.
            await visitor.ask("own words", "POST", path, json=body | {"model": key}, headers=bearer)
        await visitor.ask("reply", "POST", path, json=body | {"model": 7}, headers=bearer)
        for provider in ("anthropic", "gemini"):
            asked = body | {"model": f"{provider}/claude", "stream": True}
            await visitor.ask("reply", "POST", path, json=asked, headers=bearer)
        wrong = b'{"model": "m", "key": "' + aviary["key in wrong JSON"].encode() + b'", '
        await visitor.ask("refusal", "POST", path, content=wrong, headers=bearer)
    for number, shown in enumerate(carriers(aviary, own)):
        for path in ("/api/chat", "/v1/messages", "/api/tags", "/api/admin/v1/registry", "/metrics"):
            await visitor.ask("refusal", "POST" if number % 2 else "GET", path, headers=shown)
    query = f"?api_key={aviary['key in a query']}&key={aviary['key in a query']}"
    for path in ("/api/tags", "/v1/models", "/api/stats", f"/v1/models/{aviary['key in a path']}", "/api/openapi.json"):
        place = "page" if "openapi" in path else "refusal"
        await visitor.ask(place, "GET", path + query, headers=bearer)
    for token in (aviary["metrics token"], aviary["wrong metrics token"]):
        await visitor.ask("page", "GET", "/metrics", headers={"Authorization": f"Bearer {token}"})


def carriers(aviary: Aviary, own: Credentials) -> Iterator[dict[str, str]]:
    """Every way to show something that opens no door, and some that do."""
    unknown = f"orch_{'z' * 10}_{aviary['unknown key']}"
    for shown in (
        *own.dead,
        unknown,
        own.key[:-1],
        own.key + "x",
        aviary["malformed key"],
        f"sk-{aviary['malformed key']}",
    ):
        yield {"Authorization": f"Bearer {shown}"}
        yield {"X-Api-Key": shown}
        yield {"Authorization": shown}
        yield {"Authorization": f"Bearer  {shown} {shown}"}
    yield {"Authorization": "Basic " + base64.b64encode(f"mira:{aviary['Basic password']}".encode()).decode()}
    yield {"X-Goog-Api-Key": aviary["key in another header"], "Api-Key": aviary["key in another header"]}
    yield {"Cookie": f"orchestrator_session={aviary['another cookie']}; other={aviary['another cookie']}"}
    yield {"Authorization": f"Bearer {own.key}", "X-Api-Key": own.managing}


async def registry(visitor: Visitor, aviary: Aviary, own: Credentials, address: str) -> None:
    """A provider with a key of its own, another key for it, and documents that are wrong."""
    manager = {"Authorization": f"Bearer {own.managing}"}
    place = "/api/admin/v1/providers/kept"
    good = {"kind": "compatible", "address": address}
    for kind in ("a key that was replaced", "a registered provider's key"):
        await visitor.ask("page", "PUT", place, json=good | {"key": aviary[kind]}, headers=manager)
    key = aviary["a key in a wrong document"]
    for wrong in (
        good | {"key": key, "kind": key},
        good | {"key": f"{key} {key}"},
        good | {"key": {"value": key}},
        good | {aviary["key for a field's name"]: 1},
        {"kind": "compatible", "key": key, "address": f"http://{key}@127.0.0.1/"},
        {"kind": "compatible", "key": key, "address": f"http://127.0.0.1/?key={key}"},
    ):
        await visitor.ask("refusal", "PUT", place, json=wrong, headers=manager)
    for path in ("registry", "providers/kept", "registry/versions", "registry/versions/2", "models"):
        await visitor.ask("page", "GET", f"/api/admin/v1/{path}", headers=manager)


async def people(visitor: Visitor, client: httpx.AsyncClient, aviary: Aviary, own: Credentials) -> None:
    """Someone signs in, wrongly and rightly, and looks at every page."""
    for link in (aviary["made up link"], own.spent_link):
        await visitor.ask("page", "GET", f"/dashboard/sign-in/{link}/")
    form = await visitor.ask("door", "GET", "/dashboard/sign-in/")
    assert form is not None
    aviary.add("CSRF cookie", client.cookies["orchestrator_csrf"])
    for password in (aviary["wrong password"], aviary["account's password"]):
        data = {"username": "mira", "password": password, "csrfmiddlewaretoken": client.cookies["orchestrator_csrf"]}
        await visitor.ask("page", "POST", "/dashboard/sign-in/", data=data)
    await second_step(visitor, str(client.base_url), aviary, own)
    aviary.add("session cookie", client.cookies["orchestrator_session"], "ledger")
    for path in sorted(set(paths())):
        if path.startswith(("/dashboard/", "/admin/")) and "logout" not in path and "sign-" not in path:
            await visitor.ask("page", "GET", path)
    await visitor.ask("page", "GET", f"/dashboard/sign-in/{own.link}/")
    data = {"csrfmiddlewaretoken": client.cookies["orchestrator_csrf"]}
    told = await visitor.ask("page", "POST", f"/dashboard/sign-in/{own.link}/", data=data)
    visitor.counting.expect(told is not None and told.status_code == 302, "nobody got in by a link")


async def second_step(visitor: Visitor, address: str, aviary: Aviary, own: Credentials) -> None:
    """Somebody with an authenticator signs in, wrongly and with a code from paper."""
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        other = Visitor(client, aviary, visitor.counting)
        await other.ask("door", "GET", "/dashboard/sign-in/")
        form = {"csrfmiddlewaretoken": client.cookies["orchestrator_csrf"]}
        await other.ask(
            "door",
            "POST",
            "/dashboard/sign-in/",
            data=form | {"username": "nora", "password": aviary["account's password"]},
        )
        for code in ("zzzzz-zzzzz", own.recovery_codes[1]):
            form = {"csrfmiddlewaretoken": client.cookies["orchestrator_csrf"], "code": code}
            told = await other.ask("page", "POST", "/dashboard/sign-in/code/", data=form)
        visitor.counting.expect(told is not None and told.status_code == 302, "nobody got in with a second factor")
        for path in ("/dashboard/account/", "/dashboard/account/two-factor/", "/dashboard/people/"):
            await other.ask("page", "GET", path)


def commands(aviary: Aviary, product: Product) -> None:
    """What an operator's commands print."""
    for command in (
        ["doctor"],
        ["doctor", "--json"],
        ["registry", "show"],
        ["registry", "history"],
        ["keys", "list"],
        ["audit", "verify"],
        ["check", "--deploy"],
    ):
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=PROJECT,
            env=product.environment(),
            capture_output=True,
            timeout=60,
        )
        aviary.saw("output", " ".join(command), done.stdout + done.stderr)


def processes(run: Run, aviary: Aviary, product: Product) -> int:
    """What other users of the machine may see of each process, and what is in its environment. Return how many."""
    roles = {process["pid"]: process["role"] for process in product.status()["processes"]} | {product.pid: "serve"}
    found = [psutil.Process(product.pid), *psutil.Process(product.pid).children(recursive=True)]
    for process in found:
        role = next((roles[one.pid] for one in (process, *process.parents()) if one.pid in roles), "serve")
        role = role if process.pid in roles else f"a child of {role}"
        run.expect(process.rlimit(psutil.RLIMIT_CORE) == (0, 0), f"{role} may leave its memory in a file")
        aviary.saw("command line", role, Path(f"/proc/{process.pid}/cmdline").read_bytes())
        aviary.saw(f"environ of {role}", role, Path(f"/proc/{process.pid}/environ").read_bytes())
    return len(found)


def kept_in_redis(aviary: Aviary, client: redis_client.Redis) -> int:
    """Everything in Redis, unpacked; return how many keys."""
    names = list(client.scan_iter(count=1000))
    for name in names:
        match client.type(name):
            case b"string":
                content = [client.get(name)]
            case b"list":
                content = client.lrange(name, 0, -1)
            case b"hash":
                content = [part for pair in client.hgetall(name).items() for part in pair]
            case b"stream":
                content = [part for _, fields in client.xrange(name) for pair in fields.items() for part in pair]
            case b"set":
                content = list(client.smembers(name))
            case _:
                content = client.zrange(name, 0, -1)
        aviary.saw("redis", name.decode("utf-8", "replace"), name)
        for one in content:
            aviary.saw("redis", name.decode("utf-8", "replace"), unpacked(one or b""))
    return len(names)


def files(aviary: Aviary, data: Path) -> None:
    """Every file of the data directory as it is, and every value of its databases."""
    for path in sorted(path for path in data.rglob("*") if path.is_file() and "models" not in path.parts):
        name = path.name
        place = "ledger" if name.startswith("ledger") else "cache" if name.startswith("cache") else "files"
        if path == data / "keys" / "master":
            place = "the secret's own file"
        aviary.saw(place, name, path.read_bytes())
    for name in ("ledger", "cache"):
        with closing(sqlite3.connect(f"file:{data / name}.sqlite3?mode=ro", uri=True)) as connection:
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                for row in connection.execute(f"SELECT * FROM {table}"):  # noqa: S608  # its own word for it
                    for value in row:
                        content = value if isinstance(value, bytes) else str(value).encode()
                        aviary.saw(name, table, unpacked(content))


def unpacked(value: bytes) -> bytes:
    """What is in it, also where it was made smaller: a kept answer begins with its version and checksum."""
    with_rest = value
    for start in (0, 18):
        try:
            with_rest += zlib.decompressobj().decompress(value[start:])
        except zlib.error:
            continue
    return with_rest


async def _fly(run: Run) -> None:
    aviary = hatch()
    with redis_with(aviary["Redis' password"]) as (redis_url, redis):
        async with echoing(aviary) as echo:
            environment = {
                "ORCHESTRATOR_REQUIRE_KEYS": 1,
                "OLLAMA_DEBUG": 1,
                "REDIS_URL": redis_url,
                "ORCHESTRATOR_METRICS_TOKEN": aviary["metrics token"],
                "OPENAI_API_KEY": aviary["OpenAI's key"],
                "OPENAI_BASE_URL": echo.address,
                "ANTHROPIC_API_KEY": aviary["Anthropic's key"],
                "ANTHROPIC_BASE_URL": echo.address.removesuffix("/v1"),
                "GEMINI_API_KEY": aviary["Gemini's key"],
                "GEMINI_BASE_URL": echo.address.removesuffix("/v1"),
                "ORCHESTRATOR_TOKEN_TIMEOUT_S": 2,
            }
            product = Product(**environment)
            try:
                await asyncio.to_thread(product.start)
                await _everything(run, aviary, product, echo.address)
                run.counts["times a provider said all back"] = echo.told
                run.counts["keys in Redis"] = await asyncio.to_thread(kept_in_redis, aviary, redis)
                await asyncio.to_thread(product.stop)
                aviary.saw("log", "standard error", _without_welcome(product.logs()))
                await asyncio.to_thread(files, aviary, product.data)
            finally:
                await asyncio.to_thread(product.clean_up)
    run.counts["kinds"] = len(aviary.canaries)
    run.counts["places"] = len({place for place, _, _ in aviary.seen})
    run.figures["looked_at_mb"] = round(sum(len(content) for _, _, content in aviary.seen) / 1e6, 1)
    run.expect(run.counts["kinds"] >= 30, "there are too few kinds")
    run.expect(run.counts["status 200"] > 80, "hardly anything worked, so that there was nothing to tell")
    run.expect(run.counts["times a provider said all back"] > 30, "the provider had hardly anything to say")
    await asyncio.to_thread(judge, run, aviary)


async def _everything(run: Run, aviary: Aviary, product: Product, address: str) -> None:
    own = await asyncio.to_thread(issued, aviary, product)
    async with httpx.AsyncClient(base_url=product.base_url, timeout=30) as client:
        visitor = Visitor(client, aviary, run)
        await registry(visitor, aviary, own, address)
        run.say("asking everything")
        await programs(visitor, aviary, own)
        run.say("looking at every page")
        await people(visitor, client, aviary, own)
        run.counts["processes"] = await asyncio.to_thread(processes, run, aviary, product)
        await asyncio.to_thread(commands, aviary, product)
        # What a crash tells: one that shows stacks, in the middle of a stream.
        (worker,) = product.pids("web")
        body = {"model": f"openai/{MODEL}", "messages": [{"role": "user", "content": aviary["prompt"]}]}
        bearer = {"Authorization": f"Bearer {own.key}", "Cache-Control": "no-cache"}
        asking = asyncio.create_task(visitor.ask("reply", "POST", "/api/chat", json=body, headers=bearer))
        await asyncio.sleep(0)
        psutil.Process(worker).send_signal(signal.SIGABRT)
        await asking


def _without_welcome(log: str) -> str:
    """What it says to whoever starts it is for them: a link that signs in."""
    return "\n".join(line for line in log.splitlines() if not line.startswith("Dashboard; the link signs you in once"))


def judge(run: Run, aviary: Aviary) -> None:
    """Nothing is where it must not be; and what must be somewhere is, or nothing was looked at."""
    for words in aviary.escaped():
        run.expect(False, words)
    for kind, place in (
        ("answer", "cache"),
        ("answer", "redis"),
        ("answer", "reply"),
        ("OpenAI's key", "environ of web"),
    ):
        needle = dict(aviary.canaries[kind].forms())["as it is"]
        escaped = json.dumps(aviary[kind], ensure_ascii=False)[1:-1].encode()
        seen = any(needle in content or escaped in content for at, _, content in aviary.seen if at == place)
        run.expect(seen, f"{kind} was not found in {place}, where it is: the search is blind")


DRILL = Drill(
    "secrets",
    "nothing that is secret, or somebody's words, is where it must not be",
    _fly,
    long_within_s=300,
)
