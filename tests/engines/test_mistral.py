"""Mistral's form of OpenAI's protocol."""

from __future__ import annotations

import pytest

from orchestrator.core.errors import EngineError
from orchestrator.core.types import Message
from orchestrator.engines.wires.openai import Mistral, OpenAI
from tests.engines.exchange import CONVERSATION, asked, read
from tests.speeches import OpenAISpeech, sse


def test_mistral_is_not_sent_what_it_refuses() -> None:
    body = asked(Mistral(), options={"seed": 0}, think="high", logprobs=True)
    assert "seed" not in body
    assert body["random_seed"] == 0
    assert not {"stream_options", "logprobs", "reasoning_effort"} & body.keys()
    ids = [call["id"] for call in body["messages"][2]["tool_calls"]]
    assert all(len(one) == 9 and one.isalnum() for one in ids)
    assert [message["tool_call_id"] for message in body["messages"][3:5]] == ids[::-1]


def test_mistral_hears_what_tools_answered_before_the_user_speaks() -> None:
    sent = asked(Mistral())["messages"]
    assert [message["role"] for message in sent[2:]] == ["assistant", "tool", "tool", "assistant", "user"]
    assert sent[5] == {"role": "assistant", "content": "Done."}
    over = (*CONVERSATION[:-1], Message(role="assistant", content="Sunny."), CONVERSATION[-1])
    assert [message["role"] for message in asked(Mistral(), over)["messages"]] == [one.role for one in over]
    assert asked(Mistral(), CONVERSATION[:-1])["messages"][-1]["role"] == "tool"
    assert [message["role"] for message in asked(OpenAI())["messages"]] == [one.role for one in CONVERSATION]


def test_mistral_is_told_of_an_answer_to_go_on_with() -> None:
    begun = (Message(role="user", content="hi"), Message(role="assistant", content="It is"))
    *_, last = asked(Mistral(), begun)["messages"]
    assert last == {"role": "assistant", "content": "It is", "prefix": True}
    assert asked(Mistral(), (begun[0], Message(role="assistant")))["messages"] == [{"role": "user", "content": "hi"}]
    assert not any("prefix" in message for message in asked(Mistral())["messages"])
    assert not any("prefix" in message for message in asked(OpenAI(), begun)["messages"])


def test_what_mistral_sends_in_pieces_is_put_together() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    pieces = [thinking, {"type": "text", "text": "Pa"}, {"type": "text", "text": "ris"}]
    frames = [sse({"choices": [{"delta": {"content": pieces}}]}), *OpenAISpeech().answer(("!",))]
    reply = read(Mistral(), b"".join(frames))
    assert (reply.thinking, reply.text) == ("Hm.", "Paris!")
    with pytest.raises(EngineError, match="unknown shape"):
        read(Mistral(), sse({"choices": [{"delta": {"content": ["Paris"]}}]}))
