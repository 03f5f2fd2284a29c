"""How many tokens there may be in text that nobody counted."""

BYTES_A_TOKEN = 4


def tokens_in(size: int, pieces: int = 0) -> int:
    """Tokens in `size` bytes that came in so many pieces: a piece is one at least, and may hold many."""
    return max(pieces, -(-size // BYTES_A_TOKEN))


def size_of(text: str) -> int:
    """The bytes of a text."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
