"""The environment is read with types; a bad value names its variable and what is allowed."""

from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from orchestrator import env
from orchestrator.env import SETTINGS, Address, BadSetting, parse_address

EVERYWHERE = "0.0.0.0"  # noqa: S104  # read, not bound
NAME = "ORCHESTRATOR_EXAMPLE"
Say = Callable[[str], None]


@pytest.fixture(autouse=True)
def _leave_no_example() -> Iterator[None]:
    yield
    SETTINGS.pop(NAME, None)


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Set the variable that the tests read."""
    return lambda value: monkeypatch.setenv(NAME, value)


def test_unset_and_empty_mean_the_default(say: Say) -> None:
    assert env.integer(NAME, 7, "") == 7
    say("  ")
    assert env.integer(NAME, 7, "") == 7


def test_quotes_around_a_value_are_not_part_of_it(say: Say) -> None:
    say('"12"')
    assert env.integer(NAME, 7, "") == 12


@pytest.mark.parametrize(
    ("read", "value", "allowed"),
    [
        (lambda: env.integer(NAME, 1, "", least=1, most=9), "10", "a whole number from 1 to 9 is allowed"),
        (lambda: env.integer(NAME, 1, ""), "1.5", "a whole number"),
        (lambda: env.size(NAME, 1, ""), "-1", "a number of bytes"),
        (lambda: env.size(NAME, 1, ""), "4 parsecs", "a number of bytes"),
        (lambda: env.seconds(NAME, 1, "", least=0.5), "0.1", "of at least 0.5s is allowed"),
        (lambda: env.seconds(NAME, 1, ""), "inf", "seconds"),
        (lambda: env.seconds(NAME, 1, ""), "nan", "seconds"),
        (lambda: env.seconds(NAME, 1, ""), "soon", "seconds"),
        (lambda: env.keep_alive(NAME, 1, "", shown=""), "soon", "seconds"),
        (lambda: env.choice(NAME, "a", "", of=("a", "b")), "c", "allowed are a, b"),
    ],
)
def test_a_bad_value_names_the_variable_and_what_is_allowed(
    say: Say, read: Callable[[], object], value: str, allowed: str
) -> None:
    say(value)
    with pytest.raises(BadSetting) as caught:
        read()
    assert str(caught.value).startswith(f"{NAME}={value} cannot be used: ")
    assert allowed in str(caught.value)


@pytest.mark.parametrize(
    ("value", "size"), [("500000", 500000), ("64MB", 64 << 20), ("2GiB", 2 << 30), ("1k", 1024), ("3 M", 3 << 20)]
)
def test_sizes_count_in_1024s(say: Say, value: str, size: int) -> None:
    say(value)
    assert env.size(NAME, 0, "") == size


@pytest.mark.parametrize(("value", "length"), [("90", 90), ("1.5", 1.5), ("1h30m", 5400), ("250ms", 0.25)])
def test_lengths_of_time_are_seconds_or_have_units(say: Say, value: str, length: float) -> None:
    say(value)
    assert env.seconds(NAME, 0, "") == pytest.approx(length)


@pytest.mark.parametrize(("value", "length"), [("-1", -1), ("300", 300), ("5m", 300), ("-1s", -1), ("0", 0)])
def test_a_negative_keep_alive_is_kept(say: Say, value: str, length: float) -> None:
    say(value)
    assert env.keep_alive(NAME, 0, "", shown="") == length


@pytest.mark.parametrize(
    ("value", "is_on"), [("1", True), ("true", True), ("yes", True), ("0", False), ("False", False), ("off", False)]
)
def test_a_flag_is_off_only_when_it_says_so(say: Say, value: str, is_on: bool) -> None:
    say(value)
    assert env.flag(NAME, "") is is_on


def test_words_are_parted_by_commas(say: Say) -> None:
    say("a, b,,c ")
    assert env.words(NAME, (), "") == ("a", "b", "c")


def test_ports_and_networks_are_parted_by_commas(say: Say) -> None:
    say("80, 8443,")
    assert env.ports(NAME, (443,), "") == {80, 8443}
    say("10.1.2.0/24, fd00::/8,127.0.0.2")
    assert env.networks(NAME, (), "") == tuple(map(ip_network, ("10.1.2.0/24", "fd00::/8", "127.0.0.2/32")))


@pytest.mark.parametrize("value", ["0", "65536", "http", "80-90", ","])
def test_what_is_no_port_stops_the_start(say: Say, value: str) -> None:
    say(value)
    with pytest.raises(BadSetting, match="ports parted by commas are allowed"):
        env.ports(NAME, (443,), "")


@pytest.mark.parametrize("value", ["10.1.2.3/24", "example.org", "10.0.0.0/33", "10"])
def test_what_is_no_network_stops_the_start(say: Say, value: str) -> None:
    say(value)
    with pytest.raises(BadSetting, match=r"addresses and networks \(10\.0\.0\.0/8\) parted by commas"):
        env.networks(NAME, (), "")


def test_a_path_is_absolute(say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    say("here")
    assert env.path(NAME, Path("/"), "", shown="") == tmp_path.resolve() / "here"


def test_what_is_read_is_listed_and_a_secret_is_not_shown(say: Say) -> None:
    say("hush")
    env.secret(NAME, "A key.")
    read = SETTINGS[NAME]
    assert (read.name, read.default, read.help, read.is_secret) == (NAME, "", "A key.", True)
    assert "hush" not in read.shown


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("127.0.0.1:11434", Address("127.0.0.1", 11434)),
        (EVERYWHERE, Address(EVERYWHERE, 11434)),
        (":8080", Address("127.0.0.1", 8080)),
        ("http://example.org", Address("example.org", 80)),
        ("https://example.org/", Address("example.org", 443)),
        ("https://example.org:8443/path", Address("example.org", 8443)),
        ("[::1]:5", Address("::1", 5)),
        ("[::]", Address("::", 11434)),
        ("::1", Address("::1", 11434)),
        ("localhost:99999", Address("localhost", 11434)),
        ("localhost:port", Address("localhost", 11434)),
    ],
)
def test_an_address_is_read_as_ollama_reads_it(value: str, address: Address) -> None:
    assert parse_address(value) == address


@pytest.mark.parametrize("address", [Address("127.0.0.1", 1), Address("::1", 2)])
def test_an_address_is_written_as_it_is_read(address: Address) -> None:
    assert parse_address(str(address)) == address


def test_a_misspelt_setting_is_refused_and_the_right_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_REQUIRE_KEY", "1")
    with pytest.raises(env.BadSetting, match="ORCHESTRATOR_REQUIRE_KEYS is"):
        env.check_names("ORCHESTRATOR_", besides=frozenset({"ORCHESTRATOR_PRIVATE_REDIS"}))


@pytest.mark.parametrize("value", ["http://x", "localhost:6379", "redis://"])
def test_an_address_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TRIED", value)
    try:
        with pytest.raises(env.BadSetting, match="redis://"):
            env.url("TRIED", "", "", schemes=("redis", "unix"))
    finally:
        env.SETTINGS.pop("TRIED", None)


@pytest.mark.parametrize(
    "value", ["http://a..b", "http://.a", "http://a\x01b/", "http://☃.☃☃", f"http://{'a' * 64}.org"]
)
def test_an_address_that_nobody_could_look_up_stops_the_start(say: Say, value: str) -> None:
    say(value)
    with pytest.raises(BadSetting, match="is allowed"):
        env.url(NAME, "", "", schemes=("http", "https"))


@pytest.mark.parametrize("value", ["http://a_b:8080/v1", "https://bücher.example/", "http://[::1]:80", "http://a.b."])
def test_an_address_of_any_host_is_taken(say: Say, value: str) -> None:
    say(value)
    assert env.url(NAME, "", "", schemes=("http", "https")) == value
