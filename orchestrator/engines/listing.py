"""Which models a provider has: as it lists them, and as its wire takes them to be where it does not."""

from __future__ import annotations

import hashlib
import json
import logging
from asyncio import Task, create_task, timeout, wait
from collections.abc import Mapping

from orchestrator.core.clock import Clock
from orchestrator.core.errors import BadRequest, EngineError, ModelNotFound
from orchestrator.core.extras import asked_in
from orchestrator.core.types import JSON, Model
from orchestrator.engines.remote import Remote
from orchestrator.engines.wires.base import ODD, Offer

log = logging.getLogger(__name__)

LONGEST_NAME = 255  # characters, the provider's among them: records hold no more, and a header should not
FRESH_S = 300.0
DEADLINE_S = 3.0
RETRY_S = 30.0
GLANCE_S = 0.25  # what questions wait for the first list; where it stands is not known, and it may never be asked


class Listing:
    """A provider's list of models, asked for again when it is old."""

    def __init__(self, remote: Remote, clock: Clock, extra_body: Mapping[str, JSON]) -> None:
        """`extra_body` is part of what a model is: another routing is another model."""
        self._remote = remote
        self._wire = remote.wire
        self._clock = clock
        self._extra_body = extra_body
        self._extras = asked_in(extra_body)
        self._offered: dict[str, tuple[Offer, Model]] = {}  # by the provider's name, in lower case
        self._looking: Task[None] | None = None  # under way
        self._again_at = float("-inf")
        self._was_tried = False  # well or not
        self._lists = True  # as far as is known: a change is said, once
        self._goes_by_guess_at: float | None = None  # when no question waits for the first list any more

    async def models(self) -> list[Model]:
        """What the provider lists.

        Only the first look is waited for, by who wants to see the list; later ones are made beside, and until they
        come the older list holds.
        """
        self.look()
        if self._looking and not self._was_tried:
            await wait({self._looking})
        return self.known()

    def known(self) -> list[Model]:
        """What it listed when it was last asked."""
        return [model for _, model in self._offered.values()]

    def look(self) -> None:
        """Begin to ask for the list, when it is time to."""
        if self._clock.monotonic() >= self._again_at and self._looking is None:
            self._looking = create_task(self._list())

    async def find(self, name: str) -> Model | None:
        """The model `provider/name` means; a name the provider does not list is asked for all the same.

        Providers serve models they do not list (aliases, previews), so only they can say no. What the list tells is
        worth a moment of waiting and no more: every question that may go there waits, though others are asked first.
        """
        if len(name) > LONGEST_NAME or not _can_be_asked(name):
            return None
        provider, separator, remote_name = name.partition("/")
        if provider.lower() != self._remote.name or not separator or not remote_name:
            return None
        if self._wire.tells:  # what the model can do, and which version of it answers
            await self._glance()
        key = self._key(remote_name)
        return self._offered[key][1] if key in self._offered else self.model(self.offer(remote_name))

    def offer(self, remote_name: str) -> Offer:
        """What is known of a model: from the list, or by its name."""
        key = self._key(remote_name)
        return self._offered[key][0] if key in self._offered else self._wire.guess(self._wire.canonical(remote_name))

    def model(self, offer: Offer) -> Model:
        """It, as everybody knows models."""
        name = f"{self._remote.name}/{offer.name}"
        identity = f"{self._remote.connection.address}\n{name}" + (f"\n{offer.version}" if offer.version else "")
        if self._extra_body:  # another routing is another model
            identity += "\n" + json.dumps(dict(self._extra_body), sort_keys=True)
        return Model(
            name=name,
            digest=hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest(),
            engine=self._remote.name,
            capabilities=offer.capabilities,
            takes=self._takes(offer),
            is_paid=self._remote.account.is_paid,
            price=offer.price,
            remote_name=offer.name,
            family=offer.family or self._remote.name,
            size=offer.size,
            modified_at=offer.modified_at,
            parameter_size=offer.parameter_size,
            quantization=offer.quantization,
            context_length=offer.context_length,
            most_output=offer.most_output,
            extras=self._extras,
        )

    def close(self) -> None:
        """Ask no more."""
        if self._looking:
            self._looking.cancel()

    def _takes(self, offer: Offer) -> frozenset[str]:
        if "completion" not in offer.capabilities:
            return self._wire.takes_for_vectors
        return offer.takes or self._wire.takes

    def _key(self, remote_name: str) -> str:
        return self._wire.canonical(remote_name).lower()

    async def _glance(self) -> None:
        """Look, and wait a moment for the first list: once, however many questions come in it."""
        self.look()
        if self._looking is None or self._was_tried:
            return
        now = self._clock.monotonic()
        if self._goes_by_guess_at is None:
            self._goes_by_guess_at = now + GLANCE_S
        if now < self._goes_by_guess_at:
            await wait({self._looking}, timeout=self._goes_by_guess_at - now)

    async def _list(self) -> None:
        fresh_s = RETRY_S
        try:
            with self._remote.errors():
                async with timeout(DEADLINE_S):
                    data = await self._remote.get(self._wire.listing, "the list of models")
            offers = [offer for offer in self._wire.offers(data) if _can_be_asked(offer.name)]
            self._offered = {self._key(offer.name): (offer, self.model(offer)) for offer in offers}
            fresh_s = FRESH_S
            self._say_if_it_lists()
        except (EngineError, ModelNotFound, BadRequest) as error:
            self._say_if_it_lists(str(error))
        except ODD:
            self._say_if_it_lists("it sent something else")
        finally:
            self._again_at = self._clock.monotonic() + fresh_s
            self._was_tried = True
            self._looking = None

    def _say_if_it_lists(self, why: str = "") -> None:
        """Log when that has changed; `why` it does not, or nothing."""
        if why and self._lists:
            log.warning("%s did not list its models: %s", self._remote.name, why)
        elif not why and not self._lists:
            log.warning("%s lists its models again", self._remote.name)
        self._lists = not why


def _can_be_asked(name: str) -> bool:
    """Whether a model may be called so: other letters could make it look like another, or move a terminal."""
    return name.isascii() and name.isprintable()
