"""Bytes that were not written by us, for this key, are no answer."""

import zlib
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import codec
from cache.codec import BadEntry, decode, encode
from cache.entries import CacheKey, Entry
from orchestrator.core.types import Done, MadeBy, Reply, ToolCall, Usage
from tests.cache.conftest import MakeEntry, reply


def test_an_answer_survives_the_way_there_and_back(make_entry: MakeEntry):
    for text in ("four", "", "four " * 5000, "\x00🦙"):
        entry = make_entry(answer=reply(text))
        assert decode(entry.key, encode(entry)) == entry


def test_what_ended_an_answer_survives_too(make_entry: MakeEntry):
    entry = make_entry(answer=replace(reply("four"), done=Done(reason="stop", stop_string="END")))
    assert decode(entry.key, encode(entry)).reply.done.stop_string == "END"


def test_whose_call_made_it_survives_with_what_it_was_charged(make_entry: MakeEntry):
    charged = Usage(prompt_tokens=900, completion_tokens=7, cached_tokens=512, cache_write_1h_tokens=9)
    for usage in (None, charged):
        maker = MadeBy(request_id="r1", is_paid=True, cost_microusd=123, usage=usage)
        entry = make_entry(answer=replace(reply("four"), done=Done(reason="stop", made_by=maker)))
        assert decode(entry.key, encode(entry)).reply.done.made_by == maker


def test_an_answer_that_was_kept_before_that_is_one_without_it():
    plain = msgspec.to_builtins(reply("four"))
    del plain["done"]["stop_string"]
    del plain["done"]["made_by"]
    del plain["of"]
    assert codec._decoder.decode(msgspec.msgpack.encode((1.0, 2.0, plain))) == (1.0, 2.0, reply("four"))


def test_a_long_answer_takes_less_room_than_it_is_long(make_entry: MakeEntry):
    assert len(encode(make_entry(answer=reply("four " * 5000)))) < 2500


@pytest.mark.parametrize("text", ["four", "four " * 500])
def test_every_flipped_bit_is_noticed(make_entry: MakeEntry, text: str):
    entry = make_entry(answer=reply(text))
    data = encode(entry)
    for place in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            with pytest.raises(BadEntry):
                decode(entry.key, bytes(damaged))


def test_every_truncation_is_noticed(make_entry: MakeEntry):
    entry = make_entry()
    data = encode(entry)
    for length in range(len(data)):
        with pytest.raises(BadEntry):
            decode(entry.key, data[:length])


@pytest.mark.parametrize(
    "elsewhere", [{"hash": "0" * 64}, {"tenant_id": 2}, {"model": "big:latest"}, {"namespace": "drafts"}]
)
def test_an_answer_moved_under_another_key_is_noticed(make_entry: MakeEntry, elsewhere: dict[str, object]):
    entry = make_entry()
    with pytest.raises(BadEntry, match="checksum"):
        decode(replace(entry.key, **elsewhere), encode(entry))


def test_an_older_version_is_no_answer(make_entry: MakeEntry):
    entry = make_entry()
    with pytest.raises(BadEntry, match="Version"):
        decode(entry.key, b"\x00" + encode(entry)[1:])


@given(st.binary(max_size=200))
def test_any_other_bytes_are_no_answer(data: bytes):
    with pytest.raises(BadEntry):
        decode(CacheKey("0" * 64, 1, "", "tiny:latest"), data)


def test_an_answer_written_with_another_secret_is_noticed(make_entry: MakeEntry, settings):
    entry = make_entry()
    data = encode(entry)
    settings.CACHE_MAC_KEY = b"k" * 32
    with pytest.raises(BadEntry, match="checksum"):
        decode(entry.key, data)


def test_a_value_that_unpacks_without_end_is_cut_short(make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch):
    """Even with the right checksum, as after a bug of our own."""
    entry = make_entry()
    bomb = codec._ZLIB + zlib.compress(b"\x00" * 10_000_000)
    data = bytes([codec.VERSION]) + codec._checksum(codec._names(entry.key), bomb) + bomb
    monkeypatch.setattr(codec, "LARGEST", 1_000_000)
    with pytest.raises(BadEntry, match="unpacks"):
        decode(entry.key, data)


def test_sound_bytes_with_a_senseless_body_are_no_answer(make_entry: MakeEntry):
    entry = make_entry()
    for sealed in (codec._PLAIN + b"\xc0", codec._ZLIB + b"zz", b"\x07" + b"zz"):
        data = bytes([codec.VERSION]) + codec._checksum(codec._names(entry.key), sealed) + sealed
        with pytest.raises(BadEntry):
            decode(entry.key, data)


def test_what_cannot_be_put_into_bytes_is_refused(make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch):
    call = ToolCall(id="1", name="add", arguments={"a": 2**70})
    huge_number = Reply(model="tiny", tool_calls=(call,), done=Done(reason="stop"))
    odd_name = make_entry(namespace="\ud800")
    for entry in (make_entry(answer=huge_number), make_entry(answer=reply("\ud800")), odd_name):
        with pytest.raises(BadEntry):
            encode(entry)
    monkeypatch.setattr(codec, "LARGEST", 1000)
    too_long: Entry = make_entry(answer=reply("x" * 1001))
    with pytest.raises(BadEntry, match="1,000 are allowed"):
        encode(too_long)
