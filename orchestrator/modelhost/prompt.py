"""From a request to the tokens a model starts from, and everything else its answer needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from orchestrator.core.errors import BadRequest, Unsupported
from orchestrator.core.types import Message
from orchestrator.modelhost.grammar import grammar_for
from orchestrator.modelhost.llama import Llama
from orchestrator.modelhost.options import Options
from orchestrator.modelhost.reply import ReplyReader
from orchestrator.modelhost.sampling import Sampler
from orchestrator.modelhost.template import ChatTemplate
from orchestrator.modelhost.text import TextOut
from orchestrator.modelhost.wire import Ask

TOO_LONG = "the input length exceeds the context length"
MOST_CONTEXTS = 10  # an answer without a cap ends after so many times its context, as in Ollama


@dataclass(slots=True)
class Question:
    """Ready to be decoded."""

    id: int
    tokens: list[int]  # never empty, and shorter than `context`
    context: int  # tokens in view
    cap: int  # the most tokens it may write
    keep: int  # tokens at the start that stay when the context is shifted
    chunk: int  # tokens of the prompt taken in one step
    may_shift: bool
    logprobs: bool
    top_logprobs: int
    shows_thinking: bool
    load_ns: int
    sampler: Sampler
    out: TextOut
    reader: ReplyReader


def prepare(model: Llama, template: ChatTemplate, ask: Ask) -> Question:
    """Make a question of a request. Raises BadRequest when that cannot be done."""
    request = ask.request
    options = Options.resolve(ask.options, request.options)
    context = min(options.num_ctx or model.context, model.context)
    if any(turn.images for turn in request.messages):
        raise Unsupported("this model is missing data required for image input")
    if not all(0 <= token < model.vocabulary for token in request.context):
        raise BadRequest("context holds a number that is not a token of this model")
    thinks = request.prompt is None and "<think>" in template.source
    opens_thinking = thinks and bool(request.format) and request.think is not False
    writer = _Writer(model, template, ask, opens_thinking=opens_thinking)
    if request.prompt is not None:
        tokens, text = writer.raw(request.prompt), ""
    else:
        tokens, text = writer.turns(context)
    keep = min(len(tokens) if options.num_keep < 0 else options.num_keep, context // 2)
    if len(tokens) >= context:
        if not request.truncate:
            raise BadRequest(TOO_LONG)
        tokens = tokens[:keep] + tokens[len(tokens) - (context - 1 - keep) :]
    sampler = Sampler(model, options, grammar_for(request.format))
    sampler.prime(tokens)
    return Question(
        id=ask.id,
        tokens=tokens,
        context=context,
        cap=options.num_predict if 0 < options.num_predict < MOST_CONTEXTS * context else MOST_CONTEXTS * context,
        keep=keep,
        chunk=options.num_batch,
        may_shift=request.shift and model.can_shift,
        logprobs=request.logprobs,
        top_logprobs=min(max(request.top_logprobs, 0), 20),
        shows_thinking=request.think is not False,
        load_ns=ask.load_ns,
        sampler=sampler,
        out=TextOut(options.stop),
        reader=ReplyReader(
            thinks=thinks,
            is_open=thinks and text.rstrip().endswith("<think>"),
            tools=bool(request.tools) and request.prompt is None and not request.format,
        ),
    )


class _Writer:
    """Writes the prompt of one request."""

    def __init__(self, model: Llama, template: ChatTemplate, ask: Ask, *, opens_thinking: bool) -> None:
        self.model, self.template, self.request = model, template, ask.request
        self.opens_thinking = opens_thinking
        turns = list(ask.request.messages)
        if ask.system is not None and (not turns or turns[0].role != "system"):
            turns.insert(0, Message(role="system", content=ask.system))
        before = (Message(role=_role(turn["role"]), content=turn["content"]) for turn in ask.messages)
        self.messages: list[Message] = [*before, *turns]

    def raw(self, prompt: str) -> list[int]:
        """The prompt as it stands."""
        return self._tokens(prompt)

    def turns(self, context: int) -> tuple[list[int], str]:
        """The messages in the model's template; without the oldest where they would not fit.

        System messages always stay, and so does the last one.
        """
        text = self._render(self.messages)
        tokens = self._tokens(text)
        if len(tokens) < context or not self.request.truncate:
            return tokens, text
        others = [place for place, turn in enumerate(self.messages) if turn.role != "system"]
        few, many = 1, max(1, len(others))  # how many of the oldest to drop: the fewest that will do
        while few < many:
            middle = (few + many) // 2
            if len(self._tokens(self._render(self._without(others[:middle])))) < context:
                many = middle
            else:
                few = middle + 1
        text = self._render(self._without(others[: min(few, len(others) - 1)]))
        return self._tokens(text), text

    def _without(self, places: Sequence[int]) -> list[Message]:
        gone = set(places)
        return [turn for place, turn in enumerate(self.messages) if place not in gone]

    def _render(self, messages: Sequence[Message]) -> str:
        text = self.template.render(messages, tools=self.request.tools, think=self.request.think)
        # The grammar would forbid the tag the model opens its thinking with, so it is opened here.
        return text + "<think>\n" if self.opens_thinking and not text.rstrip().endswith("<think>") else text

    def _tokens(self, text: str) -> list[int]:
        before = list(self.request.context)
        tokens = before + self.model.tokens(text, is_beginning=not before)
        return tokens or self.model.tokens(self.model.bos or "\n", is_beginning=False)


def _role(text: str) -> Literal["system", "user", "assistant", "tool"]:
    if text not in {"system", "user", "assistant", "tool"}:
        raise BadRequest(f"the model's own conversation has a turn of {text!r}, which is nobody")
    return cast(Literal["system", "user", "assistant", "tool"], text)
