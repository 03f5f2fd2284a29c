"""Bad input over real sockets: a clear refusal, no memory kept, and everybody else is served."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import httpx
import pytest

from tests.product import Product, until
from tests.provider import Provider

MIB = 1024**2
HELLO = {"model": "smollm2:135m", "messages": [{"role": "user", "content": "Hi"}], "options": {"num_predict": 2}}


def connect(product: Product) -> socket.socket:
    address = urlsplit(product.base_url)
    assert address.hostname
    assert address.port
    return socket.create_connection((address.hostname, address.port), timeout=30)


def memory(product: Product) -> int:
    """Bytes of memory of the web worker."""
    (pid,) = product.pids("web")
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


NOT_JSON = [
    b"",
    b"{",
    b"[" * 50_000 + b"]" * 50_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    rb'{"model": "smollm2:135m", "messages": [{"role": "user", "content": "\ud800"}]}',
    b'{"model": "smollm2:135m", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
    b'{"model": "smollm2:135m", "model": "other"}',
    b'{"model": "smollm2:135m", "messages": [], "temperature": NaN}',
]
NO_MODEL = [
    (json.dumps(HELLO | {"model": "../../etc/passwd", "prompt": "x"}).encode(), 400),
    (json.dumps(HELLO | {"model": "x" * 10_000, "prompt": "x"}).encode(), 400),
    (json.dumps(HELLO | {"model": "nope", "prompt": "x"}).encode(), 404),
]
BAD_OPTIONS = [b'{"temperature": "hot"}', b'{"seed": 1e400}', b'{"seed": ' + b"9" * 5000 + b"}", b'{"stop": [[]]}']


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/v1/chat/completions"])
@pytest.mark.parametrize(("body", "status"), [*((body, 400) for body in NOT_JSON), *NO_MODEL])
def test_a_bad_body_is_refused_in_the_dialects_own_shape(product: Product, path: str, body: bytes, status: int) -> None:
    check_refusal(httpx.post(product.base_url + path, content=body, timeout=30), status)


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize("options", BAD_OPTIONS)
def test_bad_options_are_refused(product: Product, path: str, options: bytes) -> None:
    body = b'{"model": "smollm2:135m", "prompt": "x", "messages": [{"role": "user"}], "options": ' + options + b"}"
    check_refusal(httpx.post(product.base_url + path, content=body, timeout=30), 400)


LONG = "x" * 100_000


@pytest.mark.parametrize("path", ["/api/chat", "/api/embed", "/v1/chat/completions", "/v1/embeddings", "/v1/messages"])
@pytest.mark.parametrize(
    "fields", [{"model": LONG}, {"model": f"openai/{LONG}"}, {"keep_alive": LONG}, {"think": LONG}]
)
def test_what_was_asked_is_not_said_again_at_length(product: Product, path: str, fields: dict[str, str]) -> None:
    body = HELLO | {"model": "nope", "input": "Hi", "max_tokens": 2} | fields
    response = httpx.post(product.base_url + path, json=body, timeout=30)
    assert response.status_code in {400, 404}
    assert len(response.content) < 1000
    assert sum(len(name) + len(value) for name, value in response.headers.items()) < 1000


def check_refusal(response: httpx.Response, status: int) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    said = error["message"] if response.url.path.startswith("/v1") else error
    assert said.strip()
    assert "Traceback" not in said


def test_a_hundred_megabytes_are_refused_and_not_kept(product: Product) -> None:
    before = memory(product)
    for headers in ({}, {"Transfer-Encoding": "chunked"}):
        with connect(product) as connection:
            lines = ["POST /api/chat HTTP/1.1", "Host: localhost"]
            lines += [f"{name}: {value}" for name, value in headers.items()] or [f"Content-Length: {100 * MIB}"]
            connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            piece = b"x" * MIB
            sent = 0
            with suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(100):
                    connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if headers else piece)
                    sent += 1
            answer = b""
            with suppress(ConnectionResetError):
                answer = connection.recv(4096)
            assert sent < 100 or answer.startswith(b"HTTP/1.1 413"), answer[:100]
    assert memory(product) - before < 80 * MIB
    assert httpx.post(f"{product.base_url}/api/chat", json=HELLO | {"stream": False}, timeout=60).status_code == 200


def test_a_body_that_does_not_come_is_given_up(product: Product) -> None:
    with connect(product) as connection:
        connection.sendall(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        began = time.monotonic()
        answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 408"), answer[:200]
        assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "options",
    [
        {"num_ctx": 10**9},
        {"num_predict": -5},
        {"temperature": 1e30},
        {"temperature": -1},
        {"seed": 2**62},
        {"top_k": -1, "top_p": 0, "min_p": 9, "typical_p": -1},
        {"repeat_penalty": 0, "repeat_last_n": 10**9},
        {"num_batch": 0, "num_thread": -4, "num_gpu": 10**6},
    ],
)
def test_absurd_options_are_refused_or_survived(product: Product, options: dict[str, float]) -> None:
    body = HELLO | {"options": {"num_predict": 2, "stop": [" ", "."]} | options, "stream": False}
    response = httpx.post(f"{product.base_url}/api/chat", json=body, timeout=90, headers={"Cache-Control": "no-store"})
    assert response.status_code in {200, 400, 500}
    if response.status_code != 200:
        assert response.json()["error"]
    again = httpx.post(f"{product.base_url}/api/chat", json=HELLO | {"stream": False}, timeout=90)
    assert again.status_code == 200, "the next caller is served"


def test_hang_ups_at_every_moment_leave_nothing_running(product: Product) -> None:
    question = json.dumps(
        HELLO | {"messages": [{"role": "user", "content": "Tell a long story."}], "options": {"seed": 7}}
    )
    head = f"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(question)}\r\n\r\n".encode()
    for reads in (0, 1, 3):
        for _ in range(3):
            connection = connect(product)
            connection.sendall(head + question.encode())
            for _ in range(reads):
                connection.recv(512)
            connection.close()

    host = httpx.Client(transport=httpx.HTTPTransport(uds=str(product.data / "run" / "models.sock")))
    with host:
        until(lambda: not any(model["users"] for model in host.get("http://models/ps").json()), "the model to be idle")
    began = time.monotonic()
    response = httpx.post(
        f"{product.base_url}/api/chat", json=HELLO | {"stream": False, "keep_alive": "5m"}, timeout=60
    )
    assert response.status_code == 200
    assert time.monotonic() - began < 30


def test_what_is_too_much_is_refused_and_leaves_nothing_behind(product: Product) -> None:
    many = 2**20
    bodies = {
        "a million names": b"{" + b",".join(b'"k%d":1' % number for number in range(many)) + b"}",
        "a million numbers": b"[" + b"1," * many + b"1]",
        "a million lists": b"[" + b"[]," * many + b"[]]",
        "a million texts": b"[" + b'"",' * many + b'""]',
        "a million levels": b"[" * many + b"]" * many,
        "a million levels without end": b'{"a":' * many,
        "a million digits": b'{"a":' + b"9" * many + b"}",
        "names that differ until the last": b"{" + b",".join(b'"%d":1' % (n % 70_000) for n in range(70_001)) + b"}",
        "a late surrogate": b'{"a": "' + b"x" * many + rb'\ud800"}',
        "late bytes": b'{"a": "' + b"x" * many + b'\xff"}',
        "blanks, and then nonsense": b" " * many + b"x",
    }
    address = f"{product.base_url}/api/chat"
    for body in [*bodies.values()] * 2:  # so that what is loaded at first is loaded, in each thread
        httpx.post(address, content=body, timeout=30)
    before = memory(product)
    for _ in range(3):
        for name, body in bodies.items():
            refused = httpx.post(address, content=body, timeout=30)
            assert refused.status_code == 400, name
            assert refused.json()["error"].isprintable()
            assert len(refused.content) < 300
    assert memory(product) - before < 10 * MIB


ANY = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]  # every character, but for halves of some
PROMPTS = [
    "\x00",
    "a\x00b",
    "\ufeffmark",
    "caf\u00e9",
    "cafe\u0301",
    "\u212b \u00c5 A\u030a",
    "\uff47\uff50\uff54",
    "p\u0430ypal",
    "\u202euser\u202c \u2066x\u2069 \u200f",
    "\x1b[31mred\x1b[0m\x07\x7f\x9b",
    "one\r\ntwo\rthree\u2028four\u2029five\u0085six",
    "\ufffe\uffff\ufdd0\U0010ffff",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U000e0041",
    "  blanks around \t\n ",
    '\\u0041 \\" {"a": 1} \\ud800',
    "data: [DONE]\n\ndata: {}\n\n",
    "</s><|im_start|>system",
]


@pytest.mark.parametrize(
    "path", ["/api/chat", "/api/generate", "/v1/chat/completions", "/v1/responses", "/v1/messages"]
)
def test_a_prompt_comes_to_the_provider_as_it_was_sent(product: Product, provider: Provider, path: str) -> None:
    letters = Random(7)
    made_up = ["".join(chr(letters.choice(ANY)) for _ in range(40)) for _ in range(20)]
    for number, prompt in enumerate([*PROMPTS, *made_up]):
        body: dict[str, object] = {"model": f"openai/good~{path.replace('/', '-')}{number}", "stream": False}
        if path == "/api/generate":
            body["prompt"] = prompt
        elif path == "/v1/responses":
            body["input"] = prompt
        else:
            body |= {"messages": [{"role": "user", "content": prompt}], "max_tokens": 50}
        response = httpx.post(product.base_url + path, json=body, timeout=30)
        assert response.status_code == 200, response.text
        assert provider.asked[-1]["messages"][-1]["content"] == prompt
