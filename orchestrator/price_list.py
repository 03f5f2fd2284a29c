"""What every model charges that operators have to do with, and of which that is not known.

It reads the database and the table of prices, so not on an event loop. Of a provider's own list it knows what the
running product last used of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrator.core.errors import NotThere
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.prices import Price
from orchestrator.models import PriceRow, SpendDay
from orchestrator.pricing.order import LIST, InForce, Place, in_force, place_at
from orchestrator.pricing.rows import kept, last_listed
from orchestrator.registry.entries import LOCAL, DeploymentEntry, ModelEntry, ProviderEntry, Registry
from orchestrator.registry.reading import read_without_keys

LATELY = timedelta(days=30)
MOST_SHOWN = 255  # characters of a name that is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A model at a provider, and what it charges.

    names  what it is registered as.    calls  of unknown cost, lately.    row  which keeps its price; None: unused yet.
    """

    place: Place
    found: InForce
    row: PriceRow | None
    names: tuple[str, ...] = ()
    calls: int = 0

    @property
    def name(self) -> str:
        """As it can be asked for anywhere."""
        return f"{self.place.provider}/{self.place.model}"

    @property
    def since(self) -> datetime | None:
        """From when on an operator said so, or it was first used; None: neither."""
        if self.found.since is not None:
            return datetime.fromtimestamp(self.found.since, UTC)
        return self.row.first_used_at if self.row else None

    @property
    def until(self) -> datetime | None:
        """When it may be another."""
        return None if self.found.until is None else datetime.fromtimestamp(self.found.until, UTC)

    @property
    def is_unknown(self) -> bool:
        """Whether it charges nobody knows what."""
        return self.place.is_paid and self.found.price is None


def price_list(at: datetime) -> list[Line]:
    """Every model that is registered, that an operator said something of, or that was charged for, by its name."""
    registry = read_without_keys()
    asked = _unpriced_lately(at)
    wanted = _wanted(registry, asked)
    lines = list(_lines(registry, wanted, at, asked))
    return sorted(lines, key=lambda line: (line.name, line.names))


def prices_of(name: str, at: datetime) -> list[Line]:
    """What a model charges in each place where it runs. Raises NotThere where that is no provider's."""
    registry = read_without_keys()
    names = {(provider, model, stated): names for provider, model, stated, names in _wanted(registry, ())}
    places = [(*place, names.get(place, ())) for place in places_of(name, registry)]
    return list(_lines(registry, places, at, {}))


def places_of(name: str, registry: Registry) -> list[tuple[str, str, Price | None]]:
    """Provider, model as it calls it, and what is said where it is registered, of each place of a model.

    Raises NotThere.
    """
    lower = name.lower()
    for entry in registry.models:
        if lower in {one.lower() for one in (entry.name, *entry.aliases)} and entry.is_deployed:
            return [(one.provider, one.remote_name, _stated(one)) for one in _elsewhere(entry)]
    provider, _, model = name.partition("/")
    if not model or provider not in {one.name for one in registry.providers}:
        raise NotThere(f"There is no model {name[:MOST_SHOWN]!r}: name one of the registry, or PROVIDER/MODEL.")
    return [(provider, model, None)]


def unpriced(at: datetime) -> list[Line]:
    """Those that charge nobody knows what."""
    return [line for line in price_list(at) if line.is_unknown]


def _lines(
    registry: Registry,
    wanted: Iterable[tuple[str, str, Price | None, tuple[str, ...]]],
    at: datetime,
    asked: dict[tuple[str, str], int],
) -> Iterator[Line]:
    sellers = {one.name: one for one in registry.providers}
    listed = last_listed(LIST)
    lines = []
    for provider, model, stated, names in wanted:
        place = _place(sellers.get(provider), provider, model, stated, listed.get((provider, model.lower())))
        lines.append((place, in_force(place, registry.stated, at.timestamp()), names))
    rows = iter(kept([(place.provider, place.model, found.price) for place, found, _ in lines if found.price]))
    for place, found, names in lines:
        row = next(rows) if found.price else None
        calls = asked.get((place.provider, place.model), 0)
        yield Line(place=place, found=found, row=row, names=names, calls=calls)


def _place(
    seller: ProviderEntry | None, provider: str, model: str, stated: Price | None, listed: Price | None
) -> Place:
    if seller is None:  # it is off
        return Place(provider=provider, model=model, is_paid=False, stated=stated, listed=listed)
    return place_at(seller, model, stated=stated, listed=listed)


def _wanted(
    registry: Registry, asked: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, str, Price | None, tuple[str, ...]]]:
    """Provider, model, what is said where it is registered, and what it is registered as."""
    names: defaultdict[tuple[str, str, Price | None], list[str]] = defaultdict(list)
    for entry in registry.models:
        for one in _elsewhere(entry):
            names[one.provider, one.remote_name, _stated(one)].append(entry.name)
    seen = {(provider, model.lower()) for provider, model, _ in names}
    others = [(one.provider, one.model) for one in registry.stated]
    used = PriceRow.objects.filter(last_used_at__isnull=False)  # callers may ask for any name
    others += used.values_list("provider", "model").distinct()
    for provider, model in sorted({*others, *asked}):
        if (provider, model.lower()) not in seen:
            seen.add((provider, model.lower()))
            names[provider, model, None] = []
    return ((*place, tuple(registered)) for place, registered in names.items())


def _elsewhere(entry: ModelEntry) -> list[DeploymentEntry]:
    return [one for one in entry.deployments if one.provider not in {"", LOCAL} and not entry.is_off]


def _stated(one: DeploymentEntry) -> Price | None:
    if one.input_price is None or one.output_price is None:
        return None
    return Price(input=one.input_price, output=one.output_price)


def _unpriced_lately(at: datetime) -> dict[tuple[str, str], int]:
    """How many calls of unknown cost each provider's models had."""
    found: defaultdict[tuple[str, str], int] = defaultdict(int)
    days = SpendDay.objects.of(EVERYBODY).filter(day__gte=(at - LATELY).date(), unpriced__gt=0)
    for provider, model, calls in days.values_list("provider", "model", "unpriced"):
        found[provider, model.removeprefix(f"{provider}/")] += calls
    return dict(found)
