"""What is told of who may ask, and how much."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from orchestrator.api.answers.shape import Count, Moment, Shape


class ApiKeyTold(Shape):
    """A key, without what it opens with."""

    prefix: str = Field(description="What it is called by: the part that may be shown.")
    name: str
    tenant: str
    team: str | None
    owner: str | None
    role: Literal["viewer", "operator", "auditor", "admin"] | None
    reaches_all: bool
    model_patterns: list[str]
    dialects: list[str]
    families: list[str]
    networks: list[str]
    tags: list[str]
    state: Literal["working", "expired", "revoked"]
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    last_used_at: Moment | None = Field(description="To about a minute.")
    replaces: str | None = Field(description="The prefix of the key in whose place it is.")


class ApiKeyIssued(ApiKeyTold):
    """A new key."""

    key: str = Field(description="What it opens with. It is told once.")


class ApiKeysTold(Shape):
    """Keys, newest first."""

    keys: list[ApiKeyTold]
    next: str | None


class TenantTold(Shape):
    """A tenant."""

    name: str
    priority: Count
    suspended_at: Moment | None
    created_at: Moment


class TenantsTold(Shape):
    """Tenants, by name."""

    tenants: list[TenantTold]
    next: str | None


class RoleTold(Shape):
    """What somebody may do, and where."""

    tenant: str | None = Field(description="null: every one.")
    role: Literal["viewer", "operator", "auditor", "admin"]


class PersonTold(Shape):
    """Somebody who may sign in."""

    name: str
    roles: list[RoleTold] = Field(description="Those that the key may see; without any nothing is shown to them.")
    has_second_factor: bool
    created_at: Moment
    last_sign_in_at: Moment | None


class LinkTold(Shape):
    """A link that signs somebody in."""

    link: str = Field(
        description="The path of a page here that signs them in once, within three days. It is told once."
    )


class PersonInvited(PersonTold, LinkTold):
    """Somebody who was let in."""


class PersonChanged(PersonTold):
    """Somebody with another role."""

    signed_out: bool = Field(
        description="The role reaches further than before: they have to sign in anew, and open links are void."
    )


class PeopleTold(Shape):
    """People, by name."""

    people: list[PersonTold]
    next: str | None


class TeamTold(Shape):
    """A team."""

    tenant: str
    name: str
    created_at: Moment


class TeamsTold(Shape):
    """Teams, by tenant and name."""

    teams: list[TeamTold]
    next: str | None


class GrantTold(Shape):
    """A tenant that may be answered from another's cache."""

    owner: str
    reader: str
    created_at: Moment


class GrantsTold(Shape):
    """Grants, by owner and reader."""

    grants: list[GrantTold]
    next: str | None


class LimitTold(Shape):
    """A limit."""

    name: str
    kind: Literal["requests", "tokens", "concurrent", "cache_bytes", "queue", "stream_s"]
    each: Literal["key", "team", "tenant", "model", "address", "all"]
    amount: Count
    per_s: Count | None
    burst: Count | None
    tenant: str | None
    team: str | None
    key: str | None = Field(description="The key's prefix.")
    model: str
    network: str
    is_off: bool


class LimitsTold(Shape):
    """Limits, by name."""

    limits: list[LimitTold]
    next: str | None


class EventTold(Shape):
    """Who changed what."""

    number: Count
    at: Moment
    actor: str = Field(description="`user:`, `key:` or `command:`, and a name.")
    action: str
    subject: str
    tenant: str | None
    details: dict[str, Any]
    request_id: str


class EventsTold(Shape):
    """Events, newest first."""

    events: list[EventTold]
    next: Count | None


class Deleted(Shape):
    """It is gone."""

    deleted: bool
