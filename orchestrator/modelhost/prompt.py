"""From a request to the tokens a model starts from, and everything else its answer needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import msgspec

from orchestrator.core.errors import BadRequest, ContextTooLong, Unsupported
from orchestrator.core.types import ChatRequest, Message
from orchestrator.modelhost.channels import ANSWER, ASSISTANT, THOUGHTS, ChannelReader
from orchestrator.modelhost.go_chat import GoChat
from orchestrator.modelhost.grammar import grammar_for
from orchestrator.modelhost.llama import Llama
from orchestrator.modelhost.options import Options, read_options
from orchestrator.modelhost.reply import CHANNEL, ReplyReader, thinking_in
from orchestrator.modelhost.sampling import Sampler
from orchestrator.modelhost.tagged import NO_TOOLS, offered
from orchestrator.modelhost.template import ChatTemplate
from orchestrator.modelhost.text import TextOut
from orchestrator.modelhost.wire import Ask, Preview

TOO_LONG = "the input length exceeds the context length"
LONGEST_SHOWN = 4 * 1024**2  # characters of a prompt that is only looked at, or counted
Form = ChatTemplate | GoChat
# How long a template may make its text: in proportion to what it is given, and to what fits. Beyond what fits, text
# is only made to be dropped again.
WIDEST_TOKEN = 16  # characters; generous, usual text has 3 to 5 a token
LEAST_ROOM = 65_536  # characters
ROOM_EACH = 1_000  # characters for each turn and tool
COPIES = 4  # of what the request says
MOST_CONTEXTS = 10  # an answer without a cap ends after so many times its context, as in Ollama


class GoneError(Exception):
    """Nobody waits for the answer any more."""


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
    callers_stops: frozenset[str]  # an end by one of the model's own is the model's
    load_ns: int
    sampler: Sampler
    out: TextOut
    reader: ReplyReader | ChannelReader
    opening: list[int]  # the tokens that open the answer behind what is thought, where that is not left to the model


def prepare(model: Llama, template: Form, ask: Ask, is_wanted: Callable[[], bool]) -> Question:
    """Make a question of a request.

    is_wanted  whether somebody waits for the answer; asked before each part that may take long.
    Raises BadRequest when it cannot be done, GoneError when it need not be.
    """
    request = ask.request
    options = Options.resolve(ask.options, request.options)
    written = _write(model, template, ask, options, is_wanted)
    tokens, context = written.tokens, written.context
    if len(tokens) >= context:
        raise ContextTooLong(TOO_LONG)
    sampler = Sampler(model, options, grammar_for(request.format))
    sampler.prime(tokens)
    return Question(
        id=ask.id,
        tokens=tokens,
        context=context,
        cap=options.num_predict if 0 < options.num_predict < MOST_CONTEXTS * context else MOST_CONTEXTS * context,
        keep=written.keep,
        chunk=options.num_batch,
        may_shift=request.shift and model.can_shift,
        logprobs=request.logprobs,
        top_logprobs=min(max(request.top_logprobs, 0), 20),
        shows_thinking=request.think is not False,
        callers_stops=frozenset(read_options(request.options).get("stop", ())),
        load_ns=ask.load_ns,
        sampler=sampler,
        out=TextOut(options.stop),
        reader=_reader(request, written),
        opening=model.tokens(ASSISTANT + ANSWER, is_beginning=False) if written.thinks == CHANNEL else [],
    )


def _reader(request: ChatRequest, written: _Written) -> ReplyReader | ChannelReader:
    tools = NO_TOOLS if request.prompt is not None or request.format else offered(request.tools)
    if written.thinks == CHANNEL:
        return ChannelReader(prompt=written.text, tools=tools, is_bound=bool(request.format))
    is_open = bool(written.thinks) and written.text.rstrip().endswith(written.thinks)
    # Where a form is asked for, thinking was opened already, or there is none: the form begins at once.
    return ReplyReader(thinks=written.thinks if is_open or not request.format else "", is_open=is_open, tools=tools)


def preview(model: Llama, template: Form, ask: Ask, is_wanted: Callable[[], bool]) -> Preview:
    """What `prepare` would give the model; with `truncate` off, also what it would not. Raises what that does."""
    written = _write(model, template, ask, Options.resolve(ask.options, ask.request.options), is_wanted)
    text = _said(model, written.tokens) if written.is_cut else _said(model, ask.request.context) + written.text
    return Preview(_checked(text), len(written.tokens))


def _said(model: Llama, tokens: Sequence[int]) -> str:
    return b"".join(map(model.piece, tokens)).decode(errors="replace")


def _checked(text: str) -> str:
    """The text, when it can be shown. Raises BadRequest when it is too long for that."""
    if len(text) > LONGEST_SHOWN:
        bound = f"up to {LONGEST_SHOWN:,} are shown or counted"
        raise BadRequest(f"the model would be given {len(text):,} characters; {bound}")
    return text


@dataclass(slots=True)
class _Written:
    """A prompt, and the room it was written for."""

    text: str  # before it was cut
    tokens: list[int]
    is_cut: bool
    context: int
    keep: int  # tokens at the start that stay
    thinks: str  # what the answer opens its thinking with, if any


def _write(model: Llama, template: Form, ask: Ask, options: Options, is_wanted: Callable[[], bool]) -> _Written:
    request = ask.request
    context = min(options.num_ctx or model.context, model.context)
    if any(turn.images for turn in request.messages):
        raise Unsupported("this model is missing data required for image input")
    if not all(0 <= token < model.vocabulary for token in request.context):
        raise BadRequest("context holds a number that is not a token of this model")
    form: Form = GoChat(request.template) if request.template else template
    is_conversation = request.prompt is None and not request.suffix
    thinks = thinking_in(template.source + form.source) if is_conversation else ""
    writer = _Writer(model, form, ask, context, is_wanted, thinks=thinks)
    if request.prompt is not None:
        text = request.prompt
        tokens = writer.tokens(text)
    elif request.suffix:
        tokens, text = writer.middle()
    else:
        tokens, text = writer.turns()
    keep = min(len(tokens) if options.num_keep < 0 else options.num_keep, context // 2)
    is_cut = len(tokens) >= context and request.truncate
    if is_cut:
        tokens = tokens[:keep] + tokens[len(tokens) - (context - 1 - keep) :]
    return _Written(text, tokens, is_cut, context, keep, thinks)


def _conversation(ask: Ask) -> list[Message]:
    """All that is said: what the system says, the model's own turns, and those of the request.

    Who generates a text says what the system says in its place; who goes on from a context has had the rest already.
    """
    turns, before = list(ask.request.messages), ask.messages
    first: list[Message] = []
    is_given = bool(turns) and turns[0].role == "system"
    if is_given and ask.request.wants_context:
        first = [turns.pop(0)]
    elif not is_given and ask.system is not None:
        first = [Message(role="system", content=ask.system)]
    if ask.request.context:
        before = ()
    return [*first, *(Message(role=_role(turn["role"]), content=turn["content"]) for turn in before), *turns]


class _Writer:
    """Writes the prompt of one request."""

    def __init__(
        self,
        model: Llama,
        template: Form,
        ask: Ask,
        context: int,
        is_wanted: Callable[[], bool],
        *,
        thinks: str,
    ) -> None:
        self.model, self.template, self.request, self.context = model, template, ask.request, context
        self.is_wanted = is_wanted
        self.is_exact = ask.is_preview and not ask.request.truncate  # all of it is counted
        self.thinks = thinks
        self.messages = _conversation(ask)
        said = len(msgspec.json.encode((self.messages, ask.request.tools, ask.request.suffix)))
        elements = len(self.messages) + len(ask.request.tools)
        self.longest = LEAST_ROOM + WIDEST_TOKEN * context + ROOM_EACH * elements + COPIES * said

    def middle(self) -> tuple[list[int], str]:
        """What makes the model write the text between the message and the suffix.

        Where both are too long, what is far from the middle is left out; a quarter stays of what comes after.
        """
        before, after = self.request.messages[-1].content, self.request.suffix
        if isinstance(self.template, GoChat) and self.template.takes_suffix:
            text = self.template.insert(before, after, think=self.request.think, longest=self.longest)
            return self.tokens(text), text
        if min(self.model.middle) < 0:
            raise Unsupported("this model does not support insert")
        opening = list(self.request.context) or self.model.tokens("", is_beginning=True)
        most = WIDEST_TOKEN * self.context
        if self.is_exact:
            _checked(before + after)
        else:
            before, after = before[-most:], after[:most]
        earlier, later = (self._read(text, is_beginning=False) for text in (before, after))
        room = self.context - 1 - len(opening) - len(self.model.middle)
        if self.request.truncate and len(earlier) + len(later) > room > 0:
            later = later[: max(room // 4, room - len(earlier))]
            earlier = earlier[len(earlier) - (room - len(later)) :]
        prefix, suffix, middle = self.model.middle
        tokens = [prefix, *earlier, suffix, *later, middle]
        return [*opening, *tokens], _said(self.model, tokens)

    def turns(self) -> tuple[list[int], str]:
        """The messages in the model's template; without the oldest where they would not fit.

        System messages always stay, and so does the last one.
        """
        text = self._render(self.messages)
        tokens = self.tokens(text)
        if len(tokens) < self.context or not self.request.truncate:
            return tokens, text
        others = [place for place, turn in enumerate(self.messages) if turn.role != "system"]
        drops = self._drops(others)
        few, many = 0, len(drops)  # places in `drops`: the fewest that will do
        while few < many:
            middle = (few + many) // 2
            if len(self.tokens(self._render(self._without(others[: drops[middle]])))) < self.context:
                many = middle
            else:
                few = middle + 1
        text = self._render(self._without(others[: drops[min(few, len(drops) - 1)]]))
        return self.tokens(text), text

    def _drops(self, others: Sequence[int]) -> list[int]:
        """How many of the oldest turns may be dropped, the fewest first. There is one way at least.

        A file's own template may insist that a user begins; Ollama's do not.
        """
        ways = list(range(1, len(others))) or [0]
        if isinstance(self.template, GoChat) or not others:
            return ways
        return [count for count in ways if self.messages[others[count]].role == "user"] or ways

    def _without(self, places: Sequence[int]) -> list[Message]:
        gone = set(places)
        return [turn for place, turn in enumerate(self.messages) if place not in gone]

    def _render(self, messages: Sequence[Message]) -> str:
        request = self.request
        self._go_on()
        speaks_in_channels = self.thinks == CHANNEL
        think = _effort(request.think) if speaks_in_channels else request.think
        text = self.template.render(messages, tools=request.tools, think=think, longest=self.longest)
        if not request.format or not self.thinks:
            return text
        # The grammar would forbid the tag the model opens its thinking with, so it is opened here.
        if speaks_in_channels:
            begun = text.rstrip()
            return f"{begun}{ANSWER if request.think is False else THOUGHTS}" if begun.endswith(ASSISTANT) else text
        is_opened = request.think is False or text.rstrip().endswith(self.thinks)
        return text if is_opened else f"{text}{self.thinks}\n"

    def tokens(self, text: str) -> list[int]:
        """Text behind what the request says goes before; never none.

        Of a text that cannot fit only both ends are read, unless it is to be counted: the rest would be read, at some
        megabytes a second, to be dropped again.
        """
        most = WIDEST_TOKEN * self.context
        if self.is_exact:
            _checked(text)
        elif len(text) > 2 * most:
            text = text[:most] + text[-most:]
        before = list(self.request.context)
        tokens = before + self._read(text, is_beginning=not before)
        return tokens or self.model.tokens(self.model.bos or "\n", is_beginning=False)

    def _read(self, text: str, *, is_beginning: bool) -> list[int]:
        self._go_on()
        return self.model.tokens(text, is_beginning=is_beginning)

    def _go_on(self) -> None:
        if not self.is_wanted():
            raise GoneError


def _effort(think: bool | str | None) -> bool | str | None:
    """For models that think in channels: they cannot do without, and know three levels."""
    if think is False:
        return "low"
    return "high" if think == "max" else think


def _role(text: str) -> Literal["system", "user", "assistant", "tool"]:
    if text not in {"system", "user", "assistant", "tool"}:
        raise BadRequest(f"the model's own conversation has a turn of {text!r}, which is nobody")
    return cast(Literal["system", "user", "assistant", "tool"], text)
