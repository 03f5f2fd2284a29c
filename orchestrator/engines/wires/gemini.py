"""Google's Gemini API: models/{model}:streamGenerateContent, answered as events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import orjson

from orchestrator.core.durations import parse_duration
from orchestrator.core.errors import EngineError, GenerationFailed, ModelNotFound
from orchestrator.core.types import ChatRequest, Chunk, Message, StopReason, TokenLogprob, Usage
from orchestrator.engines.wires import vectors
from orchestrator.engines.wires.base import (
    CHATS,
    EMBEDS,
    MOST_WORDS,
    ODD,
    Ask,
    Offer,
    Reader,
    Said,
    Vectors,
    as_count,
    as_logprob,
    as_text,
    broken_off,
    form_in_words,
    function_of,
    picture_kind,
    plain,
    refusal,
    system_text,
    with_call_ids,
)
from orchestrator.engines.wires.by_name import ALWAYS_THINKS, BY_BUDGET, CALLS_OR_FORM, GEMINIS, UNSIGNED

OPTIONS = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "stop": "stopSequences",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_FILTERED = (
    "SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII MODEL_ARMOR ESCALATION PUP_LIMITED_DISABLED "
    "IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION"
)
REASONS: dict[str, StopReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(_FILTERED.split(), "content_filter"),
}
NOT_READ = {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE"}
SAY_NOTHING = {"thought", "thoughtSignature", "partMetadata"}  # fields of a part that are about the rest of it
NO_REASON = {"FINISH_REASON_UNSPECIFIED", "", None}

# In tokens, 0: not at all, -1: as many as it likes.
BUDGETS = {False: 0, True: -1, "low": 1_024, "medium": 8_192, "high": 24_576, "max": 24_576}
LEVELS = {False: "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "max": "HIGH"}
LEAST_BUDGET, LEAST_LEVEL = 128, "LOW"
# Newer models take their own calls back with a signature only. This is theirs for calls that come from elsewhere.
FROM_ELSEWHERE = "skip_thought_signature_validator"

MOST_IN_BATCH = 100
LONGEST_NAME = 256


class Gemini:
    """Contents, thoughts, functions, pictures and vectors."""

    takes = frozenset(
        {*OPTIONS, "num_predict", "format", "think", "effort", "logprobs", "top_logprobs", "truncate", "shift"}
    )
    takes_for_vectors = frozenset({"truncate"})
    listing = "v1beta/models?pageSize=1000"
    probe = ""
    tells = True

    def headers(self, key: str) -> dict[str, str]:
        """The key; in an address, where it may stand as well, it would end up in logs."""
        return {"x-goog-api-key": key} if key else {}

    def canonical(self, name: str) -> str:
        """Without the folder that all models lie in."""
        return name.removeprefix("models/")

    def chat(self, request: ChatRequest, offer: Offer) -> Ask:
        """The question. Raises ModelNotFound for a name that fits into no address."""
        system, contents = system_text(request.messages), _contents(request.messages, offer.name)
        if not contents and system:
            contents, system = [{"role": "user", "parts": [{"text": system}]}], ""
        body: dict[str, Any] = {"contents": contents}
        if request.tools and request.format and CALLS_OR_FORM in GEMINIS.row(offer.name).traits:
            system = "\n\n".join(filter(None, [system, form_in_words(request.format)]))
            request = replace(request, format=None)
        if system:
            body["systemInstruction"] = {"parts": [{"text": system}]}
        if request.tools:
            body["tools"] = [{"functionDeclarations": [_declared(function_of(tool)) for tool in request.tools]}]
        if config := _config(request, offer):
            body["generationConfig"] = config
        return Ask(path=f"v1beta/{_resource(offer.name)}:streamGenerateContent?alt=sse", body=body)

    def answer(self) -> GeminiAnswer:
        """A reader for one answer."""
        return GeminiAnswer()

    def embeddings(self, request: ChatRequest, name: str) -> Sequence[Ask]:
        """A hundred texts at a time, which is the most that is taken."""
        inputs, path = request.inputs or (), f"v1beta/{_resource(name)}:batchEmbedContents"
        batches = [inputs[at : at + MOST_IN_BATCH] for at in range(0, len(inputs), MOST_IN_BATCH)]
        return [Ask(path=path, body={"requests": [_wanted(name, text) for text in some]}) for some in batches]

    def vectors(self, body: bytes) -> Vectors:
        """`{"embeddings": [{"values": […]}]}`."""
        try:
            value = orjson.loads(body)
            found = [vectors.to_vector(one["values"]) for one in value["embeddings"]]
            tokens = as_count((value.get("usageMetadata") or {}).get("promptTokenCount"))
        except vectors.NO_VECTORS:
            raise vectors.none() from None
        return Vectors(vectors=tuple(found), tokens=tokens)

    def offers(self, body: bytes) -> list[Offer]:
        """The list of models that chat or make vectors, and which of them think."""
        found = (self._offer(entry) for entry in orjson.loads(body)["models"])
        return [offer for offer in found if offer]

    def _offer(self, entry: dict[str, Any]) -> Offer | None:
        name, methods = entry.get("name"), entry.get("supportedGenerationMethods") or ()
        if not isinstance(name, str) or not self.canonical(name):
            return None
        able: set[str] = set()
        if "generateContent" in methods:
            able |= self.guess(self.canonical(name)).capabilities - {"thinking"}
            able |= {"thinking"} if entry.get("thinking") is True else set()
        if "embedContent" in methods:
            able |= EMBEDS
        if not able:
            return None
        return Offer(
            name=self.canonical(name),
            capabilities=frozenset(able),
            takes=GEMINIS.row(self.canonical(name)).of(self.takes),
            context_length=as_count(entry.get("inputTokenLimit")),
            most_output=as_count(entry.get("outputTokenLimit")),
            version=str(entry.get("version") or ""),
        )

    def guess(self, name: str) -> Offer:
        """By its name."""
        if "embed" in name:
            return Offer(name=name, capabilities=EMBEDS)
        row = GEMINIS.row(name)
        return Offer(name=name, capabilities=CHATS - row.cannot, takes=row.of(self.takes))

    def said(self, body: bytes) -> Said:
        """`{"error": {"code": …, "message": …, "status": …, "details": […]}}`, at times within a list."""
        try:
            value = orjson.loads(body)
            error = (value[0] if isinstance(value, list) else value)["error"]
            details = [one for one in error.get("details") or () if isinstance(one, dict)]
            words = str(error["message"])[:MOST_WORDS]
        except ODD:
            return plain(body)
        # A wrong key is answered as a bad request, and told apart by this only.
        is_about_key = any(str(one.get("reason", "")).startswith("API_KEY_") for one in details)
        delays = [_delay_s(one["retryDelay"]) for one in details if "retryDelay" in one]
        retry_after_s = delays[0] if delays else None
        return refusal(words, error.get("status"), is_about_key=is_about_key, retry_after_s=retry_after_s)


def _wanted(name: str, text: str) -> dict[str, Any]:
    return {"model": f"models/{name}", "content": {"parts": [{"text": text}]}}


def _delay_s(delay: object) -> float | None:
    try:
        return parse_duration(str(delay))
    except ValueError:
        return None


def _resource(name: str) -> str:
    """Where the model lies, safe in an address whatever the name holds."""
    if len(name) > LONGEST_NAME:
        raise ModelNotFound("gemini has no model with a name of that length")
    if name.startswith("tunedModels/"):
        return f"tunedModels/{quote(name.removeprefix('tunedModels/'), safe='', errors='replace')}"
    return f"models/{quote(name, safe='', errors='replace')}"


def _contents(messages: Sequence[Message], model: str) -> list[dict[str, Any]]:
    """The conversation. All calls of a turn are one, and all that tools answered is the next, whatever was said."""
    contents: list[dict[str, Any]] = []
    after_model = 0  # where the answers to its last calls belong
    answers: list[dict[str, Any]] = []
    for message in with_call_ids(messages):
        if message.role == "tool":
            if not answers:
                contents.insert(after_model, {"role": "user", "parts": answers})
            answers += [_response(message), *map(_picture, message.images)]
        elif message.role != "system" and (parts := _parts(message)):
            role = "model" if message.role == "assistant" else "user"
            if role == "model" and contents and contents[-1]["role"] == role:
                contents[-1]["parts"] += parts
            else:
                contents.append({"role": role, "parts": parts})
            if role == "model":
                after_model, answers = len(contents), []
    if UNSIGNED not in GEMINIS.row(model).traits:
        for content in contents:
            _sign(content["parts"])
    return contents


def _sign(parts: Sequence[dict[str, Any]]) -> None:
    """The first call of a turn stands for all."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None:
        first["thoughtSignature"] = FROM_ELSEWHERE


