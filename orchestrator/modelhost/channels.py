"""Tells apart what a model writes in channels, OpenAI's "harmony" form, which gpt-oss is taught.

    <|start|>assistant<|channel|>analysis<|message|>…<|end|>
    <|start|>assistant<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}<|call|>
    <|start|>assistant<|channel|>final<|message|>…<|return|>

The prompt ends where the first of these has begun. Source: OpenAI's description of the form, and how Ollama reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator

from orchestrator.core.arguments import as_arguments
from orchestrator.core.ids import call_id
from orchestrator.core.types import Chunk, ToolCall

ASSISTANT = "<|start|>assistant"  # what a prompt ends in
THOUGHTS, ANSWER = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
LONGEST_HEADER = 256  # characters; what is longer is none
_TAGS = tuple(f"<|{name}|>" for name in ("start", "channel", "constrain", "message", "end", "return", "call"))
_TAG = re.compile("|".join(map(re.escape, _TAGS)))
_WITHIN = frozenset({"<|constrain|>", "<|message|>"})  # a header; in what is said they mean nothing
_ENDS = frozenset({"<|end|>", "<|return|>", "<|call|>"})  # of a message
_LONGEST_TAG = max(map(len, _TAGS))
_HEADER_ENDS = re.compile(r"<\|(?:message|start|end|return|call)\|>")
_CHANNEL, _RECIPIENT = re.compile(r"<\|channel\|>\s*(\w*)"), re.compile(r"\bto=([^\s<]+)")
_CHANNELS = ("analysis", "commentary", "final")
_HEADER = re.compile(
    r"(?:<\|start\|>\s*+[\w.]*+)?+(?:\s*+(?:to=[^\s<]*+|<\|(?:channel|constrain)\|>\s*+\w*+|json\b))*+\s*+"
)


class ChannelReader:
    """Reads an answer as it is made. What it finds does not depend on the pieces the answer comes in.

    What stands in `analysis` is thought; what is said to a tool that was offered calls it, when it is an object in
    JSON; everything else is text, in whatever channel or in none. Tags are told to nobody.

    prompt    what the answer goes on from.
    tools     the names of those that were offered.
    is_bound  whether a grammar holds for the answer: it begins at once where the prompt opens no message.
    """

    def __init__(self, *, prompt: str = "", tools: Collection[str] = (), is_bound: bool = False) -> None:
        self.is_over = False  # the model has ended it, whether or not its tokenizer says so
        self._mode = "between"
        self._tools, self._is_bound = tools, is_bound
        self._held = ""
        self._name = ""  # of the tool that is called
        self._body: list[str] = []  # what it is told
        self._go_on_from(prompt)
        if is_bound and self._mode == "between":
            self._mode = "text"

    def _go_on_from(self, prompt: str) -> None:
        _, start, begun = prompt.rpartition("<|start|>")
        tags = set(_TAG.findall(begun))
        if not start or tags & _ENDS or not tags & {"<|channel|>", "<|message|>"}:
            return
        self.feed(start + begun)
        if self._mode != "header":
            self._held = ""

    @property
    def is_thinking(self) -> bool:
        """Whether what comes next is not for the caller, as far as can be told."""
        return self._mode != "text"

    @property
    def wants_answer(self) -> bool:
        """Whether it is to be opened now: what comes next may not be left to the model, as a grammar holds for it."""
        return self._is_bound and self._mode == "between"

    @property
    def has_told_all(self) -> bool:
        """Whether nothing is left to tell of what was read: the rest is part of the form, as far as can be told."""
        return self._mode in {"between", "header", "over"} or (self._mode != "call" and not self._held)

    def feed(self, text: str) -> list[Chunk]:
        """Take text and return what is certain now."""
        self._held += text
        return list(self._parts())

    def flush(self) -> list[Chunk]:
        """The end has come: return the rest."""
        chunks = list(self._parts())
        while self._mode == "header":
            self._drop_header(len(self._held))
            chunks += self._parts()
        rest, self._held = self._held, ""
        if self._mode == "call":
            self._body.append(rest)
            return [*chunks, *self._called()]
        return [*chunks, *self._told(rest)] if rest.strip() or self._mode != "between" else chunks

    def _parts(self) -> Iterator[Chunk]:
        before = None
        while before != (self._mode, self._held):  # each step either moves on or waits for more
            before = (self._mode, self._held)
            yield from _STEPS[self._mode](self)

    def _between(self) -> Iterator[Chunk]:
        """Before a message, or where the answer does without the form."""
        text = self._held.lstrip()
        tag = _TAG.match(text)
        if tag:
            self._held = text
            self._pass(tag[0])
        elif text.startswith("to="):
            self._mode, self._held = "header", text
        elif not any(opening.startswith(text) for opening in (*_TAGS, "to=")):
            self._mode = "text"
        return iter(())

    def _header(self) -> Iterator[Chunk]:
        at = len("<|start|>") if self._held.startswith("<|start|>") else 0
        end = _HEADER_ENDS.search(self._held, at, LONGEST_HEADER + _LONGEST_TAG)
        if end and end[0] == "<|message|>":
            header, self._held = self._held[: end.start()], self._held[end.end() :]
            self._mode = self._addressed(header)
        elif end:
            self._drop_header(end.start())
        elif len(self._held) >= LONGEST_HEADER + _LONGEST_TAG:
            self._give_up()
        return iter(())

    def _addressed(self, header: str) -> str:
        """The mode for what stands behind this header."""
        recipient, channel = _RECIPIENT.search(header), _CHANNEL.search(header)
        if not recipient:
            return "thinking" if channel and channel[1] == "analysis" else "text"
        names = (recipient[1], recipient[1].removeprefix("functions."))
        self._name = next((name for name in names if name in self._tools), "")
        return "call" if self._name else "text"

    def _drop_header(self, end: int) -> None:
        """A header was broken off at `end`: it says nothing, where it is one."""
        header = self._held[:end]
        if _HEADER.fullmatch(header) and all(_is_channel(name) for name in _CHANNEL.findall(header)):
            self._mode, self._held = "between", self._held[end:]
        else:
            self._give_up()

    def _give_up(self) -> None:
        """What is held begins like a header and is text."""
        for tag in (ASSISTANT, *_TAGS):
            if self._held.startswith(tag):
                self._held = self._held[len(tag) :]
                break
        self._mode = "text"

    def _message(self) -> Iterator[Chunk]:
        tag = _TAG.search(self._held)
        end = tag.start() if tag else len(self._held) - _begun(self._held)
        told, self._held = self._held[:end], self._held[end:]
        if self._mode == "call":
            self._body.append(told)
            if tag and tag[0] not in _WITHIN:
                yield from self._called()
        else:
            yield from self._told(told)
        if tag:
            self._pass(tag[0])

    def _pass(self, tag: str) -> None:
        """The held text begins with this tag, which ends what was before."""
        if tag in {"<|start|>", "<|channel|>"} or (tag in _WITHIN and self._mode == "between"):
            self._mode = "header"
            return
        self._held = self._held[len(tag) :]
        if tag == "<|end|>":
            self._mode = "between"
        elif tag not in _WITHIN:
            self._mode, self.is_over = "over", True

    def _told(self, text: str) -> list[Chunk]:
        if not text:
            return []
        return [Chunk(thinking=text) if self._mode == "thinking" else Chunk(text=text)]

    def _called(self) -> list[Chunk]:
        """The call that was read; or its text, when it is none."""
        text, self._body = "".join(self._body), []
        try:
            arguments = as_arguments(json.loads(text) if text.strip() else {})
        except (ValueError, RecursionError):
            arguments = None
        if arguments is None:
            return [Chunk(text=text)]
        return [Chunk(tool_calls=(ToolCall(id=call_id(), name=self._name, arguments=arguments),))]

    def _over(self) -> Iterator[Chunk]:
        self._held = ""
        return iter(())


_STEPS: dict[str, Callable[[ChannelReader], Iterator[Chunk]]] = {
    "between": ChannelReader._between,
    "header": ChannelReader._header,
    "text": ChannelReader._message,
    "thinking": ChannelReader._message,
    "call": ChannelReader._message,
    "over": ChannelReader._over,
}


def _begun(text: str) -> int:
    """How much of the end of `text` may be the beginning of a tag."""
    at = text.rfind("<")
    return len(text) - at if at >= 0 and any(tag.startswith(text[at:]) for tag in _TAGS) else 0


def _is_channel(name: str) -> bool:
    """Whether it is one, or begins like one."""
    return any(channel.startswith(name) for channel in _CHANNELS)
