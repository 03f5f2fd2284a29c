"""Lines end at LF and nowhere else."""

import itertools

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.errors import EngineError
from orchestrator.engines.lines import body_lines

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), max_size=40)


class Pieces(httpx.AsyncByteStream):
    """A body in the pieces given."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        for piece in self.pieces:
            yield piece


async def read(pieces: list[bytes], most: int = 10**9) -> list[bytes]:
    return [line async for line in body_lines(httpx.Response(200, stream=Pieces(pieces)), most)]


@given(
    st.lists(TEXT, min_size=1, max_size=8), st.lists(st.integers(0, 400), max_size=6), st.sampled_from(["\n", "\r\n"])
)
async def test_lines_are_the_same_however_the_body_is_cut(lines: list[str], cuts: list[int], end: str) -> None:
    body = "".join(line + end for line in lines).encode()
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[a:b] for a, b in itertools.pairwise(places)]
    assert await read(pieces) == [line.encode() for line in lines]


async def test_line_separators_of_unicode_are_text() -> None:
    line = "a\u2028b\u2029c\x85d\x0be\x1cf".encode()
    assert await read([line + b"\n", line]) == [line, line]


async def test_a_body_without_bound_is_cut_off() -> None:
    with pytest.raises(EngineError, match="longer than 10 bytes"):
        await read([b"x" * 11], most=10)
    with pytest.raises(EngineError, match="line without end"):
        await read([b"x" * 700_000, b"x" * 700_000])
