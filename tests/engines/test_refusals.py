"""What a refusal means is read from its words and codes where its status is another's."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import orjson
import pytest

from orchestrator.core.errors import (
    BadRequest,
    ContextTooLong,
    EngineError,
    EngineRefused,
    GenerationFailed,
    OrchestratorError,
    ParameterRefused,
    RateLimited,
)
from orchestrator.core.presets import BY_NAME
from orchestrator.engines.remote import Remote
from orchestrator.engines.wires import WIRES
from orchestrator.wiring import connect
from tests.engines.deadlines import DEADLINES

NO_CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."
SPENT = "You have reached your specified API usage limits. You will regain access on 2026-04-01 at 00:00 UTC."
QUOTA = {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota"}
NOT_HERE = "User location is not supported for the API use."


async def refused(name: str, status: int, error: object, headers: Mapping[str, str] | None = None) -> OrchestratorError:
    """What becomes of a refusal by the provider called `name`."""
    preset = BY_NAME[name]
    wire = WIRES[preset.wire]()
    remote = Remote(name, connect("http://provider.test", "", DEADLINES, wire), wire, preset)
    response = httpx.Response(status, content=orjson.dumps({"error": error}), headers=headers)
    try:
        with pytest.raises(OrchestratorError) as told:
            await remote.raise_for_status(response, f"{name}/good")
    finally:
        await remote.connection.aclose()
    return told.value


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("anthropic", 400, {"type": "invalid_request_error", "message": NO_CREDIT}),
        ("anthropic", 400, {"type": "invalid_request_error", "message": SPENT}),
        ("anthropic", 400, {"type": "billing_error", "message": "no"}),
        ("openai", 429, QUOTA),
        ("openai", 429, {"message": "Your account is suspended", "type": "exceeded_current_quota_error"}),
        ("openrouter", 400, {"message": "Provider returned error", "code": 400, "metadata": {"raw": NO_CREDIT}}),
        ("openai", 402, {"message": "Insufficient Balance"}),
    ],
)
async def test_that_no_money_is_left_is_known_by_its_words(name: str, status: int, error: object) -> None:
    told = await refused(name, status, error)
    assert type(told) is EngineError
    assert (told.has_made, told.status, told.retry_after_s) == (False, 502, None)
    assert f"{name} wants to be paid first (HTTP {status}); ask your operator to do that: " in str(told)


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("gemini", 400, {"code": 400, "message": NOT_HERE, "status": "FAILED_PRECONDITION"}),
        ("gemini", 400, {"code": 400, "message": "Please enable billing", "status": "FAILED_PRECONDITION"}),
        ("openrouter", 400, {"message": "Provider returned error", "code": 400, "metadata": {"raw": NOT_HERE}}),
        ("openai", 403, {"message": "Country not supported", "code": "unsupported_country_region_territory"}),
    ],
)
async def test_that_it_is_not_for_us_is_known_by_its_words(name: str, status: int, error: object) -> None:
    told = await refused(name, status, error)
    assert type(told) is EngineRefused
    assert f"{name} refused this to us (HTTP {status}): " in str(told)


@pytest.mark.parametrize(
    ("name", "status", "error", "kind"),
    [
        ("anthropic", 400, {"type": "invalid_request_error", "message": "messages: roles must alternate"}, BadRequest),
        ("gemini", 400, {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}, BadRequest),
        # Gemini's words for too many questions within a minute, too.
        ("gemini", 429, {"code": 429, "message": QUOTA["message"], "status": "RESOURCE_EXHAUSTED"}, RateLimited),
        ("openai", 429, {"message": "Rate limit reached", "code": "rate_limit_exceeded"}, RateLimited),
    ],
)
async def test_other_refusals_keep_the_meaning_of_their_status(
    name: str, status: int, error: object, kind: type[OrchestratorError]
) -> None:
    assert type(await refused(name, status, error)) is kind


async def test_a_quota_that_is_renewed_is_waited_for() -> None:
    told = await refused("openai", 429, QUOTA, {"Retry-After": "60"})
    assert (type(told), told.retry_after_s) == (RateLimited, 60)


def test_within_an_answer_no_money_is_not_too_many_requests() -> None:
    answer = WIRES["openai"]().answer()
    assert answer.read([b"data: " + orjson.dumps({"error": QUOTA | {"code": 429}})]) == []
    assert type(answer.trouble) is EngineError


@pytest.mark.parametrize("code", ["tool_use_failed", "json_validate_failed"])
async def test_what_its_model_wrote_is_no_fault_of_the_question(code: str) -> None:
    error = {"message": "Failed to call a function.", "type": "invalid_request_error", "code": code}
    told = await refused("groq", 400, error | {"failed_generation": "<function=look"})
    assert type(told) is GenerationFailed
    assert (str(told), told.status, told.has_made) == (
        "groq could not read what its model wrote (HTTP 400): Failed to call a function.",
        502,
        False,
    )
    answer = WIRES["openai"]().answer()
    assert answer.read([b"event: error", b"data: " + orjson.dumps({"error": error | {"status_code": 400}})]) == []
    assert type(answer.trouble) is GenerationFailed


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("MALFORMED_FUNCTION_CALL", GenerationFailed),
        ("UNEXPECTED_TOOL_CALL", GenerationFailed),
        ("TOO_MANY_TOOL_CALLS", GenerationFailed),
        ("MALFORMED_RESPONSE", GenerationFailed),
        ("OTHER", EngineError),
    ],
)
def test_a_call_that_gemini_could_not_read_says_nothing_of_how_gemini_is(reason: str, kind: type[EngineError]) -> None:
    answer = WIRES["gemini"]().answer()
    event = {"candidates": [{"finishReason": reason, "index": 0}], "usageMetadata": {"promptTokenCount": 2595}}
    answer.read([b"data: " + orjson.dumps(event)])
    assert type(answer.trouble) is kind
    assert str(answer.trouble) == f"The provider gave up with {reason}: it says no more"


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("openai", {"message": "no", "param": "reasoning_effort"}),
        ("openai", {"message": "no", "param": "messages[0].role", "code": "unsupported_value"}),
        ("openai", {"message": "no", "param": None, "code": "unsupported_parameter"}),
        ("openai", {"message": "max_tokens is too large: 200000.", "param": "max_tokens", "code": None}),
        ("openai", {"message": "Unsupported parameter: 'top_p' is not supported with this model.", "code": "x"}),
        ("openai", {"message": "Unsupported value: 'temperature' does not support 0.2 with this model."}),
        ("openai", {"message": "Unrecognized request argument supplied: top_k"}),
        ("groq", {"message": "property 'logprobs' is unsupported", "param": ""}),
        ("mistral", {"message": {"detail": [{"type": "extra_forbidden", "msg": "Extra inputs are not permitted"}]}}),
        ("anthropic", {"type": "invalid_request_error", "message": "`temperature` is deprecated for this model."}),
        ("anthropic", {"type": "invalid_request_error", "message": "seed: Extra inputs are not permitted"}),
        ("gemini", {"code": 400, "message": "Penalty is not enabled for models/x", "status": "INVALID_ARGUMENT"}),
        ("ollama", '"gemma:2b" does not support tools'),
    ],
)
async def test_a_parameter_that_is_not_taken_is_told_apart(name: str, status: int, error: object) -> None:
    told = await refused(name, status, error)
    assert type(told) is ParameterRefused
    assert (told.status, told.kind, told.has_made) == (400, "bad_request", False)


@pytest.mark.parametrize(
    ("name", "error", "kind"),
    [
        ("openai", {"message": "flagged", "param": "prompt", "code": "content_filter"}, BadRequest),
        ("openai", {"message": "flagged", "param": "x", "code": "content_policy_violation"}, BadRequest),
        ("openai", {"message": "Invalid prompt: flagged", "param": None, "code": "invalid_prompt"}, BadRequest),
        ("anthropic", {"message": "Output blocked by content filtering policy", "type": "x"}, BadRequest),
        ("openai", {"message": "tool messages must follow calls", "param": "messages.[2].role"}, BadRequest),
        ("openai", {"message": "no", "param": "messages", "code": "context_length_exceeded"}, ContextTooLong),
        ("openai", {"message": "prompt is too long for this model", "param": "max_tokens"}, ContextTooLong),
    ],
)
async def test_what_is_said_of_the_content_of_a_question_is_of_no_parameter(
    name: str, error: object, kind: type[OrchestratorError]
) -> None:
    assert type(await refused(name, 400, error)) is kind


def test_a_parameter_is_known_outside_of_any_shape() -> None:
    body = orjson.dumps({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]})
    assert WIRES["mistral"]().said(body).is_about_parameter
