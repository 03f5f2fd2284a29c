"""Answers in channels, from a model that writes what it is told to: through its tokens, its grammar and its counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.types import ChatRequest, Chunk, Message
from orchestrator.modelhost import wire
from orchestrator.modelhost.batching import Batcher
from orchestrator.modelhost.llama import Llama, silence
from orchestrator.modelhost.prompt import prepare
from orchestrator.modelhost.template import ChatTemplate
from tests.modelhost.files import scripted

NAMES = ("endoftext", "start", "channel", "constrain", "message", "end", "return", "call")
CONTROL = [f"<|{name}|>" for name in NAMES]
WORDS = [
    *("user", "assistant", "analysis", "commentary", "final", "json", "Ġto=functions.f"),
    *("?", "Hm", ".", "Hi", "!", "{", "}"),
]
TOKENS = dict.fromkeys(CONTROL, 3) | dict.fromkeys(WORDS, 1)
TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}<|start|>assistant"
    "{# <|channel|> #}"
)
ASKED = ["<|start|>", "user", "<|message|>", "?", "<|end|>", "<|start|>", "assistant"]
THOUGHT = ["<|channel|>", "analysis", "<|message|>", "Hm", ".", "<|end|>"]
FINAL = ["<|start|>", "assistant", "<|channel|>", "final", "<|message|>"]
CALL = [*FINAL[:3], "commentary", "Ġto=functions.f", "<|constrain|>", "json", "<|message|>"]
TOOLS = ({"type": "function", "function": {"name": "f"}},)


def answered(folder: Path, says: list[str], *, stop: Sequence[str] = (), **fields: Any) -> list[Chunk]:
    """What comes of a question, whatever it is."""
    file = folder / "scripted.gguf"
    file.write_bytes(scripted(TOKENS, says, after=len(ASKED), template=TEMPLATE))
    silence()
    model = Llama(file, context=32, slots=1, threads=1)
    turns = (Message(role="user", content="?"),)
    request = ChatRequest(model="m", messages=turns, options={"temperature": 0, "stop": stop}, **fields)
    form = ChatTemplate(model.chat_template, bos=model.bos, eos=model.eos)
    chunks: list[Chunk] = []
    batcher = Batcher(model, lambda _, chunk: chunks.append(chunk), lambda _, why: pytest.fail(why))
    batcher.add(prepare(model, form, wire.Ask(1, request, {}, None, (), 0), lambda: True))
    while batcher.is_busy:
        batcher.step()
    return chunks


def told(chunks: list[Chunk]) -> list[tuple[str, Any]]:
    return [
        ("thinking", chunk.thinking) if chunk.thinking else ("text", chunk.text) if chunk.text else ("call", call.name)
        for chunk in chunks[:-1]
        for call in chunk.tool_calls or (None,)
    ]


def reason(chunks: list[Chunk]) -> str:
    return chunks[-1].done.reason if chunks[-1].done else ""


def test_thoughts_and_words_come_token_by_token(tmp_path: Path):
    says = [*THOUGHT, *FINAL, "Hi", "!", "<|return|>"]
    chunks = answered(tmp_path, says, logprobs=True)
    assert told(chunks) == [("thinking", "Hm"), ("thinking", "."), ("text", "Hi"), ("text", "!")]
    assert [[one.token for one in chunk.logprobs] for chunk in chunks] == [["Hm"], ["."], ["Hi"], ["!"], []]
    done = chunks[-1].done
    assert done
    assert (done.reason, done.usage.completion_tokens) == ("stop", len(says))
    assert done.usage.prompt_tokens == len(ASKED)


def test_a_call_ends_the_answer(tmp_path: Path):
    says = [*THOUGHT, *CALL, "{", "}", "<|call|>"]
    chunks = answered(tmp_path, says, tools=TOOLS)
    assert told(chunks) == [("thinking", "Hm"), ("thinking", "."), ("call", "f")]
    done = chunks[-1].done
    assert done
    assert (done.reason, done.usage.completion_tokens) == ("stop", len(says))
    assert told(answered(tmp_path, says))[2:] == [("text", "{"), ("text", "}")], "no tool was offered"


@pytest.mark.parametrize("end", ["<|return|>", "<|call|>"])
def test_an_answer_ends_where_its_form_does_whatever_the_tokenizer_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
):
    monkeypatch.setattr(Llama, "is_end", lambda *_: False)
    says = [*THOUGHT, *FINAL, "Hi", end]
    chunks = answered(tmp_path, [*says, "!"], logprobs=True)
    assert told(chunks) == [("thinking", "Hm"), ("thinking", "."), ("text", "Hi")]
    done = chunks[-1].done
    assert done
    assert (done.reason, done.usage.completion_tokens, chunks[-1].logprobs) == ("stop", len(says), ())


def test_a_form_binds_the_answer_and_leaves_the_thoughts_alone(tmp_path: Path):
    # The channel is opened in the prompt: the model, which minds the place, begins with what it thinks.
    chunks = answered(tmp_path, [*THOUGHT, *FINAL, "Hi", "!", "<|return|>"], format="json")
    assert told(chunks) == [("thinking", "Hm"), ("thinking", "."), ("text", "{"), ("text", "}")]
    assert reason(chunks) == "stop"


def test_an_answer_in_a_form_is_opened_for_the_model_once_it_has_thought(tmp_path: Path):
    chunks = answered(tmp_path, [*THOUGHT, *["Hi"] * 7, "<|return|>"], format="json", logprobs=True)
    assert told(chunks) == [("thinking", "Hm"), ("thinking", "."), ("text", "{"), ("text", "}")]
    assert [[one.token for one in chunk.logprobs] for chunk in chunks] == [["Hm"], ["."], ["{"], ["}"], []]


def test_who_wants_no_thoughts_is_given_the_form_at_once(tmp_path: Path):
    chunks = answered(tmp_path, ["<|channel|>", "final", "<|message|>", "Hi"], format="json", think=False)
    assert told(chunks) == [("text", "{"), ("text", "}")]
    assert reason(chunks) == "stop"


def test_thoughts_nobody_wants_are_told_to_nobody(tmp_path: Path):
    chunks = answered(tmp_path, [*THOUGHT, *FINAL, "Hi", "<|return|>"], think=False, logprobs=True)
    assert told(chunks) == [("text", "Hi")]
    assert [one.token for chunk in chunks for one in chunk.logprobs] == ["Hi"]


def test_the_likelihood_of_what_is_held_back_is_told_with_it(tmp_path: Path):
    chunks = answered(tmp_path, [*THOUGHT, *FINAL, "Hi", "!", "<|return|>"], logprobs=True, stop=["Hi?"])
    assert [(chunk.text, [one.token for one in chunk.logprobs]) for chunk in chunks[-2:]] == [
        ("Hi!", ["Hi", "!"]),
        ("", []),
    ]
