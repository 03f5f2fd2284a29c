"""What models differ in that no list tells: by their names, a table a provider.

Who adds a model adds a line, above those that fit its name as well: the first that fits tells all that its table tells.
A model that no line fits takes what its wire takes. docs/providers.md has the same in sentences, and
tests/engines/test_models_by_name.py what comes of it, a line a model.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from math import inf

Number = tuple[int, int]  # the 4 and the 7 of `claude-opus-4-7`
ALL: Number = (0, 0)
NEWEST: Number = (99, 0)
SEEN = "seen in refusals"


@dataclass(frozen=True, slots=True)
class Row:
    """What models of some names have in common."""

    names: str  # how they begin, as a regular expression
    _: KW_ONLY
    since: Number = ALL  # the number in the name: from this one on
    before: tuple[float, int] = (inf, 0)
    cannot: Set[str] = frozenset()  # of what a model of this provider is taken to be able to
    refuses: Set[str] = frozenset()  # of what its wire takes
    takes: Set[str] = frozenset()  # in place of what its wire takes by that name: `effort unless tools`
    traits: Set[str] = frozenset()  # how it wants to be asked
    most_output: int = 0  # tokens in an answer
    told: str = SEEN  # where, and when it was so

    def of(self, takes: Set[str]) -> frozenset[str]:
        """What is left of what its wire takes."""
        other = self.refuses | {_what(one) for one in self.takes}
        return frozenset({one for one in takes if _what(one) not in other} | self.takes)


def _what(taken: str) -> str:
    return taken.partition(" unless ")[0]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows, the first of which that fits is the one."""

    rows: tuple[Row, ...]
    _: KW_ONLY
    number: str = r"(?!)"  # where its two parts stand in a name, the second of which may be missing
    without: Number = ALL  # what a name without one counts as

    def row(self, name: str) -> Row:
        """The row of a model; one that says nothing where none fits."""
        return _row(self, name)


@lru_cache(maxsize=1024)
def _row(table: Table, name: str) -> Row:
    found = re.match(table.number, name)
    number = (int(found[1]), int(found[2] or 0)) if found else table.without
    fitting = (row for row in table.rows if re.match(row.names, name) and row.since <= number < row.before)
    return next(fitting, Row(""))


# Anthropic. Other vendors' models that speak its protocol are in no row: they think within a budget of tokens.

ADAPTIVE = "adaptive"  # it thinks as much as it finds right
NO_SCHEMA = "no schema"  # it cannot be bound to one
# What becomes of it where nothing is to be thought; else that is said, and taken.
SILENT_UNASKED = "silent unless asked"  # it refuses to be told not to, and does not where nothing is said
NEVER_SILENT = "never silent"  # it refuses to be told not to, and thinks as little as it can
SILENT_AT_FIRST = "silent at first"  # it is told to think between tools only
WAYS_NOT_TO_THINK = frozenset({SILENT_UNASKED, NEVER_SILENT, SILENT_AT_FIRST})
WAYS = frozenset({"temperature", "top_p", "top_k"})
_BEDROCK = "Adaptive thinking, Amazon Bedrock User Guide, 2026-11"
_FABLE = "Claude Fable 5, migration guide, platform.claude.com, 2026-11"
_SONNET_5_5 = "Claude Sonnet 5.5, migration guide, platform.claude.com, 2026-11"
_HAIKU_5_5 = "Claude Haiku 5.5, migration guide, platform.claude.com, 2026-11"
_OPUS_5_5 = "What is new in Claude Opus 5.5, platform.claude.com, 2026-11"
_OPUS_5 = "What is new in Claude Opus 5, platform.claude.com, 2026-11"
# claude-3-5-haiku-20241022, claude-opus-4-20250514, claude-sonnet-4-5. One without a number has no older ones.
_CLAUDES_NUMBER = r"claude-(?:[a-z]+-)?v?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)"

CLAUDES_THINKING = Table(
    (
        Row(r"claude-(?:instant|v?[12]|3-(?!7))", cannot={"thinking"}),
        Row(r"claude", before=(4, 6), told=_BEDROCK),  # within a budget
        Row(r"claude", traits={ADAPTIVE}, told=_BEDROCK),
    ),
    number=_CLAUDES_NUMBER,
    without=NEWEST,
)
CLAUDES = Table(
    (
        Row(r"claude-(?:fable|mythos)", refuses=WAYS, traits={NEVER_SILENT}, told=_FABLE),
        Row(r"claude-sonnet", since=(5, 5), refuses=WAYS, traits={SILENT_AT_FIRST}, told=_SONNET_5_5),
        Row(r"claude-haiku", since=(5, 0), refuses=WAYS, told=_HAIKU_5_5),
        Row(r"claude", since=(5, 5), refuses=WAYS, traits={NEVER_SILENT}, told=_OPUS_5_5),
        Row(r"claude", since=(5, 0), refuses=WAYS, told=_OPUS_5),
        Row(r"claude", since=(4, 7), refuses=WAYS, traits={SILENT_UNASKED}, told=f"{_BEDROCK}; {_OPUS_5}; {SEEN}"),
        Row(r"claude", since=(4, 1), takes={"top_p unless thinking or temperature"}),
        Row(r"claude", traits={NO_SCHEMA}, told="Structured outputs, Anthropic, 2025-11, as milvus.io has it"),
    ),
    number=_CLAUDES_NUMBER,
    without=NEWEST,
)

