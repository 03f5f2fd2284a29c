"""What the router learns from what was said of answers: snapshots, each made from the last and what is new."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence, Set
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone

from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.trouble import Trouble
from orchestrator.ledger.sql import table
from orchestrator.models import AnswerOutcome, RequestRecord, RouteDecision, RouterState

if TYPE_CHECKING:
    from routing.predictor.types import Outcome, Place, State

log = logging.getLogger(__name__)
_trouble = Trouble(log, "To learn from what is said of answers", "it waits")
MOST = 1_000  # outcomes in one batch
KEPT = 5  # snapshots
Asked = tuple[int, str]  # tenant, and a request's id, which is the caller's
NOTHING = 0  # what was learned in it: of an answer that the router did not choose, or that a model was not sure


def learn_due() -> int:
    """Learn from what was said since the last time, and return how much that was.

    It takes a second where much was said, in which nobody waits to write. Who changes their mind meanwhile is heard the
    next time, as whoever does so later; where another snapshot was made meanwhile, nothing is learned until then.
    """
    due = list(AnswerOutcome.objects.of(EVERYBODY).filter(learned_in__isnull=True).order_by("id")[:MOST])
    if not due:
        return 0
    # Only here: numpy takes a tenth of a second and 25 MB, for which there is no use while nothing was said.
    from routing.predictor.priors import Unusable, shipped
    from routing.predictor.snapshot import to_bytes
    from routing.predictor.state import learn

    try:
        shipped()
    except Unusable as error:
        _trouble.met(error)
        return 0
    _trouble.over()
    found = list(with_places(due))
    before, count = _newest()
    state = learn(before, [outcome for outcome, _ in found])
    with transaction.atomic():
        if newest_version() != before.version:
            return 0
        if found:
            RouterState.objects.create(
                version=state.version, at=timezone.now(), outcomes=count + len(found), state=to_bytes(state)
            )
            RouterState.objects.filter(version__lte=state.version - KEPT).delete()
        learned, same = {row.pk for _, row in found}, _unchanged(due)
        rows = AnswerOutcome.objects.of(EVERYBODY)
        rows.filter(pk__in=same & learned).update(learned_in=state.version)
        rows.filter(pk__in=same - learned).update(learned_in=NOTHING)
    return len(found)


def _unchanged(due: Sequence[AnswerOutcome]) -> set[int]:
    """Of outcomes that were read, those of which nobody has said anything else since."""
    read = {row.pk: row.at for row in due}
    now = AnswerOutcome.objects.of(EVERYBODY).filter(pk__in=read).values_list("pk", "at")
    return {pk for pk, at in now if at == read[pk]}


def forget() -> int:
    """Begin anew from the shipped priors, and return the number of the snapshot that knows nothing."""
    from routing.predictor.snapshot import to_bytes
    from routing.predictor.types import State

    with transaction.atomic():
        newest = RouterState.objects.order_by("-version").first()
        version = (newest.version if newest else 0) + 1
        RouterState.objects.create(version=version, at=timezone.now(), outcomes=0, state=to_bytes(State(version)))
    return version


def learned() -> dict[str, Any]:
    """Of which models something was learned, from how much, and how many outcomes wait for that. One query."""
    row: Any  # with `waiting` beside its columns
    (row,) = RouterState.objects.raw(
        f"SELECT newest.*, due.waiting FROM (SELECT count(*) AS waiting FROM {table(AnswerOutcome)}"  # noqa: S608  # our own names
        f" WHERE learned_in IS NULL) AS due LEFT JOIN (SELECT * FROM {table(RouterState)}"
        " ORDER BY version DESC LIMIT 1) AS newest ON true"
    )
    found: dict[str, Any] = {"version": 0, "at": None, "outcomes": 0, "models": [], "waiting": row.waiting}
    if row.pk is None:  # there is no snapshot
        return found
    state, _ = _read(row)
    models = [
        {
            "model": name,
            "ability": round(one.ability, 3),
            "seen": round(one.seen, 3),
            "level": round(float(one.mean[0]), 4),
        }
        for name, one in sorted(state.models.items())
    ]
    return found | {"version": row.version, "at": row.at.isoformat(), "outcomes": row.outcomes, "models": models}


def newest_version() -> int:
    """Of what was learned; 0: nothing was."""
    return RouterState.objects.order_by("-version").values_list("version", flat=True).first() or 0


def newest_state() -> tuple[int, bytes | None]:
    """The snapshot to go by, and its number."""
    row = RouterState.objects.order_by("-version").first()
    return (row.version, bytes(row.state)) if row is not None else (0, None)


def _newest() -> tuple[State, int]:
    return _read(RouterState.objects.order_by("-version").first())


def _read(row: RouterState | None) -> tuple[State, int]:
    """The state of a snapshot, and of how many outcomes it is; one that knows nothing where there is none."""
    from routing.predictor.snapshot import from_bytes
    from routing.predictor.types import State

    if row is None:
        return State(), 0
    try:
        return from_bytes(bytes(row.state)), row.outcomes
    except ValueError as error:
        log.warning("What the router had learned is of no use, so it begins anew: %s", error)
        return State(row.version), 0


def with_places(due: Sequence[AnswerOutcome]) -> Iterable[tuple[Outcome, AnswerOutcome]]:
    """What can be learned of each, where the router chose and it is known where the question lies.

    A decision that cannot be read teaches nothing, and is told in the log.
    """
    from routing.predictor.places import unpacked_place
    from routing.predictor.priors import shipped

    priors = shipped()
    width = len(priors.frame.mean) + priors.frame.axes.shape[1]
    decided = _decided({(row.tenant_id, row.request_id) for row in due})
    unread: dict[int, Exception] = {}
    for row in due:
        decision = decided.get((row.tenant_id, row.request_id))
        if decision is None or decision.vector is None:
            continue
        try:
            place = unpacked_place(bytes(decision.vector), priors.digest, width)
            outcome = None if place is None else _outcome(row, decision, place)
        except Exception as error:  # noqa: BLE001  # whatever ails one, the others are learned from
            unread[decision.pk] = error
            continue
        if outcome is not None:
            yield outcome, row
    if unread:
        number, why = next(iter(unread.items()))
        words = "Of %d decisions nothing is learned, as they cannot be read: number %d (%s), for one"
        log.error(words, len(unread), number, type(why).__name__)
        log.debug("This is where it failed.", exc_info=why)


def _outcome(row: AnswerOutcome, decision: RouteDecision, place: Place) -> Outcome | None:
    """What can be learned of one. Any error where the decision is not as it was written."""
    from routing.predictor.types import WEIGHTS, Outcome

    weights = {str(kind): weight for kind, weight in WEIGHTS.items()}
    document = json.loads(decision.document)
    model = _name(document, row.model)
    ability = _abilities(document).get(model)
    if ability is None or row.kind not in weights:
        return None
    is_first = _first(document) == model
    return Outcome(
        model=model,
        ability=float(ability),
        tenant=str(row.tenant_id),
        place=place,
        good=min(max(row.good, 0.0), 1.0),
        weight=weights[row.kind],
        propensity=decision.propensity if is_first and decision.propensity else 1.0,
    )


def _decided(asked: Set[Asked]) -> dict[Asked, RouteDecision]:
    """The decision that led to the answer of each: its own, or of a kept answer that of the request it was made for."""
    own = _decisions(asked)
    makers = _makers(asked - own.keys())
    theirs = _decisions(set(makers.values()))
    return own | {one: theirs[maker] for one, maker in makers.items() if maker in theirs}


def _decisions(asked: Set[Asked]) -> dict[Asked, RouteDecision]:
    """The decision of each, where it has a place; the newest where there are two."""
    rows = RouteDecision.objects.of(EVERYBODY).filter(request_id__in={one for _, one in asked}, vector__isnull=False)
    return {(row.tenant_id, row.request_id): row for row in rows.order_by("id")}


def _makers(asked: Set[Asked]) -> dict[Asked, Asked]:
    """The request whose call made the answer of each; not where it is another tenant's."""
    rows = RequestRecord.objects.of(EVERYBODY).filter(request_id__in={one for _, one in asked})
    rows = rows.filter(saved_of__isnull=False, granted_by__isnull=True).order_by("id")
    found = rows.values_list("tenant_id", "request_id", "saved_of")
    return {(tenant, one): (tenant, str(maker)) for tenant, one, maker in found if (tenant, one) in asked}


def _abilities(document: dict[str, Any]) -> dict[str, float]:
    """Where each candidate stood before anything was learned of it."""
    found = document.get("abilities")
    return found if isinstance(found, dict) else {}


def _name(document: dict[str, Any], answered: str) -> str:
    """What the router calls a model, by what it is called where it answered."""
    found = document.get("names")
    return str(found.get(answered, answered)) if isinstance(found, dict) else answered


def _first(document: dict[str, Any]) -> str:
    """Who was to be asked first."""
    choices = document.get("decision", {}).get("choices", [])
    return next((str(one["name"]) for one in choices if one["place"] == 0), "")
