"""A sealed key opens for its provider and its address, under its master secret, and for nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.secrets import derive
from orchestrator.registry.seal import CannotOpen, Sealed, Sealer, hint, origin_of_sealed

HERE = "https://api.openai.com:443"
KEY = "sk-a-key-of-some-length"
sealer = Sealer(derive(b"m" * 32, "provider keys"))


@given(key=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300))
def test_what_is_sealed_opens_again(key: str) -> None:
    sealed = sealer.seal(key, "openai", HERE)
    assert sealer.open(sealed, "openai", HERE) == key
    assert origin_of_sealed(sealed) == HERE
    assert len(key) < 6 or key not in sealed


def test_the_same_key_is_never_sealed_alike() -> None:
    assert sealer.seal(KEY, "openai", HERE) != sealer.seal(KEY, "openai", HERE)


@pytest.mark.parametrize(
    ("provider", "origin", "words"),
    [
        ("groq", HERE, "another provider's"),
        ("openai", "https://api.openai.com:8443", "given for https://api.openai.com:443"),
        ("openai", "http://api.openai.com:443", "give it again"),
        ("openai", "https://evil.example.com:443", "its address is at https://evil.example.com:443"),
    ],
)
def test_it_opens_for_nothing_else(provider: str, origin: str, words: str) -> None:
    with pytest.raises(CannotOpen, match=words):
        sealer.open(sealer.seal(KEY, "openai", HERE), provider, origin)


def test_an_address_that_is_written_over_the_sealed_one_does_not_open_it() -> None:
    elsewhere = "https://evil.example.com:443"
    moved = Sealed.parse(sealer.seal(KEY, "openai", HERE))
    forged = str(Sealed(moved.secret, elsewhere, moved.box))
    with pytest.raises(CannotOpen, match="changed where it is kept"):
        sealer.open(forged, "openai", elsewhere)


def test_another_master_secret_does_not_open_it() -> None:
    other = Sealer(derive(b"n" * 32, "provider keys"))
    with pytest.raises(CannotOpen, match=r"another master secret.*reseal"):
        other.open(sealer.seal(KEY, "openai", HERE), "openai", HERE)
    moved = Sealed.parse(sealer.seal(KEY, "openai", HERE))
    with pytest.raises(CannotOpen, match="changed where it is kept"):
        other.open(str(Sealed(other.id, moved.origin, moved.box)), "openai", HERE)


@given(place=st.integers(0, 50), bit=st.integers(0, 7))
def test_a_bit_that_is_turned_over_is_noticed(place: int, bit: int) -> None:
    sealed = Sealed.parse(sealer.seal(KEY, "openai", HERE))
    box = bytearray(sealed.box)
    box[place % len(box)] ^= 1 << bit
    with pytest.raises(CannotOpen):
        sealer.open(str(Sealed(sealed.secret, sealed.origin, bytes(box))), "openai", HERE)


@pytest.mark.parametrize(
    "text", ["", KEY, "1 a b", "2 a b Yw==", "1 a https://api.openai.com:443 Y", "1 a b c d", "\x00"]
)
def test_what_is_no_sealed_key_does_not_open(text: str) -> None:
    with pytest.raises(CannotOpen) as refused:
        sealer.open(text, "openai", HERE)
    assert KEY not in str(refused.value)


def test_a_short_key_is_not_hinted_at() -> None:
    assert hint(KEY) == "…ngth"
    assert hint("short") == hint("") == ""


def test_neither_a_key_nor_a_secret_is_in_a_repr() -> None:
    assert repr(sealer) == f"Sealer({sealer.id})"