def _parts(message: Message) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": message.content}] if message.content else []
    parts += map(_picture, message.images)
    for call in message.tool_calls:
        parts.append({"functionCall": {"id": call.id, "name": call.name, "args": dict(call.arguments)}})
    return parts


def _picture(image: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": picture_kind(image), "data": image}}


def _response(message: Message) -> dict[str, Any]:
    response = {"name": message.tool_name, "response": {"output": message.content}}
    return {"functionResponse": response | ({"id": message.tool_call_id} if message.tool_call_id else {})}


def _declared(function: Mapping[str, Any]) -> dict[str, Any]:
    declared = {"name": function.get("name")}
    if function.get("description"):
        declared["description"] = function["description"]
    parameters = function.get("parameters")
    if isinstance(parameters, Mapping) and parameters:
        declared["parametersJsonSchema"] = parameters
    return declared


def _config(request: ChatRequest, offer: Offer) -> dict[str, Any]:
    row = GEMINIS.row(offer.name)
    config: dict[str, Any] = {
        theirs: request.options[ours] for ours, theirs in OPTIONS.items() if ours in request.options
    }
    if request.cap is not None:
        config["maxOutputTokens"] = min(request.cap, offer.most_output or request.cap)
    if request.format:
        config["responseMimeType"] = "application/json"
    if isinstance(request.format, Mapping):
        config["responseJsonSchema"] = request.format
    if request.think is not None and "thinking" not in row.cannot:  # which refuse the very word
        config["thinkingConfig"] = _thinking(request.think, row.traits)
    if request.logprobs:
        config["responseLogprobs"] = True
        if request.top_logprobs:
            config["logprobs"] = request.top_logprobs
    return config


def _thinking(think: bool | str, traits: Set[str]) -> dict[str, Any]:
    config: dict[str, Any] = {"includeThoughts": bool(think)}
    is_least = think is False and ALWAYS_THINKS in traits
    if BY_BUDGET in traits:
        config["thinkingBudget"] = LEAST_BUDGET if is_least else BUDGETS[think]
    elif think is not True:  # they think as they find right
        config["thinkingLevel"] = LEAST_LEVEL if is_least else LEVELS[think]
    return config


class GeminiAnswer(Reader):
    """Reads events that each hold some parts. There is no last one: the reason why it ended comes with some part."""

    def take(self, event: dict[str, Any]) -> Iterable[Chunk]:
        """Read one event."""
        if error := event.get("error"):
            raise broken_off(str(error["message"]), error.get("status"), error.get("code"))
        self._is_called(event.get("responseId"))
        self._count(event.get("usageMetadata"))
        if (event.get("promptFeedback") or {}).get("blockReason"):
            self._reason = "content_filter"
        for candidate in (event.get("candidates") or [])[:1]:
            logprobs = _logprobs(candidate.get("logprobsResult"))
            if logprobs:
                yield Chunk(logprobs=logprobs)
            for part in (candidate.get("content") or {}).get("parts") or []:
                yield from self._part(part)
            self._take_reason(candidate)

    def _part(self, part: dict[str, Any]) -> Iterable[Chunk]:
        if call := part.get("functionCall"):
            yield self._called(call.get("id"), call.get("name"), call.get("args") or {})
        elif text := as_text(part.get("text")):
            yield Chunk(thinking=text) if part.get("thought") is True else Chunk(text=text)
        elif "text" not in part and (unknown := sorted(part.keys() - SAY_NOTHING)):
            raise EngineError(
                f"The provider answered with {unknown[0][:MOST_WORDS]}, which is neither text nor a tool call."
            )

    def _take_reason(self, candidate: dict[str, Any]) -> None:
        reason = candidate.get("finishReason")
        if reason in NO_REASON:
            return
        if reason not in REASONS:
            words = candidate.get("finishMessage") or "it says no more"
            said = f"The provider gave up with {str(reason)[:MOST_WORDS]}: {str(words)[:MOST_WORDS]}"
            raise GenerationFailed(said) if reason in NOT_READ else EngineError(said)
        self._reason = REASONS[reason]

    def _count(self, usage: object) -> None:
        """The counts so far; thoughts are paid for as the answer is."""
        if not isinstance(usage, dict):
            return
        prompt = as_count(usage.get("promptTokenCount")) + as_count(usage.get("toolUsePromptTokenCount"))
        thought = as_count(usage.get("thoughtsTokenCount"))
        self.usage = Usage(
            prompt_tokens=prompt,
            completion_tokens=as_count(usage.get("candidatesTokenCount")) + thought,
            cached_tokens=as_count(usage.get("cachedContentTokenCount")),
            reasoning_tokens=thought,
            ref=self.usage.ref,
        )


def _logprobs(wire: Any) -> tuple[TokenLogprob, ...]:
    if not wire:
        return ()
    chosen, top = wire.get("chosenCandidates") or [], wire.get("topCandidates") or []
    return tuple(
        _logprob(
            token, tuple(_logprob(other) for other in (top[place].get("candidates") if place < len(top) else ()) or ())
        )
        for place, token in enumerate(chosen)
    )


def _logprob(wire: dict[str, Any], top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    return replace(as_logprob(wire["token"], wire["logProbability"]), top=top)
