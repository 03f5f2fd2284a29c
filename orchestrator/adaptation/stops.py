"""Ends an answer where one of the caller's stop strings begins, for models that are not told of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from orchestrator.core.types import ChatRequest, Chunk, Chunks, Done, Model, Usage


def untold(request: ChatRequest, model: Model) -> tuple[str, ...]:
    """Those of its stop strings that `model` does not take: all, or those of nothing but white space, or none."""
    if "stop" in model.takes:
        return ()
    return tuple(word for word in request.stops if "stop unless blank" not in model.takes or not word.strip())


def without(request: ChatRequest, words: Sequence[str]) -> ChatRequest:
    """The same without these stop strings."""
    left = [word for word in request.stops if word not in words]
    options = {name: one for name, one in request.options.items() if name != "stop"}
    return replace(request, options=options | ({"stop": left} if left else {}))


def ending(words: Sequence[str]) -> Callable[[Chunks], AsyncGenerator[Chunk, None]]:
    """A step that passes on what comes before the first of `words`, and then hears no more."""

    async def step(chunks: Chunks) -> AsyncGenerator[Chunk, None]:
        text = _Watched(words)
        usage, pieces = Usage(), 0
        async with aclosing(chunks):
            async for chunk in chunks:
                usage = chunk.usage or usage
                pieces += bool(chunk.text or chunk.thinking)
                passed, found = text.add(chunk.text)
                if found:
                    rest = replace(chunk, text=passed, done=None, logprobs=())
                    if rest != Chunk():  # what was thought came before
                        yield rest
                    yield Chunk(done=_ended(chunk, usage, pieces, found))
                    return
                if chunk.done:
                    passed += text.rest()
                chunk = replace(chunk, text=passed) if passed != chunk.text else chunk
                if chunk != Chunk():
                    yield chunk

    return step


def _ended(last: Chunk, usage: Usage, pieces: int, word: str) -> Done:
    """The end that the model did not come to: nobody counted what it wrote."""
    if last.done:
        return replace(last.done, reason="stop", stop_string=word)
    counted = usage.completion_tokens or pieces
    return Done(reason="stop", usage=replace(usage, completion_tokens=counted, is_estimated=True), stop_string=word)


class _Watched:
    """Text as it comes. What may be the beginning of a stop string is held back until that is known."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)
        self._held = ""

    def add(self, text: str) -> tuple[str, str]:
        """What may be passed on, and the word that was found after it."""
        if not text:
            return "", ""
        self._held += text
        found = [(place, word) for word in self._words if (place := self._held.find(word)) >= 0]
        if found:
            place, word = min(found, key=lambda one: (one[0] + len(one[1]), one[0]))  # which was complete first
            return self._held[:place], word
        keep = max(_overlap(self._held, word) for word in self._words)
        passed, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return passed, ""

    def rest(self) -> str:
        """What was held back for nothing."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, word: str) -> int:
    """How many characters at the end of `text` begin `word`."""
    for size in range(min(len(word) - 1, len(text)), 0, -1):
        if text.endswith(word[:size]):
            return size
    return 0
