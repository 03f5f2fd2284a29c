"""What can be asked of keys, tenants, people, teams, grants, limits and budgets: each field by itself. What they are
together, and who may ask it, is told by who does it. Pages, API and commands read the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from orchestrator.core.budgets import EachOf
from orchestrator.core.budgets import Period as Renewal
from orchestrator.core.dollars import read_dollars
from orchestrator.core.errors import BadRequest
from orchestrator.core.limits import Each, Kind
from orchestrator.core.permissions import DIALECTS, FAMILIES, Role
from orchestrator.identity.keys import DEFAULT_TENANT

LONGEST_NAME, LONGEST_SLUG, LONGEST_PATTERN, LONGEST_TAG = 100, 50, 255, 64  # characters
LONGEST_USER_NAME = 150
MOST_PATTERNS, MOST_NETWORKS, MOST_TAGS = 64, 64, 16
LONGEST_LIFE = timedelta(days=36_500)
LONGEST_OVERLAP_S = 30 * 86_400
MOST_AMOUNT = 10**12
LONGEST_PERIOD_S = 31 * 86_400
MOST_MICROUSD = 10**15
MOST_SHARES, LARGEST_SHARE = 8, 200  # percent

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
_SLUG = re.compile(rf"[-a-zA-Z0-9_]{{1,{LONGEST_SLUG}}}")
_PREFIX = re.compile(r"[a-z0-9]{1,16}")


def _say(words: str) -> PydanticCustomError:
    return PydanticCustomError("asked", "{words}", {"words": words})


def _plain(value: str) -> str:
    """In one form of Unicode, without spaces at its ends. Nothing in it is unseen."""
    value = unicodedata.normalize("NFKC", value).strip()
    if any(unicodedata.category(character)[0] == "C" for character in value):
        raise _say("it holds a character that cannot be seen")
    return value


def _name(value: str) -> str:
    value = _plain(value)
    if not 1 <= len(value) <= LONGEST_NAME:
        raise _say(f"a name has 1 to {LONGEST_NAME} characters")
    return value


def _slug(value: str) -> str:
    value = _plain(value)
    if not _SLUG.fullmatch(value):
        raise _say(f"a name here is of 1 to {LONGEST_SLUG} ASCII letters, digits, hyphens and underscores")
    return value


def _pattern(value: str) -> str:
    value = _plain(value)
    if not 1 <= len(value) <= LONGEST_PATTERN or any(one in value for one in "[] "):
        raise _say(f"a pattern of models has 1 to {LONGEST_PATTERN} characters, * and ? for any, no space or bracket")
    return value


def _any_or_pattern(value: str) -> str:
    return _pattern(value) if value.strip() else ""


def _network(value: str) -> str:
    address, _, length = value.strip().partition("/")
    try:
        meant = ip_network(f"{address}/{length}" if length else address, strict=False)
        given = ip_address(address)
    except ValueError:
        given = None
    if given is None or "%" in address:  # a zone is of one machine's own
        raise _say("a network is an address, or one with its length: 10.0.0.0/8, 192.0.2.7, 2001:db8::/32")
    if given != meant.network_address:
        raise _say(f"the address has bits beyond its length; is {meant} meant?")
    return str(meant)


def _any_or_network(value: str) -> str:
    return _network(value) if value.strip() else ""


def _tag(value: str) -> str:
    value = _plain(value)
    if not 1 <= len(value) <= LONGEST_TAG or "," in value:
        raise _say(f"a tag has 1 to {LONGEST_TAG} characters, and no comma")
    return value


def _prefix(value: str) -> str:
    value = value.removeprefix("orch_").partition("_")[0]
    if not _PREFIX.fullmatch(value):
        raise _say("a key is named by its prefix: the 10 letters and digits after orch_")
    return value


def _moment(value: Any) -> Any:
    if not isinstance(value, str | datetime):
        raise _say("a time is text, as in 2027-01-31T12:00:00Z")
    return value


def _future(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise _say("a time has an offset, as in 2027-01-31T12:00:00Z")
    if not timedelta() < value - datetime.now(UTC) <= LONGEST_LIFE:
        raise _say("it lies in the future, and within a hundred years")
    return value.astimezone(UTC)


def _one_of(words: tuple[str, ...]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in words:
            raise _say(f"there are {', '.join(words)}")
        return value

    return check


def _dollars(value: Any) -> int:
    """Millionths. A number with a point is no amount: what JSON makes of 0.1 is a little more than that."""
    try:
        microusd = read_dollars(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else 0
    except ValueError:
        microusd = 0
    if not 1 <= microusd <= MOST_MICROUSD:
        raise _say('an amount is text, in US dollars, as in "12.50": up to 1000000000, with six digits after the point')
    return microusd


def _not_taken(value: str) -> str:
    if value == "alerts":  # there is a list of that name where budgets are
        raise _say("another name; this one is taken")
    return value


def _provider(value: str) -> str:
    value = value.strip()
    return _slug(value) if value else ""


def _rising(values: list[int]) -> list[int]:
    return sorted(set(values))


def _once(values: list[T]) -> list[T]:
    return list(dict.fromkeys(values))


Name = Annotated[str, AfterValidator(_name)]
Slug = Annotated[str, AfterValidator(_slug), Field(json_schema_extra={"pattern": f"^{_SLUG.pattern}$"})]
Prefix = Annotated[str, AfterValidator(_prefix), Field(description="Of a key: the part that may be shown.")]
Moment = Annotated[datetime, Field(strict=False), BeforeValidator(_moment), AfterValidator(_future)]
AnyRole = Annotated[Role, Field(strict=False)]
Dialect = Annotated[str, AfterValidator(_one_of(DIALECTS)), Field(json_schema_extra={"enum": [*DIALECTS]})]
Family = Annotated[str, AfterValidator(_one_of(FAMILIES)), Field(json_schema_extra={"enum": [*FAMILIES]})]
Pattern = Annotated[str, AfterValidator(_pattern)]
Network = Annotated[str, AfterValidator(_network)]
Tag = Annotated[str, AfterValidator(_tag)]
Patterns = Annotated[list[Pattern], Field(max_length=MOST_PATTERNS), AfterValidator(_once)]
Dialects = Annotated[list[Dialect], Field(max_length=len(DIALECTS)), AfterValidator(_once)]
Families = Annotated[list[Family], Field(max_length=len(FAMILIES)), AfterValidator(_once)]
Networks = Annotated[list[Network], Field(max_length=MOST_NETWORKS), AfterValidator(_once)]
Tags = Annotated[list[Tag], Field(max_length=MOST_TAGS), AfterValidator(_once)]
Amount = Annotated[int, Field(ge=1, le=MOST_AMOUNT)]
Period = Annotated[int, Field(ge=1, le=LONGEST_PERIOD_S, description="Of requests and tokens: in so many seconds.")]
Priority = Annotated[int, Field(ge=1, le=10, description="10 gets ten times what 1 gets when there is not enough.")]


Dollars = Annotated[
    int,
    BeforeValidator(_dollars),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,10}(\.[0-9]{1,6})?$", "examples": ["12.50"]}),
]
Shares = Annotated[
    list[Annotated[int, Field(ge=1, le=LARGEST_SHARE)]], Field(max_length=MOST_SHARES), AfterValidator(_rising)
]


def _without_defaults(schema: dict[str, Any]) -> None:
    """What a change leaves out stays as it is, so there is no default to tell of."""
    for field in schema["properties"].values():
        field.pop("default", None)


class Asked(BaseModel):
    """What is there is of its type, and there is nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)


