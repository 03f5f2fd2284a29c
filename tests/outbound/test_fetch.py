"""What is fetched, from real servers on this machine: how long it may take, how much it may be, and what goes along."""

from __future__ import annotations

import asyncio
import gzip
import resource
import ssl
import zlib
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.core.errors import FetchFailed, FetchRefused
from orchestrator.outbound import fetch as fetching
from orchestrator.outbound.fetch import MOST_REDIRECTS, Fetched, Patience, fetch
from tests.outbound.serving import NAME, Server, redirect, response, serving

MOST = 100_000
PLAIN = "Content-Type: text/plain; charset=UTF-8"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as server:
        yield server


async def fetched(
    server: Server, path: str = "/", *, scheme: str = "http", types: Collection[str] = ("text/plain",), **more: float
) -> Fetched:
    patience = Patience(**({"connect_s": 5.0, "first_byte_s": 5.0, "total_s": 10.0} | more))
    return await fetch(
        server.url(path, scheme),
        types=types,
        most_bytes=MOST,
        rules=server.rules(),
        patience=patience,
        resolve=server.resolve,
    )


async def test_what_is_there_is_fetched_and_nothing_of_ours_goes_along(server: Server) -> None:
    server.answers["/a?b=c"] = response(b"hello", PLAIN, "Set-Cookie: a=b")
    for _ in range(2):
        assert await fetched(server, "/a?b=c") == Fetched(server.url("/a?b=c"), "text/plain", "utf-8", b"hello")
    assert server.connections == 2
    for head in server.asked:
        first, *headers = head.decode().split("\r\n")
        assert first == "GET /a?b=c HTTP/1.1"
        names = {line.partition(":")[0].lower() for line in headers if line}
        assert names == {"host", "user-agent", "accept", "accept-encoding", "connection"}
        assert f"Host: {NAME}:{server.port}" in headers
        assert any(line.lower().startswith("user-agent: ai-orchestrator/") for line in headers)


async def test_a_proxy_of_the_environment_is_not_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving("127.0.0.1") as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://user:password@127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        server.answers["/"] = response(b"hello", PLAIN)
        assert (await fetched(server)).body == b"hello"
        assert proxy.connections == 0


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_followed(server: Server, status: str) -> None:
    server.answers["/a/b"] = redirect("../c", status)
    server.answers["/c"] = response(b"there", PLAIN)
    assert await fetched(server, "/a/b") == Fetched(server.url("/c"), "text/plain", "utf-8", b"there")


async def test_redirects_come_to_an_end(server: Server) -> None:
    server.answers["/"] = redirect("/")
    with pytest.raises(FetchFailed, match="redirected more than"):
        await fetched(server)
    assert len(server.asked) == MOST_REDIRECTS + 1


@pytest.mark.parametrize("packing", ["gzip", "x-gzip"])
@pytest.mark.parametrize("size", [0, 1, 65_536, MOST])
async def test_what_is_packed_is_unpacked(server: Server, packing: str, size: int) -> None:
    body = (bytes(range(256)) * 400)[:size]
    server.answers["/"] = response(gzip.compress(body), PLAIN, f"Content-Encoding: {packing}")
    assert (await fetched(server)).body == body


