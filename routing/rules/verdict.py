"""What the rules say of one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import msgspec

from orchestrator.core.limits import is_named


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Of the router's slider: a share of calls for the dear side, or how good answers are to be. One of the two."""

    share: float | None = None
    quality: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """What the cache may do for a request, and for how long. What is None stays as it would be."""

    read: bool | None = None
    write: bool | None = None
    ttl_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """Another model that is asked the same afterwards, for a share of the calls; nobody waits for it."""

    model: str
    share: float
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """A rule that caught the request, and which of its actions count: what an earlier rule said stays."""

    rule: str
    place: int  # among the rules, from 1
    did: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All that the rules say, together.

    version   of the rules. 0: there are none.
    use       who is asked, in this order; None: whoever was asked for, or the router's choice for `auto`.
    use_rule  the rule that said so.
    arm       of a split or a canary, and `split` the rule that has it.
    forbid    why it is refused, in the operator's words; None: it is not.
    only      patterns of models that may answer, of each rule that says so: a model has to be named by each of them.
    never     patterns of models that may not.
    failed    rules whose expression could not be answered: they count as not matched.
    unheard   rules about a text that was not kept, where nobody wrote down what they came to, or about what nobody
              looked up: they count as not matched.
    unread    rules about a conversation that is too long to be read whole, whose rest may be as they say: they count
              as matched where they forbid, keep here or exclude something, and as not matched otherwise.
    heard     what each condition about the text came to, by its id: enough to decide again without the text. None: it
              could not be answered.
    """

    version: int = 0
    matched: tuple[Matched, ...] = ()
    use: tuple[str, ...] | None = None
    use_rule: str = ""
    split: str = ""
    arm: str = ""
    forbid: str | None = None
    forbid_rule: str = ""
    is_local_only: bool = False
    only: tuple[tuple[str, ...], ...] = ()
    never: tuple[str, ...] = ()
    most_tokens: int | None = None
    most_micros: int | None = None
    aim: Aim | None = None
    cascade: bool | None = None
    context: Literal["trim", "refuse"] | None = None
    cache: CachePolicy = CachePolicy()
    shadow: Shadow | None = None
    failed: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    heard: Mapping[str, bool | None] = field(default_factory=dict)

    def may_ask(self, model: str) -> bool:
        """Whether `only` and `never` let a model answer, by its name. What is local is not known here."""
        if self.excludes(model):
            return False
        return all(any(is_named(model, pattern) for pattern in patterns) for patterns in self.only)

    def excludes(self, model: str) -> bool:
        """Whether `never` names a model."""
        return any(is_named(model, pattern) for pattern in self.never)

    def to_json(self) -> dict[str, Any]:
        """As JSON, without what goes without saying."""
        usual = asdict(_SILENT)
        return {name: value for name, value in asdict(self).items() if value != usual[name]}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Verdict:
        """What `to_json` said. Raises msgspec.ValidationError."""
        return msgspec.convert(dict(said), cls)


_SILENT = Verdict()
