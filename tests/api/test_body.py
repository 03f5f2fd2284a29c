"""A body is read as Go reads it, or refused in Go's words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.body import read_json
from orchestrator.core.errors import BadRequest

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_whatever_json_holds_is_read(value: object) -> None:
    text = json.dumps(value)
    try:
        text.encode()
        json.loads(text)
    except ValueError:
        return
    try:
        assert read_json(text.encode()) == value
    except BadRequest:
        assert any(0xD800 <= ord(char) < 0xE000 for char in json.dumps(value, ensure_ascii=False))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "missing request body"),
        (b" \n\t", "missing request body"),
        (b"{", "unexpected EOF"),
        (b'{"model"', "unexpected EOF"),
        (b'{"model": "x', "unexpected EOF"),
        (b'{"model": "x"', "unexpected EOF"),
        (b"[1, 2", "unexpected EOF"),
        (b"xyz", "invalid character 'x' looking for beginning of value"),
        (b"{model: 1}", "invalid character 'm' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a": 1 "b"}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b'{"a": 1,}', "invalid character '}' looking for beginning of object key string"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b'{"a": trux}', "invalid character 'x' in literal true (expecting 'e')"),
        (b'{"a": NaN}', "invalid character 'N' looking for beginning of value"),
        (b'{"a": -Infinity}', "invalid character 'I' in numeric literal"),
        (b'{"a": "\n"}', r"invalid character '\n' in string literal"),
        (rb'{"a": "\x"}', "invalid character 'x' in string escape code"),
        (rb'{"a": "\u12g4"}', r"invalid character 'g' in \u hexadecimal character escape"),
        (b"[" * 50_000 + b"]" * 50_000, "exceeded max depth"),
        (b'{"a":' * 50_000, "exceeded max depth"),
        (b'{"model": "a", "model": "b"}', 'duplicate name "model" in a JSON object'),
        (b'{"a": {"b": 1, "b": 1}}', 'duplicate name "b" in a JSON object'),
    ],
)
def test_a_bad_body_is_refused_in_words_clients_know(body: bytes, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_json(body)
    assert str(refused.value) == said


def test_what_follows_the_first_value_is_ignored() -> None:
    assert read_json(b'{"a": "}"} {"b": 1} nonsense') == {"a": "}"}


@pytest.mark.parametrize("body", [rb'"\ud800"', b'"\xff"', b'"\xed\xa0\x80"'])
def test_a_lone_surrogate_or_broken_utf8_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="invalid JSON"):
        read_json(body)


def test_a_name_that_looks_like_another_inside_a_string_is_no_duplicate() -> None:
    assert read_json(rb'{"a": "\"a\": 1, \"a\":", "b": "a\\"}') == {"a": '"a": 1, "a":', "b": "a\\"}


def test_a_long_bad_body_is_not_read_to_its_end() -> None:
    with pytest.raises(BadRequest, match="invalid JSON"):
        read_json(b"[" + b"1," * 200_000 + b"x]")
