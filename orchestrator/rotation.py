"""A new master secret takes the place of the old one, and everything that was sealed goes over to it.

    What hangs on it            goes over
    providers' keys             at once, those of older versions too
    second factors, the audit   at once
    API keys' digests           each when its key is next used: nobody else has it
    sessions, signed links      are known by the old one until it is retired, or they end
    kept answers, purges told   the same; what is kept anew is sealed with the new one

Each step can be repeated. Killed between any two of them, everything opens with what the file holds by then, and
the next run goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from django.db.models import Q
from django.utils import timezone

from orchestrator import audit
from orchestrator.core import secrets
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.secrets import Masters
from orchestrator.identity import second_factor
from orchestrator.identity.digests import is_of_now
from orchestrator.models import ApiKey
from orchestrator.registry.reseal import reseal
from orchestrator.registry.seal import Sealer


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one kind of sealed things."""

    resealed: int
    unopened: tuple[str, ...] = ()  # in words: what could not be opened with any secret there is, and stays


def _providers_keys(masters: Masters) -> Done:
    sealer = Sealer(*masters.keys("provider keys"))
    done = reseal(sealer, sealer)
    return Done(done.keys, tuple(f"{name}: {why}" for name, why in done.unopened.items()))


def _second_factors(masters: Masters) -> Done:
    resealed, unopened = second_factor.reseal(masters.keys("second factors"))
    return Done(resealed, tuple(f"{name}: its secret was sealed with another master secret" for name in unopened))


def _audit(masters: Masters) -> Done:
    resealed, broken = audit.reseal(masters.keys("audit"))
    return Done(resealed, (f"event {broken.number}: {broken.words}",) if broken else ())


# What is sealed in the database, and can be opened and sealed anew without anybody's help. Each is all or nothing.
SEALED: dict[str, Callable[[Masters], Done]] = {
    "providers' keys": _providers_keys,
    "second factors": _second_factors,
    "audit": _audit,
}


def rotate(path: Path) -> dict[str, Done]:
    """Make a new master secret and seal everything with it; or end what an earlier run began. Nothing else may run."""
    masters = secrets.read(path)
    if not masters.is_unfinished:
        masters = secrets.renewed(masters)
        secrets.write(path, masters)
    done = {name: go_over(masters) for name, go_over in SEALED.items()}
    secrets.write(path, replace(masters, is_unfinished=False))
    return done


def hanging_on(masters: Masters) -> list[ApiKey]:
    """The keys that still work, and would not without the former secrets."""
    if not masters.former:
        return []
    lives = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    return [key for key in ApiKey.objects.of(EVERYBODY).filter(lives).order_by("prefix") if not is_of_now(key.digest)]


def retire(path: Path) -> int:
    """Forget the former secrets, and return how many there were. What hangs on them is void."""
    masters = secrets.read(path)
    secrets.write(path, replace(masters, former=()))
    return len(masters.former)
