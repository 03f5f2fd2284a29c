"""Names of local models, as Ollama writes them: `[scheme://][host/][namespace/]model[:tag]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Source = Literal["", "local", "cloud"]

HOST, NAMESPACE, TAG = "registry.ollama.ai", "library", "latest"

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,31}"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
_NAMESPACE = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"
_HOST = r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}"
# Every part has a bound, so a name has one, and matching takes no longer when the text is long.
_NAME = re.compile(
    rf"(?:(?:{_SCHEME}://)?(?P<host>{_HOST})/(?=[^/]+/))?"
    rf"(?:(?P<namespace>{_NAMESPACE})/)?"
    rf"(?P<model>{_PART})(?::(?P<tag>{_PART}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Name:
    """A whole name. No part can be `.` or `..`, or hold a separator, so a name is safe as a path."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Name:
        """Read a name and fill in what it leaves out. Raises ValueError when it is not one."""
        match = _NAME.fullmatch(text)
        if match is None:
            raise ValueError("invalid model name")
        return cls(match["host"] or HOST, match["namespace"] or NAMESPACE, match["model"], match["tag"] or TAG)

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """From the outside in: the folders a manifest lies in, and its file."""
        return self.host, self.namespace, self.model, self.tag

    @property
    def full(self) -> str:
        """With every part, as some messages show it."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def folded(self) -> str:
        """Equal for names that mean the same model: case does not count."""
        return self.full.lower()

    def __str__(self) -> str:
        """The short form of lists: with the tag, without the usual host and namespace."""
        if self.host.lower() != HOST:
            return self.full
        if self.namespace.lower() != NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"


def is_name(text: str) -> bool:
    """Whether `text` could name a local model."""
    return _NAME.fullmatch(text) is not None


def read_source(text: str) -> tuple[str, Source]:
    """A name without what it says of where its model runs: `:local` here, `:cloud` or a tag `…-cloud` at ollama.com.

    Raises ValueError when it says so twice.
    """
    base, source = _without_source(text)
    if source and _without_source(base)[1]:
        raise ValueError(f'use either :local or :cloud, not both: "{text}"')
    return base, source


def as_compared(name: str) -> str:
    """A name, of any model, as names are compared: in letters of one size, without `:latest`."""
    return name.lower().removesuffix(f":{TAG}")


def as_listed(text: str) -> str:
    """A name of a local model as lists have it, without `:local` and `:latest`; what can be none stays as it is.

    What is at ollama.com keeps the word that says so.
    """
    try:
        base, source = read_source(text)
        named = str(Name.parse(base if source == "local" else text))
    except ValueError:
        return text
    return named.removesuffix(f":{TAG}")


def _without_source(text: str) -> tuple[str, Source]:
    base, _, tag = text.rpartition(":")
    match tag.lower():
        case "local" | "cloud" as source if base:
            return base, source
        case ending if base and ending.endswith("-cloud") and "/" not in ending:
            return text[: -len("-cloud")], "cloud"
    return text, ""
