"""No address that somebody names leads inside, however it is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from orchestrator.core.errors import FetchFailed, FetchRefused
from orchestrator.outbound import places
from orchestrator.outbound.fetch import Fetched, Resolve, fetch, resolved
from orchestrator.outbound.places import Rules, is_allowed, read_place
from tests.outbound.addresses import INSIDE, INSIDE_SIX, NAMES, addresses
from tests.outbound.serving import ALLOWED, Server, raw_redirect, redirect, response, serving

PUBLIC = "93.184.215.14"  # never connected to: nothing here does


@pytest.fixture
async def canary() -> AsyncIterator[Server]:
    """What nobody may reach."""
    async with serving("127.0.0.1") as server:
        server.answers["/"] = response(b"secret", "Content-Type: text/plain")
        yield server


async def as_the_machine_does(host: str, port: int) -> list[str]:
    """IP addresses in any notation as the machine reads them; names stand for the inside."""
    names = {name.lower().removesuffix(".") for name in NAMES}
    if host.isascii() and host not in names and (host[-1].isdigit() or ":" in host):
        return await resolved(host, port)
    return ["127.0.0.1"]


async def fetched(url: str, rules: Rules, resolve: Resolve = as_the_machine_does) -> Fetched:
    return await fetch(url, types={"text/plain"}, most_bytes=1000, rules=rules, resolve=resolve)


async def test_no_way_to_write_an_address_leads_inside(canary: Server) -> None:
    tried = addresses(canary.port)
    assert len(set(tried)) >= 400
    for url in tried:
        with pytest.raises(FetchRefused) as refused:
            await fetched(url, Rules(ports={80, 443, canary.port}))
        assert len(str(refused.value)) < 300, url
    assert canary.connections == 0


async def test_no_redirect_leads_inside(canary: Server) -> None:
    async with serving() as outside:
        rules = Rules(ports={80, 443, canary.port, outside.port}, networks=(ip_network(ALLOWED),))

        async def resolve(host: str, port: int) -> list[str]:
            return [ALLOWED] if host == "pictures.example" else await as_the_machine_does(host, port)

        tried = [url for url in addresses(canary.port) if not set(url) & set("\r\n\x00")]
        assert len(set(tried)) >= 400
        for url in tried:
            for answer in {raw_redirect(url), redirect(url)}:
                outside.answers["/"] = answer
                with pytest.raises((FetchRefused, FetchFailed)):
                    await fetched(outside.url(), rules, resolve)
        assert len(outside.asked) >= len(tried)
    assert canary.connections == 0


async def test_the_canary_sings_when_it_is_reached(canary: Server) -> None:
    rules = Rules(ports={canary.port}, networks=(ip_network("127.0.0.0/8"),))
    assert (await fetched(f"http://127.0.0.1:{canary.port}/", rules)).body == b"secret"
    assert canary.connections == 1


@pytest.mark.parametrize(
    "found", [[PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], [PUBLIC, "::1"], [PUBLIC, "fe80::1%lo"]]
)
async def test_one_address_inside_spoils_a_name(canary: Server, found: list[str]) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return found

    with pytest.raises(FetchRefused, match="public internet"):
        await fetched(f"http://both.example:{canary.port}/", Rules(ports={canary.port}), resolve)
    assert canary.connections == 0


async def test_a_name_that_changes_its_mind_is_looked_up_once(canary: Server) -> None:
    async with serving(port=canary.port) as outside:
        answers = [[ALLOWED], ["127.0.0.1"]]
        looked_up = []

        async def resolve(host: str, port: int) -> list[str]:
            looked_up.append(host)
            return answers[min(len(looked_up), 2) - 1]

        outside.answers["/"] = response(b"public", "Content-Type: text/plain")
        outside.answers["/again"] = redirect("/")
        assert (await fetched(outside.url(), outside.rules(), resolve)).body == b"public"
        assert looked_up == ["pictures.example"]
        looked_up.clear()
        with pytest.raises(FetchRefused, match="public internet"):
            await fetched(outside.url("/again"), outside.rules(), resolve)
        assert len(looked_up) == 2
    assert canary.connections == 0


async def test_an_unknown_name_and_one_that_leads_inside_are_told_the_same() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    async def inside(host: str, port: int) -> list[str]:
        return ["10.0.0.1"]

    said = []
    for resolve in (unknown, inside):
        with pytest.raises(FetchRefused) as refused:
            await fetched("http://name.example/", Rules(), resolve)
        said.append(str(refused.value))
    assert said[0] == said[1]
    assert "10.0.0.1" not in said[0]


@pytest.mark.parametrize("address", [*INSIDE, *INSIDE_SIX, "", "name", "127.1", "1.2.3", "2130706433"])
def test_what_is_no_address_of_the_public_internet_is_not_connected_to(address: str) -> None:
    assert not is_allowed(address, Rules())


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001::1"])
def test_the_public_internet_is_allowed(address: str) -> None:
    assert is_allowed(address, Rules())


def test_this_machines_public_address_is_inside_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "is_own", lambda address: address == PUBLIC)
    assert not is_allowed(PUBLIC, Rules())
    assert is_allowed("1.1.1.1", Rules())


@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "168.63.129.16"])
def test_no_rule_lets_through_to_what_hands_out_keys(address: str) -> None:
    everywhere = Rules(networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    assert not is_allowed(address, everywhere)
    assert is_allowed("10.0.0.1", everywhere)


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("https://Example.ORG", "example.org", 443, "/"),
        ("http://example.org.:80/a?b#c", "example.org", 80, "/a?b"),
        ("https://example.org?q=1", "example.org", 443, "/?q=1"),
        ("https://bücher.example/ü?é", "xn--bcher-kva.example", 443, "/%C3%BC?%C3%A9"),
        ("https://example.org/a%20b%2Fc", "example.org", 443, "/a%20b%2Fc"),
        ("https://[2606:4700:0:0::1111]/", "2606:4700::1111", 443, "/"),
        ("https://1.1.1.1/", "1.1.1.1", 443, "/"),
        ("https://a_b.example/@x:y", "a_b.example", 443, "/@x:y"),
    ],
)
def test_an_address_is_read_in_one_form(url: str, host: str, port: int, target: str) -> None:
    place = read_place(url, Rules())
    assert (place.host, place.port, place.target) == (host, port, target)
    assert read_place(place.url, Rules()) == place


@pytest.mark.parametrize(
    ("host", "is_listed"),
    [
        ("example.org", True),
        ("EXAMPLE.org.", True),
        ("www.example.org", False),
        ("cdn.example.net", True),
        ("a.cdn.example.net", True),
        ("example.net", False),
        ("evilexample.net", False),
        ("example.org.evil.example", False),
        ("notexample.org", False),
    ],
)
def test_a_list_of_hosts_is_all_there_is(host: str, *, is_listed: bool) -> None:
    rules = Rules(hosts=("example.org", "*.example.net"))
    if is_listed:
        assert read_place(f"https://{host}/", rules).host
    else:
        with pytest.raises(FetchRefused, match="ORCHESTRATOR_FETCH_HOSTS"):
            read_place(f"https://{host}/", rules)


async def test_a_name_of_endless_addresses_is_refused() -> None:
    async def many(host: str, port: int) -> list[str]:
        await asyncio.sleep(0)
        return [f"1.1.{place // 250}.{place % 250 + 1}" for place in range(1000)]

    with pytest.raises(FetchRefused):
        await fetched("http://many.example/", Rules(), many)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://user:password@public.example/", "no user or password"),
        ("ftp://public.example/", "https:// or http://"),
        ("https://public.example:22/", "allowed are 80, 443"),
        ("https://public.example/a b", "%20"),
        ("https://0x7f000001/", "four decimal numbers"),
        ("https://[::1%25lo]/", "cannot be read"),
        ("https://a..example/", "no name"),
        ("https://public.example/" + "a" * 3000, "2048 characters"),
    ],
)
def test_a_refusal_says_what_is_allowed(url: str, words: str) -> None:
    with pytest.raises(FetchRefused, match=words):
        read_place(url, Rules())
