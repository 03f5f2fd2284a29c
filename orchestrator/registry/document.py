"""The whole registry as one JSON document, in the form that people write and read.

What is wrong with one field is told here; what does not fit together, in `rules`. Keys go in and never come out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from math import isfinite
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from orchestrator.core.addresses import check_address, is_key
from orchestrator.core.documents import Fault, WrongDocument, fault_of, value_of
from orchestrator.core.presets import KINDS
from orchestrator.core.prices import plain
from orchestrator.core.types import Balance
from orchestrator.registry.entries import LOCAL

CAPABILITIES = ("completion", "embedding", "insert", "thinking", "tools", "vision")
LONGEST_S = 3600.0
MOST_PROVIDERS, MOST_MODELS, MOST_DEPLOYMENTS, MOST_NAMES = 200, 5000, 64, 32
MOST_EXTRA = 8192  # bytes of JSON
DEEPEST_EXTRA = 20
LONGEST_KEY = 4096


def _say(words: str) -> PydanticCustomError:
    return PydanticCustomError("registry", "{words}", {"words": words})


def _address(value: str) -> str:
    try:
        return check_address(value) if value else value
    except ValueError:
        raise _say(
            "an address begins with http:// or https://, and is of a host, a port and a path at most, without spaces"
        ) from None


def _kind(value: str) -> str:
    if value not in KINDS:
        raise _say(f"there is no such kind; there are {', '.join(KINDS)}")
    return value


def _name(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise _say("a name has no space at its ends, and nothing that cannot be printed")
    return value


def _price(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise _say('a price is a number of US dollars for a million tokens, as in 2.5 or "2.50"')
    return value


def _capability(value: str) -> str:
    if value not in CAPABILITIES:
        raise _say(f"there is no such capability; there are {', '.join(CAPABILITIES)}")
    return value


def _extra(value: dict[str, Any]) -> dict[str, Any]:
    levels = _levels(value)
    if len(levels) > DEEPEST_EXTRA:
        raise _say(f"it is nested deeper than {DEEPEST_EXTRA}")
    if any(_is_too_large(one) for level in levels for one in level):
        raise _say("a number may have 64 bits at most; write it as text")
    try:
        size = len(json.dumps(value, allow_nan=False).encode())
    except (ValueError, TypeError):
        raise _say("it holds something that JSON cannot") from None
    if size > MOST_EXTRA:
        raise _say(f"it may have {MOST_EXTRA} bytes at most")
    return value


def _levels(value: Any) -> list[list[Any]]:
    """Everything that a value holds, by how deep it is."""
    levels = [[value]]
    while level := [
        inner
        for one in levels[-1]
        for inner in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
    ]:
        levels.append(level)
    return levels


def _is_too_large(value: Any) -> bool:
    """Whether it is a number that not everybody reads alike: beyond 64 bits a body has it as a float by now."""
    if isinstance(value, float):
        return isfinite(value) and not -(2**63) < value < 2**64
    return isinstance(value, int) and not -(2**63) <= value < 2**64


Seconds = Annotated[float, Field(ge=0.05, le=LONGEST_S, allow_inf_nan=False)]
Price = Annotated[
    Decimal,
    BeforeValidator(_price),
    Field(ge=0, max_digits=12, decimal_places=6, allow_inf_nan=False, strict=False),
    PlainSerializer(plain, return_type=str),
]
ProviderName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,38}$")]
ModelName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_name)]
Capability = Annotated[str, AfterValidator(_capability), Field(json_schema_extra={"enum": list(CAPABILITIES)})]
Word = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_name)]


class Part(BaseModel):
    """An object of the document: these fields and no other, and no value is taken for what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class KeyShown(Part):
    """What is told of a key. Sent back it changes nothing."""

    set: bool
    source: str | None = Field(None, alias="from", description="`registry`, or the variable it is from.")
    hint: str | None = Field(None, description="Its last characters.")