async def test_a_bomb_does_not_go_off(server: Server) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([packer.compress(bytes(1024**2)) for _ in range(90)]) + packer.flush()
    assert len(bomb) < MOST
    server.answers["/"] = response(bomb, PLAIN, "Content-Encoding: gzip")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FetchRefused, match="longer than the 100,000 bytes"):
        await fetched(server)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10 * 1024  # KiB


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (response(bytes(MOST + 1), PLAIN), FetchRefused, "longer than the 100,000 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + PLAIN.encode() + b"\r\n\r\n" + bytes(MOST + 1), FetchRefused, "longer than"),
        (
            b"HTTP/1.1 200 OK\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n" % PLAIN.encode()
            + b"".join([b"2000\r\n%b\r\n" % bytes(0x2000) for _ in range(20)]),
            FetchRefused,
            "longer than",
        ),
        (response(b"hello", PLAIN, "Content-Encoding: gzip"), FetchFailed, "is not"),
        (response(gzip.compress(b"hello")[:-9], PLAIN, "Content-Encoding: gzip"), FetchFailed, "before its end"),
        (response(b"hello", PLAIN, "Content-Encoding: br"), FetchFailed, "packed"),
        (response(b"hello", PLAIN, "Content-Encoding: gzip, gzip"), FetchFailed, "packed"),
        (response(b"hello", "Content-Type: text/html"), FetchRefused, "text/html; taken are text/plain"),
        (response(b"hello", "Content-Type: \x1b[31mred"), FetchRefused, "without a type"),
        (response(b"hello"), FetchRefused, "without a type"),
        (response(b"no", PLAIN, status="404 Not Found"), FetchFailed, "answered HTTP 404"),
        (response(b"", PLAIN, status="204 No Content"), FetchFailed, "answered HTTP 204"),
        (response(b"", status="302 Found"), FetchFailed, "redirected more than"),  # without a place: to itself
        (redirect("http://[::1"), FetchRefused, "cannot be read"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", FetchFailed, "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n" + PLAIN.encode() + b"\r\n\r\nhel", FetchFailed, "broke off"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n", FetchFailed, "broke off"),
        (b"", FetchFailed, "broke off"),
    ],
)
async def test_what_is_wrong_is_told(server: Server, answer: bytes, error: type[Exception], words: str) -> None:
    server.answers["/"] = answer
    with pytest.raises(error, match=words) as told:
        await fetched(server)
    assert str(told.value).isprintable()


async def test_a_kind_of_content_may_be_named_as_a_whole(server: Server) -> None:
    server.answers["/"] = response(b"hello", "Content-Type: TEXT/Markdown")
    assert (await fetched(server, types={"text/*"})).content_type == "text/markdown"


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


def dripping(head: bytes, drop: bytes) -> fetching.Callable[..., fetching.Awaitable[None]]:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.02)

    return drip


async def test_silence_comes_to_an_end(server: Server) -> None:
    server.answers["/"] = silent
    with pytest.raises(FetchFailed, match="in time"):
        await fetched(server, first_byte_s=0.1)


async def test_a_head_that_drips_comes_to_an_end(server: Server) -> None:
    server.answers["/"] = dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")
    with pytest.raises(FetchFailed, match="in time"):
        await fetched(server, first_byte_s=0.1, connect_s=0.2)


async def test_a_body_that_drips_comes_to_an_end(server: Server) -> None:
    server.answers["/"] = dripping(b"HTTP/1.1 200 OK\r\n" + PLAIN.encode() + b"\r\n\r\n", b"x")
    with pytest.raises(FetchFailed, match=r"in full within 0\.3 s"):
        await fetched(server, total_s=0.3)


async def test_a_name_that_is_looked_up_for_ever_comes_to_an_end(server: Server) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return await asyncio.Event().wait() and []  # it never is

    with pytest.raises(FetchFailed, match=r"in full within 0\.1 s"):
        await fetch(
            server.url(), types=(), most_bytes=1, rules=server.rules(), patience=Patience(total_s=0.1), resolve=resolve
        )


async def test_nobody_there_is_told(server: Server) -> None:
    async with serving() as gone:
        pass
    with pytest.raises(FetchFailed, match="ConnectError"):
        await fetched(gone)


async def test_the_next_address_of_a_name_is_tried(server: Server) -> None:
    server.answers["/"] = response(b"hello", PLAIN)
    rules = fetching.Rules(ports={server.port}, networks=(ip_network("127.0.0.0/29"),))

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.3", "127.0.0.2"]  # nobody listens on the first

    found = await fetch(server.url(), types={"text/plain"}, most_bytes=MOST, rules=rules, resolve=resolve)
    assert found.body == b"hello"


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "cert.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, private


@pytest.mark.parametrize(("name", "is_right"), [(NAME, True), ("other.example", False)])
async def test_the_certificate_has_to_be_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, is_right: bool
) -> None:
    chain, private = certificate(tmp_path, name)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(chain, private)
    monkeypatch.setattr(fetching, "trusted", lambda: ssl.create_default_context(cafile=str(chain)))
    async with serving(tls=theirs) as server:
        server.answers["/"] = response(b"hello", PLAIN)
        server.answers["/down"] = redirect(server.url("/"))
        if not is_right:
            with pytest.raises(FetchFailed, match="ConnectError"):
                await fetched(server, scheme="https")
            assert not server.asked
            return
        assert (await fetched(server, scheme="https")).body == b"hello"
        with pytest.raises(FetchRefused, match="from https:// to http://"):
            await fetched(server, "/down", scheme="https")
