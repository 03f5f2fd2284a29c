"""The one error tree. Raise where it is known, translate at the border (`orchestrator.api`).

`status` is the HTTP status a caller sees, `kind` a stable word for records and metrics. A message
says what happened and, where there is something to do, what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.core.limits import NO_LIMIT, Standing


class OrchestratorError(Exception):
    """Something a caller is told about, in the caller's own dialect."""

    status = 500
    kind = "error"
    is_recorded = False  # the ledger has the request it ended
    has_made: bool | None = None  # whether a provider made something before it: by its kind, where nobody knows

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").split("\n")[0])
        self.retry_after_s = retry_after_s


class BadRequest(OrchestratorError):
    """The request cannot be understood."""

    status = 400
    kind = "bad_request"


class Unsupported(BadRequest):
    """The model cannot do what was asked of it."""

    kind = "unsupported"


class FetchRefused(BadRequest):
    """The address may not be fetched, or not what is there; send the content itself."""

    kind = "fetch_refused"


class FetchFailed(BadRequest):
    """What is at the address could not be had; send the content itself."""

    kind = "fetch_failed"


class ContextTooLong(BadRequest):
    """The question is too long for this model; one with more room may take it."""

    kind = "context_too_long"


class ParameterRefused(BadRequest):
    """A parameter is not taken, or not by this model; another may take it."""


class Unauthorized(OrchestratorError):
    """A valid API key is needed: send it as `Authorization: Bearer …` or `x-api-key`."""

    status = 401
    kind = "unauthorized"


class Forbidden(OrchestratorError):
    """This API key may not do that."""

    status = 403
    kind = "forbidden"


class TooMany(OrchestratorError):
    """More than a limit allows; it says when to come again."""

    status = 429
    kind = "limited"

    def __init__(self, message: str = "", *, retry_after_s: float | None = None, standing: Standing = NO_LIMIT) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.standing = standing


class BudgetSpent(TooMany):
    """A budget does not reach for this call; it says when it is renewed."""

    kind = "budget"
    budget = ""  # its name


class PriceUnknown(Forbidden):
    """Nobody knows what this model charges, and a budget of money is to hold."""

    kind = "price_unknown"


class KeyEnded(Unauthorized):
    """This API key was revoked or its tenant suspended, and what it was being told ends with it."""

    kind = "key_ended"


class ScopeEnded(Forbidden):
    """This API key is no longer for what it was being told."""

    kind = "key_ended"


class StreamTooLong(TooMany):
    """The answer takes longer than a limit allows."""

    kind = "stream_limit"


class CloudDisabled(Forbidden):
    """What would need ollama.com, in the words of an Ollama whose cloud is switched off."""

    kind = "cloud_disabled"

    @classmethod
    def because(cls, what: str) -> CloudDisabled:
        """The error that says `what` there is not."""
        return cls(f"ollama cloud is disabled: {what}")


class ModelNotFound(OrchestratorError):
    """The model is not installed and no provider offers it."""

    status = 404
    kind = "model_not_found"


class NotThere(OrchestratorError):
    """What was asked for is not there."""

    status = 404
    kind = "not_there"


class Conflict(OrchestratorError):
    """It was changed meanwhile, or is in use."""

    status = 409
    kind = "conflict"


class NotSupportedYet(OrchestratorError):
    """This endpoint is not there yet."""

    status = 501
    kind = "not_supported"


class RequestTooLarge(OrchestratorError):
    """The request body is larger than allowed."""

    status = 413
    kind = "too_large"


class RequestTimeout(OrchestratorError):
    """The request body did not arrive in time."""

    status = 408
    kind = "request_timeout"


class OnlyIfCached(OrchestratorError):
    """Not in the cache, and the request said `only-if-cached`."""

    status = 504
    kind = "only_if_cached"


class Busy(OrchestratorError):
    """Every place in the queue is taken."""

    status = 503
    kind = "busy"


class NoneAvailable(OrchestratorError):
    """No place that could answer is asked at the moment."""

    status = 503
    kind = "none_available"


class KeysUnavailable(OrchestratorError):
    """API keys cannot be checked at the moment; try again shortly."""

    status = 503
    kind = "keys_unavailable"


class LedgerUnavailable(OrchestratorError):
    """The ledger cannot be written, so calls that cost money are refused."""

    status = 503
    kind = "ledger_unavailable"


class EngineError(OrchestratorError):
    """The engine failed to answer."""

    status = 502
    kind = "engine_error"


class NotTaken(EngineError):
    """A model answered, and its answer is not taken: another may do better. Where none does, it is taken after all."""

    kind = "not_taken"
    kept: Sequence[Any] = ()  # the pieces of the answer, where it is whole
    has_form: bool | None = None  # whether it is in the form that was asked for; None: none was, or nobody looked


class EngineTimeout(EngineError):
    """The engine was reached and stayed silent."""

    status = 504
    kind = "engine_timeout"


class EngineUnreachable(EngineError):
    """Nobody answered at the provider's address."""

    kind = "engine_unreachable"


class EngineUnavailable(EngineError):
    """The provider was reached and is in trouble of its own."""

    kind = "engine_unavailable"


class KeyRefused(EngineError):
    """The provider does not take our key."""

    kind = "key_refused"


class EngineRefused(EngineError):
    """The provider will not answer this question, or not us: a rule of its own, a region, a model of other accounts."""

    kind = "engine_refused"


class GenerationFailed(EngineError):
    """The provider could not make of what its model wrote what was asked for; the next time it may."""

    kind = "generation_failed"


class Outraced(EngineError):
    """Another place that was asked the same spoke first."""

    kind = "outraced"


class RateLimited(EngineError):
    """The provider wants fewer requests."""

    status = 429
    kind = "rate_limited"


class EngineCrashed(EngineError):
    """The process that ran the model is gone."""

    status = 500
    kind = "engine_crashed"


class CallLost(EngineError):
    """The process that made this answer for all who asked the same is gone; ask again."""

    status = 503
    kind = "call_lost"


class ModelLoadFailed(EngineError):
    """The model could not be loaded."""

    status = 500
    kind = "load_failed"