class AskedChange(Asked):
    """What is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    @property
    def given(self) -> dict[str, Any]:
        """What is to be different."""
        return {field: getattr(self, field) for field in self.model_fields_set}


class _Scopes(Asked):
    """What a key is for. An empty list means: any."""

    team: Slug | None = Field(None, description="One of its tenant's.")
    owner: str | None = Field(
        None, max_length=LONGEST_USER_NAME, description="The user name of the person who answers for it."
    )
    role: AnyRole | None = Field(None, description="What it may manage under /api/admin/v1/; null: nothing.")
    reaches_all: bool = Field(False, description="Its role holds for every tenant.")
    model_patterns: Patterns = Field([], description="Which models it may ask: openai/*")
    dialects: Dialects = []
    families: Families = Field([], description="Of endpoints.")
    networks: Networks = Field([], description="Where it may come from: 10.0.0.0/8")
    tags: Tags = Field([], description="Words that every record of its requests has.")
    expires_at: Moment | None = None


class KeyAsked(_Scopes):
    """A key to be made."""

    name: Name
    tenant: Slug = DEFAULT_TENANT


class KeyChange(AskedChange, _Scopes):
    """What is to be different of a key. Its tenant stays."""

    name: Name = ""


class Rotation(Asked):
    """A key that takes the place of another."""

    overlap_s: int = Field(86_400, ge=0, le=LONGEST_OVERLAP_S, description="How long the old one works on; 0: not.")
    expires_at: Moment | None = Field(None, description="Of the new one; null: it lives as long as the old was to.")


class TenantAsked(Asked):
    """A tenant to be made."""

    name: Slug
    priority: Priority = 5


class TenantChange(AskedChange):
    """What is to be different of a tenant."""

    priority: Priority = 5
    suspended: bool = Field(False, description="While it is, none of its keys works.")


class RoleAsked(Asked):
    """A role in one tenant, or in every one."""

    role: AnyRole | None = Field(description="null: none there any more.")
    tenant: Slug | None = Field(description="Of which it holds; null: every one.")


class PersonAsked(Asked):
    """Somebody to be let in."""

    name: str = Field(max_length=LONGEST_USER_NAME, description="Letters, digits and . _ @ + -")
    role: AnyRole
    tenant: Slug | None = Field(description="Of which it holds; null: every one.")


class TeamAsked(Asked):
    """A team to be made."""

    tenant: Slug = DEFAULT_TENANT
    name: Slug


class GrantAsked(Asked):
    """One tenant lets another be answered from its cache."""

    owner: Slug
    reader: Slug


class _Amounts(Asked):
    amount: Amount
    per_s: Period | None = None
    burst: Amount | None = Field(None, description="So many at once; null: as many as the amount.")
    each: Each = Field(description="What is counted apart.")
    model: Annotated[str, AfterValidator(_any_or_pattern)] = Field("", description="A pattern; empty: any.")
    network: Annotated[str, AfterValidator(_any_or_network)] = Field("", description="Empty: anywhere.")
    is_off: bool = False


class LimitAsked(_Amounts):
    """A limit to be made. It is about requests that match every field that is set."""

    name: Slug
    kind: Kind
    tenant: Slug | None = None
    team: Slug | None = Field(None, description="Of the tenant.")
    key: Prefix | None = None


class LimitChange(AskedChange, _Amounts):
    """What is to be different of a limit. What it counts, and whose, stays."""

    amount: Amount = 1
    each: Each = "all"


class _Money(Asked):
    amount_usd: Dollars = Field(description="US dollars, as text: 12.50")
    is_hard: bool = Field(True, description="What would go beyond is refused; otherwise it is only told.")
    shares: Shares = Field([50, 80, 100], description="Percent of it at which somebody is told.")
    is_off: bool = False


class BudgetAsked(_Money):
    """A budget to be made. It is about calls that match every field that is set."""

    name: Annotated[Slug, AfterValidator(_not_taken)]
    period: Renewal = Field(description="When it is renewed, at midnight in UTC; weeks begin on Monday.")
    each: EachOf = Field(description="What is counted apart.")
    tenant: Slug | None = None
    team: Slug | None = Field(None, description="Of the tenant.")
    key: Prefix | None = None
    model: Annotated[str, AfterValidator(_any_or_pattern)] = Field("", description="A pattern; empty: any.")
    provider: Annotated[str, AfterValidator(_provider)] = Field("", description="Empty: any.")


class BudgetChange(AskedChange, _Money):
    """What is to be different of a budget. What it counts, whose and when it is renewed, stays."""

    amount_usd: Dollars = 1


def read(model: type[M], values: Mapping[str, Any]) -> M:
    """What `values` ask for. Raises BadRequest, which tells all that is wrong."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise BadRequest("; ".join(wrong_in(error))) from None


def wrong_in(error: ValidationError) -> list[str]:
    """What is wrong, field by field. Never what was given."""
    return [f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Input ')}" for one in error.errors()]
