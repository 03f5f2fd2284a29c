"""A provider that cannot be reached, or sends us elsewhere: told in every dialect, and nobody else is asked."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.models import RequestRecord
from orchestrator.parts import Parts
from tests.faults.conftest import Serve, Start, entry
from tests.faults.dialects import ask_in_every_way
from tests.speeches import Speech


@pytest.fixture
def refusing() -> Iterator[str]:
    """An address where nobody listens, and nobody will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
async def untrusted(tmp_path: Path) -> AsyncIterator[str]:
    """An address with a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "server.pem"
    unlocked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(unlocked + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    async def heard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("a question was sent to somebody who could not show who they are")

    server = await asyncio.start_server(heard, "localhost", 0, ssl=context)
    yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


@pytest.fixture
async def addresses(refusing: str, untrusted: str, started: Start) -> dict[str, str]:
    """Where nobody is, in each of the ways."""
    return {
        "refused": refusing,
        "no such name": "http://nobody.invalid:80",
        "no TLS": (await started()).address.replace("http:", "https:"),
        "a certificate of its own": untrusted,
    }


@pytest.mark.parametrize("way", ["refused", "no such name", "no TLS", "a certificate of its own"])
async def test_a_provider_that_cannot_be_reached_is_told_in_every_dialect(
    client: httpx.AsyncClient,
    parts: Parts,
    serve: Serve,
    addresses: dict[str, str],
    recorded: Callable[[int], Awaitable[list[RequestRecord]]],
    speech: Speech,
    way: str,
) -> None:
    await serve(entry(speech, addresses[way]))
    told = await ask_in_every_way(client, f"{speech.name}/good", "What?")
    for heard in told.values():
        assert (heard.status, heard.text, heard.is_complete, heard.complaints) == (502, "", False, ())
        assert re.search("could not be reached: is [A-Z_]+_URL right, and is it running", heard.error), heard.error
    assert {record.outcome for record in await recorded(len(told))} == {"engine_unreachable"}
    assert not len(parts.inflight)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_nobody_is_sent_elsewhere(
    client: httpx.AsyncClient, serve: Serve, started: Start, speech: Speech, status: int
) -> None:
    """A question and a key belong to one address: what lies behind another, such as a cloud's metadata, is safe."""
    elsewhere = await started(speech=speech)
    provider = await started(speech=speech, elsewhere=f"{elsewhere.address}/latest/meta-data/")
    await serve(entry(speech, provider.address))
    told = await ask_in_every_way(client, f"{speech.name}/moved_{status}", "What?")
    assert {heard.status for heard in told.values()} == {502}
    assert len(provider.calls) == len(told)
    assert elsewhere.opened == []