# Gemini

BY_BUDGET = "by budget"  # it thinks within a number of tokens, and not on a level
ALWAYS_THINKS = "always thinks"  # it refuses not to, and thinks as little as it can
UNSIGNED = "unsigned"  # it takes its own calls back without a signature
CALLS_OR_FORM = "calls or form"  # it refuses a form where there are tools
PENALTIES = frozenset({"presence_penalty", "frequency_penalty"})  # also of 0
_OLD = frozenset({UNSIGNED, CALLS_OR_FORM})
_THINKING = "Gemini thinking, ai.google.dev, as issue threads quote it, 2026-11; penalties and forms " + SEEN
_SIGNED = "Thought signatures, docs.cloud.google.com, 2026-11; penalties " + SEEN

GEMINIS = Table(
    (
        Row(r"gemma", cannot={"thinking", "tools"}, refuses=PENALTIES, traits=_OLD),
        Row(r"learnlm", cannot={"thinking"}, refuses=PENALTIES, traits=_OLD),
        Row(r"gemini-(?:1|2\.0)", cannot={"thinking"}, traits=_OLD),
        Row(r"gemini-2\.5[\d.]*-pro", refuses=PENALTIES, traits=_OLD | {BY_BUDGET, ALWAYS_THINKS}, told=_THINKING),
        Row(r"gemini-2\.5", refuses=PENALTIES, traits=_OLD | {BY_BUDGET}, told=_THINKING),
        Row(r"gemini-2[\d.]*-pro", refuses=PENALTIES, traits=_OLD | {ALWAYS_THINKS}),
        Row(r"gemini-2", refuses=PENALTIES, traits=_OLD),
        Row(r"gemini-robotics-er-1", refuses=PENALTIES, traits={BY_BUDGET, CALLS_OR_FORM}),
        Row(r"gemini-robotics", refuses=PENALTIES, traits={BY_BUDGET}),
        Row(r"gemini-(?:[\d.]+-)?pro", refuses=PENALTIES, traits={ALWAYS_THINKS}, told=_SIGNED),
        Row(r"", refuses=PENALTIES, told=_SIGNED),
    )
)

# OpenAI's own, by their names in lower case and without `ft:`.

NONE_WITH_TOOLS = "no effort with tools"  # it thinks without being asked to, and has to be told not to
# What models that think refuse in whatever they are asked.
SAMPLING = frozenset(
    {"temperature", "top_p", "stop", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"}
)
# What these take as long as they do not think, which they only do when they are asked to.
UNLESS_THINKING = frozenset(f"{one} unless thinking" for one in ("temperature", "top_p", "logprobs", "top_logprobs"))
UNLESS_TOOLS = frozenset({"effort unless tools"})  # in this protocol

GPTS = Table(
    (
        Row(r"chatgpt|gpt-5-chat", cannot={"thinking"}, refuses={"effort"}),
        Row(r"gpt-", since=(0, 1), before=(5, 0), cannot={"thinking"}, refuses={"effort"}),
        Row(r"(?:gpt-\d|o\d).*-chat", refuses=SAMPLING | {"effort"}),  # which has the one effort that it has
        Row(
            r"gpt-5\.[12](-\d{4}-\d\d-\d\d)?\Z",
            refuses=SAMPLING,
            takes=UNLESS_THINKING,
            told="OpenAI's documentation, as github.com/vercel/ai/issues/10932 has it",
        ),
        Row(
            r"gpt-",
            since=(5, 6),
            refuses=SAMPLING,
            takes=UNLESS_TOOLS,
            traits={NONE_WITH_TOOLS},
            told=SEEN + ", 2026-07",
        ),
        Row(r"gpt-", since=(5, 4), refuses=SAMPLING, takes=UNLESS_TOOLS, told=SEEN + ", 2026-03"),
        Row(r"gpt-\d|o\d", refuses=SAMPLING),
    ),
    number=r"gpt-(\d+)(?:\.(\d+))?",
)
# A higher cap is refused. Those that think may write more than anybody asks for.
GPTS_CAPS = Table(
    (
        Row(r"gpt-4\.1", most_output=32_768),
        Row(r"gpt-4o-2024-05-13", most_output=4_096),
        Row(
            r"gpt-4o|chatgpt-4o",
            most_output=16_384,
            told="OpenAI's page of GPT-4o, as issue threads quote it, 2026-11; " + SEEN,
        ),
        Row(r"gpt-4-turbo|gpt-3\.5-turbo", most_output=4_096),
    )
)
