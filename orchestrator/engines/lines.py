"""Lines out of a streamed HTTP body."""

from collections.abc import AsyncIterator

from orchestrator.core.errors import EngineError
from orchestrator.outbound.answers import Response

MOST_LINE_BYTES = 1024**2


async def body_lines(response: Response, most_bytes: int) -> AsyncIterator[bytes]:
    """Yield lines ended by LF or CRLF, without their ends. Raises as `line_batches` does."""
    async for lines in line_batches(response, most_bytes):
        for line in lines:
            yield line


async def line_batches(response: Response, most_bytes: int) -> AsyncIterator[list[bytes]]:
    """Yield the lines that came together together: one wait for them, one deadline.

    Only LF and CRLF end a line: httpx's own reader also splits at U+2028 and its like, which text may hold.
    Raises EngineError when the body is longer than `most_bytes`, or one line than a mebibyte.
    """
    rest = b""
    async for part in bounded(response, most_bytes):
        *lines, rest = (rest + part).split(b"\n")
        if lines:
            yield [line.rstrip(b"\r") for line in lines]
        if len(rest) > MOST_LINE_BYTES:
            raise EngineError("A line without end came instead of an answer; it was cut off.")
    if rest:
        yield [rest]


async def bounded(response: Response, most_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body in the pieces it comes in. Raises EngineError when it is longer than `most_bytes`."""
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > most_bytes:
            raise EngineError(f"The answer is longer than {most_bytes:,} bytes; it was cut off.")
        yield part
