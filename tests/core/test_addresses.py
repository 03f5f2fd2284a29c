"""Which addresses lead back here."""

from __future__ import annotations

import socket

import pytest

from orchestrator.core.addresses import is_own, leads_to, origin_of

ALL = ["0.0.0.0", "::"]  # noqa: S104  # nothing is bound


def _an_address_of_this_machine() -> str:
    """What others call it by, or loopback where it has no network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@pytest.mark.parametrize(("address", "is_here"), [("127.0.0.1", True), ("8.8.8.8", False), ("2001:db8::1", False)])
def test_an_address_is_the_machines_own_when_it_can_be_bound(address: str, is_here: bool) -> None:
    assert is_own(address) is is_here


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", *ALL])
@pytest.mark.parametrize("bound", ["127.0.0.1", *ALL])
def test_loopback_and_what_stands_for_all_addresses_lead_here(host: str, bound: str) -> None:
    assert leads_to(host, bound)
    assert leads_to("::ffff:127.0.0.1", bound)


@pytest.mark.parametrize("bound", ALL)
def test_every_address_of_this_machine_leads_to_who_listens_on_all(bound: str) -> None:
    assert leads_to(_an_address_of_this_machine(), bound)
    assert leads_to(socket.gethostname(), bound)


@pytest.mark.parametrize("host", ["8.8.8.8", "2001:db8::1", "example.com", "127.example.com", ""])
@pytest.mark.parametrize("bound", ["127.0.0.1", *ALL, "example.org"])
def test_other_machines_do_not_lead_here(host: str, bound: str) -> None:
    assert not leads_to(host, bound)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://API.example.com/v1", "https://api.example.com:443"),
        ("HTTP://host", "http://host:80"),
        ("http://host:8080/a/b", "http://host:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://host:99999", ""),
        ("http://[::1", ""),
        ("host", ""),
        ("", ""),
    ],
)
def test_an_origin_is_the_same_however_it_is_written(address: str, origin: str) -> None:
    assert origin_of(address) == origin
