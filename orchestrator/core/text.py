"""Text of others, made harmless for whoever reads it in a terminal, a log or a page."""

from __future__ import annotations

import re
from itertools import chain

# Controls of terminals, and what turns text around or hides it. A tab is harmless; line ends are not, where a line
# stands for one event.
_HARMFUL = chain(
    range(0x09),
    range(0x0A, 0x20),
    range(0x7F, 0xA0),
    (0x061C, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF),
    range(0x202A, 0x202F),
    range(0x2066, 0x206A),
    range(0xD800, 0xE000),  # halves of characters, which no output can encode
    range(0xE0000, 0xE0080),
)
_CONTROL = re.compile(f"[{''.join(map(re.escape, map(chr, _HARMFUL)))}]")


def escaped(text: str) -> str:
    r"""`text` with each harmful character as Python writes it: `\x1b`, `\u202e`."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)
