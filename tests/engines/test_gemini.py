"""What Gemini is asked, and what is made of its events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.core.errors import EngineError, ModelNotFound
from orchestrator.core.types import ChatRequest, Message, ToolCall
from orchestrator.engines.wires.base import Offer
from orchestrator.engines.wires.gemini import FROM_ELSEWHERE, Gemini
from tests.engines.exchange import PNG, SCHEMA, TOOL, asked, hello, read, settle_for
from tests.speeches import GeminiSpeech, sse


def test_a_conversation_is_sent_as_gemini_has_it() -> None:
    options = {"temperature": 0.5, "top_k": 3, "stop": ["x"], "seed": 7, "num_predict": 9, "presence_penalty": 0.1}
    body = asked(
        Gemini(), name="gemini-3-pro", tools=(TOOL,), options=options, format=SCHEMA, logprobs=True, top_logprobs=2
    )
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    declared = {"name": "weather", "description": "Look.", "parametersJsonSchema": SCHEMA}
    assert body["tools"] == [{"functionDeclarations": [declared]}]
    assert body["generationConfig"] == {
        "temperature": 0.5,
        "topK": 3,
        "stopSequences": ["x"],
        "seed": 7,
        "presencePenalty": 0.1,
        "maxOutputTokens": 9,
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
        "responseLogprobs": True,
        "logprobs": 2,
    }
    user, model, results, again = body["contents"]
    assert [list(part) for part in user["parts"]] == [["text"], ["inlineData"], ["inlineData"]]
    assert [call["functionCall"]["args"]["city"] for call in model["parts"][1:]] == ["Rome", "Oslo"]
    assert [part.get("thoughtSignature") for part in model["parts"]] == [None, FROM_ELSEWHERE, None]
    responses = [part["functionResponse"] for part in results["parts"]]
    assert [(one["name"], one["response"]) for one in responses] == [
        ("weather", {"output": "snow"}),
        ("weather", {"output": "sun"}),
    ]
    assert [one["id"] for one in responses] == [call["functionCall"]["id"] for call in model["parts"][:0:-1]]
    assert again == {"role": "user", "parts": [{"text": "And?"}]}
    assert FROM_ELSEWHERE not in json.dumps(asked(Gemini(), name="gemini-2.5-flash"))


@pytest.mark.parametrize(
    ("name", "is_penalised"),
    [
        ("gemini-1.5-pro", True),
        ("gemini-2.0-flash-lite", True),
        ("gemini-2.5-flash", False),
        ("gemini-3.5-flash", False),
        ("gemini-flash-latest", False),
    ],
)
@pytest.mark.parametrize("penalty", [0, 0.5])
def test_a_penalty_is_left_out_where_gemini_refuses_one_and_that_is_said(
    name: str, penalty: float, *, is_penalised: bool
) -> None:
    (listed,) = Gemini().offers(
        json.dumps({"models": [{"name": f"models/{name}", "supportedGenerationMethods": ["generateContent"]}]}).encode()
    )
    options = {"presence_penalty": penalty, "frequency_penalty": penalty, "top_p": 0.5}
    for offer in (listed, Gemini().guess(name)):
        settled, said = settle_for(offer, options=options)
        assert said == (() if is_penalised else ("frequency_penalty", "presence_penalty"))
        config = Gemini().chat(settled, offer).body["generationConfig"]
        assert config.keys() - {"topP"} == ({"presencePenalty", "frequencyPenalty"} if is_penalised else set())


@pytest.mark.parametrize(
    ("name", "tools", "is_in_words"),
    [
        ("gemini-2.5-flash", (TOOL,), True),
        ("gemini-2.0-flash", (TOOL,), True),
        ("gemini-2.5-flash", (), False),
        ("gemini-3-pro-preview", (TOOL,), False),
        ("gemini-flash-latest", (TOOL,), False),
    ],
)
@pytest.mark.parametrize(
    ("form", "words"), [("json", "Answer with one JSON object"), (SCHEMA, f"nothing around it:\n{json.dumps(SCHEMA)}")]
)
def test_older_models_of_gemini_that_have_tools_are_asked_for_a_form_in_words(
    name: str, tools: Any, form: Any, words: str, *, is_in_words: bool
) -> None:
    body = asked(Gemini(), name=name, tools=tools, format=form)
    told = body["systemInstruction"]["parts"][0]["text"]
    assert told.startswith("Be brief.")
    assert (words in told, "generationConfig" in body) == (is_in_words, not is_in_words)


def test_what_the_system_says_alone_is_what_gemini_is_asked() -> None:
    body = asked(Gemini(), [Message(role="system", content="Tell a joke.")])
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Tell a joke."}]}]}


def calling(id: str) -> Message:
    return Message(role="assistant", content="", tool_calls=(ToolCall(id=id, name="weather", arguments={"of": id}),))


def answering(id: str) -> Message:
    return Message(role="tool", content="sun", tool_call_id=id)


def user(content: str) -> Message:
    return Message(role="user", content=content)


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        (
            [user("a"), calling("1"), calling("2"), answering("1"), answering("2"), user("b")],
            ["user a", "model 1 2", "user 1 2", "user b"],
        ),
        (
            [user("a"), calling("1"), answering("1"), calling("2"), answering("2")],
            ["user a", "model 1", "user 1", "model 2", "user 2"],
        ),
        (
            [user("a"), calling("1"), calling("2"), answering("1"), user("b"), answering("2")],
            ["user a", "model 1 2", "user 1 2", "user b"],
        ),
        ([user("a"), calling("1"), user("b"), answering("1")], ["user a", "model 1", "user 1", "user b"]),
    ],
)
def test_gemini_hears_all_answers_of_tools_right_after_all_calls(messages: list[Message], turns: list[str]) -> None:
    contents = asked(Gemini(), messages, "gemini-3-pro")["contents"]
    assert [" ".join([turn["role"], *map(_said_in, turn["parts"])]) for turn in contents] == turns
    for turn in contents:
        signatures = ["thoughtSignature" in part for part in turn["parts"]]
        assert signatures == [turn["role"] == "model", *[False] * (len(signatures) - 1)]


def _said_in(part: dict[str, Any]) -> str:
    return str(part.get("text") or (part.get("functionCall") or part["functionResponse"])["id"])


@pytest.mark.parametrize(
    ("name", "think", "config"),
    [
        ("gemini-2.5-flash", False, {"includeThoughts": False, "thinkingBudget": 0}),
        ("gemini-2.5-flash", True, {"includeThoughts": True, "thinkingBudget": -1}),
        ("gemini-2.5-pro", "low", {"includeThoughts": True, "thinkingBudget": 1024}),
        ("gemini-3-pro", True, {"includeThoughts": True}),
        ("gemini-3-pro", "max", {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("gemini-flash-latest", False, {"includeThoughts": False, "thinkingLevel": "MINIMAL"}),
        ("gemini-2.5-pro", False, {"includeThoughts": False, "thinkingBudget": 128}),
        ("gemini-2.5-pro-preview-06-05", False, {"includeThoughts": False, "thinkingBudget": 128}),
        ("gemini-2.5-flash-lite", False, {"includeThoughts": False, "thinkingBudget": 0}),
        ("gemini-3-pro", False, {"includeThoughts": False, "thinkingLevel": "LOW"}),
        ("gemini-3.1-pro-preview", False, {"includeThoughts": False, "thinkingLevel": "LOW"}),
        ("gemini-pro-latest", False, {"includeThoughts": False, "thinkingLevel": "LOW"}),
        ("gemini-2.0-flash", False, None),
    ],
)
def test_gemini_thinks_by_budget_or_by_level(name: str, think: Any, config: dict[str, Any] | None) -> None:
    assert hello(Gemini(), name, think=think).get("generationConfig", {}).get("thinkingConfig") == config


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("gemini-3-pro", "v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse"),
        ("../x?key=1#", "v1beta/models/..%2Fx%3Fkey%3D1%23:streamGenerateContent?alt=sse"),
        ("tunedModels/mine", "v1beta/tunedModels/mine:streamGenerateContent?alt=sse"),
        ("é\ud800", "v1beta/models/%C3%A9%3F:streamGenerateContent?alt=sse"),
    ],
)
def test_no_name_of_a_model_leads_gemini_elsewhere(name: str, path: str) -> None:
    assert Gemini().chat(ChatRequest(model="x"), Offer(name=name)).path == path
    with pytest.raises(ModelNotFound):
        Gemini().chat(ChatRequest(model="x"), Offer(name="x" * 300))


def test_a_question_that_gemini_blocks_is_filtered_and_thoughts_are_counted() -> None:
    blocked = sse({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}})
    assert read(Gemini(), blocked).done.reason == "content_filter"
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 40}
    end = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": counts}
    usage = read(Gemini(), b"".join(GeminiSpeech().answer()[:-1]) + sse(end)).done.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 42)


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "OTHER", "SOMETHING_NEW"])
def test_an_answer_that_gemini_gave_up_is_no_answer(reason: str) -> None:
    with pytest.raises(EngineError, match=reason):
        read(Gemini(), b"".join(GeminiSpeech().answer(reason=reason)))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("inlineData", {"mimeType": "image/png", "data": PNG}),
        ("executableCode", {"language": "PYTHON", "code": "1"}),
        ("functionCall", {}),
        ("somethingNew", True),
    ],
)
def test_a_part_of_gemini_that_is_of_no_known_kind_does_not_just_vanish(kind: str, value: Any) -> None:
    part = {kind: value, "thought": False, "thoughtSignature": "s"}
    odd = sse({"candidates": [{"content": {"parts": [{"text": "Look: "}, part]}, "finishReason": "STOP"}]})
    with pytest.raises(EngineError, match=f"answered with {kind}"):
        read(Gemini(), odd)


def test_a_signature_of_gemini_that_comes_by_itself_says_nothing() -> None:
    parts = [{"text": "Paris"}, {"text": "", "thoughtSignature": "s"}, {"thoughtSignature": "s"}, {}]
    assert read(Gemini(), sse({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})).text == "Paris"


def test_logprobs_of_gemini_come_through() -> None:
    result = {
        "chosenCandidates": [{"token": "é", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "e", "logProbability": -2.5}]}],
    }
    end = {"candidates": [{"content": {"parts": [{"text": "é"}]}, "finishReason": "STOP", "logprobsResult": result}]}
    reply = read(Gemini(), sse(end))
    (token,) = reply.logprobs
    assert (token.token, token.logprob, token.bytes, token.top[0].token) == ("é", -0.5, (195, 169), "e")


def test_a_wrong_key_of_gemini_is_told_from_a_wrong_request() -> None:
    wrong = {"error": {"code": 400, "message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}}
    assert Gemini().said(json.dumps([wrong]).encode()).is_about_key
    assert not Gemini().said(b'{"error": {"message": "no"}}').is_about_key
    assert Gemini().said(b"<html>").words == ""
    assert Gemini().said(b"no such page").words == "no such page"
