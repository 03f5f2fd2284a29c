"""From token bytes to text that may be sent."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.modelhost.text import TextOut


def fed(out: TextOut, *pieces: bytes) -> str:
    return "".join(out.feed(piece) for piece in pieces)


def test_text_passes_at_once_when_nothing_is_looked_for():
    out = TextOut()
    assert out.feed(b"Hello") == "Hello"


def test_a_character_in_two_pieces_is_held_until_it_is_whole():
    out = TextOut()
    smile = "🙂".encode()
    assert out.feed(b"a" + smile[:2]) == "a"
    assert out.feed(smile[2:] + b"b") == "🙂b"


def test_a_character_that_never_gets_whole_is_left_out():
    out = TextOut()
    assert out.feed("é".encode()[:1]) == ""
    assert out.flush() == ""


def test_a_stop_string_ends_the_text_before_it():
    out = TextOut(["END"])
    assert fed(out, b"one END two") == "one "
    assert out.stopped_by == "END"
    assert out.feed(b"more") == ""


def test_a_stop_string_may_lie_across_pieces():
    out = TextOut(["<|end|>"])
    assert fed(out, b"a<", b"|e", b"nd", b"|>b") == "a"
    assert out.stopped_by == "<|end|>"


def test_what_only_looked_like_a_stop_string_is_given_back():
    out = TextOut(["<|end|>"])
    assert fed(out, b"a<|e", b"x") == "a<|ex"
    assert out.stopped_by == ""


def test_what_is_held_back_at_the_end_is_text():
    out = TextOut(["STOP"])
    assert out.feed(b"abcST") == "abc"
    assert out.flush() == "ST"


def test_the_first_of_several_stop_strings_counts():
    out = TextOut(["bb", "a b"])
    assert fed(out, b"x a bb") == "x "
    assert out.stopped_by == "a b"


@given(st.text(), st.lists(st.text(min_size=1, max_size=4), max_size=3), st.data())
def test_however_text_is_cut_it_comes_out_as_if_it_were_whole(text: str, stops: list[str], data: st.DataObject):
    encoded = text.encode(errors="replace")
    text = encoded.decode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(encoded)), max_size=6)))
    out = TextOut(stops)
    pieces = [encoded[start:end] for start, end in zip([0, *cuts], [*cuts, len(encoded)], strict=True)]
    shown = fed(out, *pieces) + out.flush()
    found = [text.find(stop) for stop in stops if stop in text]
    # A longer stop string may begin earlier than one that was complete first; never is more shown than may be.
    if found:
        assert out.stopped_by in stops
        assert not any(stop in shown for stop in stops)
        assert text.startswith(shown)
    else:
        assert shown == text