class ProviderPart(Part):
    """Where models run: an account with a cloud, or a server of one's own. Its models are `name/…`."""

    kind: Annotated[str, AfterValidator(_kind), Field(json_schema_extra={"enum": list(KINDS)})] = Field(
        description="What it speaks, and its usual address."
    )
    address: Annotated[str, Field(max_length=300), AfterValidator(_address)] = Field(
        "", description="Empty: from the environment, else the usual one of its kind."
    )
    key: SecretStr | KeyShown | None = Field(
        None, description="Written only. Left out, or as it was told: it stays as it is; null: it is taken away."
    )
    connect_timeout_s: Seconds | None = None
    first_token_timeout_s: Seconds | None = None
    token_timeout_s: Seconds | None = None
    answer_timeout_s: Seconds | None = None
    slow_after_s: Seconds | None = Field(None, description="A first token later than this counts against it.")
    most_calls: int | None = Field(None, ge=1, le=100_000, description="At once, from each process.")
    is_paid: bool | None = Field(
        None, description="It charges. Null: as its kind does, and whoever is on the internet."
    )
    lists_models: bool = Field(True, description="What it lists is shown beside what is registered.")
    extra_body: Annotated[dict[str, Any], AfterValidator(_extra)] = Field(
        {}, description="Sent along with each question."
    )
    is_enabled: bool = True

    @model_validator(mode="after")
    def _settle(self) -> ProviderPart:
        if self.is_paid is None and KINDS[self.kind].is_paid:
            self.__dict__["is_paid"] = True  # without validating once more
        if isinstance(self.key, SecretStr):
            key = self.key.get_secret_value()
            if not is_key(key) or len(key) > LONGEST_KEY:
                raise _say(f"key: a key is of up to {LONGEST_KEY} ASCII characters, without spaces")
        return self


class DeploymentPart(Part):
    """One place where a model runs."""

    provider: str = Field(LOCAL, max_length=39, description="`local` is this machine.")
    remote_name: ModelName = Field(description="What the model is called there.")
    rank: int = Field(0, ge=0, le=1000, description="Lower ranks are asked first.")
    weight: int = Field(1, ge=1, le=1000)
    input_price: Price | None = Field(None, description="US dollars for a million tokens. Null: as its provider tells.")
    output_price: Price | None = None
    is_enabled: bool = True


class ModelPart(Part):
    """A model under a name of ours, and every place where it can be had."""

    aliases: Annotated[list[ModelName], Field(max_length=MOST_NAMES)] = []
    tags: Annotated[list[Word], Field(max_length=MOST_NAMES)] = []
    deployments: Annotated[list[DeploymentPart], Field(max_length=MOST_DEPLOYMENTS)] = Field(
        [], description="None: the model that is called so anyway."
    )
    balance: Balance = "latency"
    fallbacks: Annotated[list[ModelName], Field(max_length=MOST_NAMES)] = Field(
        [], description="Other models, asked in this order when no deployment answers."
    )
    hedge_after_s: Seconds | None = Field(None, description="Ask a second place when the first is silent for so long.")
    context_length: int | None = Field(None, ge=1, le=100_000_000, description="Tokens. Null: as its provider tells.")
    capabilities: Annotated[list[Capability], Field(max_length=len(CAPABILITIES))] = Field(
        [], description="Empty: as its provider tells."
    )
    is_enabled: bool = True

    @model_validator(mode="after")
    def _order(self) -> ModelPart:
        """Whatever order they were written in."""
        self.__dict__["capabilities"] = sorted(self.capabilities)
        return self


class Document(Part):
    """The whole registry."""

    version: int | None = Field(None, ge=0, description="When it is another one by now, the change is refused.")
    providers: Annotated[dict[ProviderName, ProviderPart], Field(max_length=MOST_PROVIDERS)] = {}
    models: Annotated[dict[ModelName, ModelPart], Field(max_length=MOST_MODELS)] = {}


def read_document(value: Any) -> Document:
    """The document that a JSON value is. Raises WrongDocument."""
    try:
        return Document.model_validate(value)
    except ValidationError as error:
        raise WrongDocument.of(faults_of(error.errors(include_url=False, include_input=False))) from None


def read_text(text: str) -> Document:
    """The document that a text is. Raises WrongDocument."""
    return read_document(value_of(text))


def faults_of(errors: list[Mapping[str, Any]] | list[Any], within: tuple[str | int, ...] = ()) -> list[Fault]:
    """What pydantic found, in the place where people find it. Never what was given: it may be a key."""
    found: dict[tuple[str | int, ...], Fault] = {}
    for error in errors:
        fault = fault_of(error, within, _INNER)
        if (key := _key_in(error["loc"])) is not None:  # it was tried as each thing that a key can be
            fault = Fault((*within, *key), "a key is text, or null")
        elif error["type"] == "registry" and fault.words.startswith("key: "):
            fault = Fault((*fault.place, "key"), fault.words.removeprefix("key: "))
        elif error["type"] == "string_pattern_mismatch":
            fault = Fault(fault.place, "a provider's name is of up to 39 lower-case letters, digits and hyphens")
        found.setdefault(fault.place, fault)
    return list(found.values())


def _key_in(place: tuple[str | int, ...]) -> tuple[str | int, ...] | None:
    """The place of the key that an error is within, if it is."""
    for at, (part, inner) in enumerate(pairwise(place), start=1):
        if part == "key" and (inner == "KeyShown" or str(inner).startswith("lax-or-strict[")):
            return place[:at]
    return None


_INNER = frozenset({"[key]", "function-plain"})
