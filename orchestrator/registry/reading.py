"""The registry as it is: what is on, from the database and the environment, and why the rest is off."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from django.db.models import OuterRef, Subquery
from django.utils import timezone

from orchestrator.core.changing import of_one
from orchestrator.core.presets import BY_NAME, KINDS
from orchestrator.core.prices import Price, Stated
from orchestrator.registry.entries import LOCAL, DeploymentEntry, ModelEntry, ProviderEntry, Registry
from orchestrator.registry.models import (
    Deployment,
    Provider,
    ProviderCheck,
    RegisteredModel,
    RegistryVersion,
    StatedPrice,
)
from orchestrator.registry.rows import rows_of, tell, wrong_in_model, wrong_in_provider
from orchestrator.registry.settled import (
    ITS_ADDRESS,
    ITS_KEY,
    Key,
    Place,
    charges,
    in_environment,
    key_of,
    place_of,
    why_off,
)

T = TypeVar("T")
RECENT = timedelta(minutes=5)  # an older check says nothing of now
CHECKS_READ = 1000
NO_KEY = Key()
FAILURES = 2  # in a row: one may be chance


@dataclass(frozen=True, slots=True)
class Off:
    """A provider that is not asked, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What is on and what is not."""

    registry: Registry
    off: tuple[Off, ...] = ()


def read() -> Registry:
    """All that is on. It asks the database, so not on an event loop."""
    return look().registry


def look() -> Reading:
    """All that is on, and why the rest is off."""
    return of_one_version(_look)[1]


def of_one_version(ask: Callable[[int], T]) -> tuple[int, T]:
    """A version and what `ask` finds in the tables, asked again when they changed meanwhile."""
    return of_one(newest_version, ask)


def newest_version() -> int:
    """The number of the last change; 0 before the first."""
    return RegistryVersion.objects.order_by("-number").values_list("number", flat=True).first() or 0


def resets() -> dict[str, float]:
    """When an operator last said of a provider that it is well, in seconds since the epoch."""
    said = Provider.objects.filter(reset_at__isnull=False).values_list("name", "reset_at")
    return {name: at.timestamp() for name, at in said if at}


def down_providers() -> frozenset[str]:
    """Those whose last two checks failed, both of them recently and since an operator last said that it is well."""
    reset_at = Provider.objects.filter(name=OuterRef("provider")).values("reset_at")[:1]
    newest = (
        ProviderCheck.objects.filter(at__gte=timezone.now() - RECENT)
        .annotate(reset_at=Subquery(reset_at))
        .order_by("-id")
        .values_list("provider", "is_ok", "at", "reset_at")[:CHECKS_READ]
    )
    last: dict[str, list[bool]] = defaultdict(list)
    for provider, is_ok, at, reset in newest:
        if len(last[provider]) < FAILURES:
            last[provider].append(is_ok or (reset is not None and at <= reset))
    return frozenset(name for name, ok in last.items() if len(ok) == FAILURES and not any(ok))


def read_without_keys() -> Registry:
    """The same, with every provider that nobody switched off, whether its key is known here or not: none is opened."""
    rows, _, names = _providers()
    return Registry(
        providers=tuple(
            _entry(row, place_of(row.name, row.kind, row.address))
            for row in rows
            if row.is_enabled and not wrong_in_provider(row) and row.kind in KINDS
        ),
        models=tuple(_models(rows_of(RegisteredModel.objects.prefetch_related("deployments"))[0], names)),
        stated=stated_prices(),
    )


def _providers() -> tuple[list[Provider], dict[str, str], dict[int, str]]:
    """Those of the database and the environment; why others cannot be read; and names by number."""
    rows, unread = rows_of(Provider.objects.all())
    known = {row.name for row in rows} | unread.keys()
    rows += [_unwritten(name) for name in in_environment() if name not in known]
    return rows, unread, {row.pk: row.name for row in rows if row.pk}


def _look(version: int) -> Reading:
    rows, unread, names = _providers()
    entries, off = [], [Off(name, why) for name, why in unread.items()]
    for row in rows:
        found = provider_of(row)
        if isinstance(found, Off):
            off.append(found)
        else:
            entries.append(found)
    models = RegisteredModel.objects.prefetch_related("deployments")
    registry = Registry(
        version=version,
        providers=tuple(sorted(entries, key=lambda entry: entry.name)),
        models=tuple(_models(rows_of(models)[0], names)),
        stated=stated_prices(),
    )
    return Reading(registry, tuple(sorted(off, key=lambda one: one.name)))


def stated_prices() -> tuple[Stated, ...]:
    """What operators say that models charge, the later word after the earlier one."""
    return tuple(
        Stated(provider=row.provider, model=row.model, since=row.holds_from.timestamp(), price=_stated(row))
        for row in rows_of(StatedPrice.objects.order_by("id"), named="model")[0]
    )


def _stated(row: StatedPrice) -> Price | None:
    if row.input is None or row.output is None:
        return None
    return Price(
        input=row.input,
        output=row.output,
        cache_read=row.cache_read,
        cache_write=row.cache_write,
        cache_write_1h=row.cache_write_1h,
    )


def _unwritten(name: str) -> Provider:
    """A provider of the environment that has no row yet."""
    return Provider(name=name, kind=name, is_paid=BY_NAME[name].is_paid or None, is_from_environment=True)


def provider_of(row: Provider) -> ProviderEntry | Off:
    """The provider that a row is, or why it is none at the moment."""
    if not row.is_enabled:
        return Off(row.name, "it is switched off")
    if why := wrong_in_provider(row):
        tell(f"provider {row.name}", why)
        return Off(str(row.name), why)
    place = place_of(row.name, row.kind, row.address)
    key = key_of(row.name, row.kind, row.sealed_key, place)
    if why := why_off(row.name, row.kind, place, key, has_sealed_key=bool(row.sealed_key)):
        if row.sealed_key and why == key.why:
            tell(f"provider {row.name}", why, "off")
        return Off(row.name, why)
    return _entry(row, place, key)


def _entry(row: Provider, place: Place, key: Key = NO_KEY) -> ProviderEntry:
    return ProviderEntry(
        name=row.name,
        kind=row.kind,
        address=place.address,
        key=key.value,
        address_from=place.source or ITS_ADDRESS,
        key_from=key.source or ITS_KEY,
        connect_timeout_s=row.connect_timeout_s,
        first_token_timeout_s=row.first_token_timeout_s,
        token_timeout_s=row.token_timeout_s,
        answer_timeout_s=row.answer_timeout_s,
        slow_after_s=row.slow_after_s,
        most_calls=row.most_calls,
        is_paid=charges(row.kind, place.address) if row.is_paid is None else row.is_paid,
        is_paid_by_default=row.is_paid is None and not KINDS[row.kind].is_paid and charges(row.kind, place.address),
        lists_models=row.lists_models,
        extra_body=row.extra_body,
        reset_at=row.reset_at.timestamp() if row.reset_at else 0.0,
    )


def _models(rows: Iterable[RegisteredModel], names: dict[int, str]) -> Iterator[ModelEntry]:
    for row in rows:
        if why := wrong_in_model(row):
            tell(f"model {row.name}", why)
        else:
            yield _model(row, names)


def _model(row: RegisteredModel, names: dict[int, str]) -> ModelEntry:
    return ModelEntry(
        name=row.name,
        aliases=tuple(row.aliases),
        tags=tuple(row.tags),
        deployments=tuple(_deployment(one, names) for one in row.deployments.all() if one.is_enabled),
        is_deployed=bool(row.deployments.all()),
        is_off=not row.is_enabled,
        balance=row.balance,  # type: ignore[arg-type]  # one of the words that are allowed
        fallbacks=tuple(row.fallbacks),
        hedge_after_s=row.hedge_after_s,
        context_length=row.context_length,
        capabilities=frozenset(row.capabilities),
    )


def _deployment(row: Deployment, names: dict[int, str]) -> DeploymentEntry:
    return DeploymentEntry(
        provider=LOCAL if row.provider_id is None else names.get(row.provider_id, ""),
        remote_name=row.remote_name,
        rank=row.rank,
        weight=row.weight,
        input_price=row.input_price,
        output_price=row.output_price,
    )
