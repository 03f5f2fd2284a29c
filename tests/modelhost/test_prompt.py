"""From a request to tokens, with a model that only counts what it is made to read."""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.core.errors import BadRequest
from orchestrator.core.types import ChatRequest, Chunk, Message, ToolCall
from orchestrator.modelhost import prompt as prompt_module
from orchestrator.modelhost import wire
from orchestrator.modelhost.channels import ANSWER, ASSISTANT, THOUGHTS
from orchestrator.modelhost.go_chat import GoChat
from orchestrator.modelhost.prompt import LONGEST_SHOWN, Form, GoneError, prepare, preview
from orchestrator.modelhost.template import ChatTemplate
from tests.modelhost import harmony


class Letters:
    """A model each of whose tokens is a letter."""

    context, vocabulary, can_shift, bos = 100, 2**16, True, ""
    middle = (1, 2, 3)

    def __init__(self) -> None:
        self.read: list[int] = []  # how long each text was

    def tokens(self, text: str, *, is_beginning: bool) -> list[int]:
        self.read.append(len(text))
        return [ord(letter) for letter in text]

    def piece(self, token: int) -> bytes:
        return chr(token).encode()


@pytest.fixture
def model() -> Any:
    return Letters()


PLAIN = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}")


def shown(model: Any, form: Form = PLAIN, **fields: Any) -> wire.Preview:
    return preview(model, form, asked(**fields), lambda: True)


def asked(**fields: Any) -> wire.Ask:
    return wire.Ask(1, ChatRequest(model="m", **fields), {}, None, (), 0, is_preview=True)


def turns(*texts: str) -> Sequence[Message]:
    return tuple(Message(role="user", content=text) for text in texts)


def test_of_a_text_that_cannot_fit_both_ends_are_read(model: Any):
    long = "a" * 500_000 + "b" * 500_000
    for question in ({"prompt": long}, {"messages": turns(long)}, {"messages": turns("x", long, "c")}):
        model.read.clear()
        shown(model, **question)
        assert sum(model.read) < 20_000
    model.read.clear()
    shown(model, messages=turns(long), suffix=long)
    assert sum(model.read) < 20_000


def test_what_is_counted_is_read_whole(model: Any):
    assert shown(model, prompt="a" * 50_000, truncate=False).tokens == 50_000
    assert shown(model, messages=turns("a" * 50_000), truncate=False).tokens == 50_000
    assert shown(model, messages=turns("a" * 50_000), suffix="b" * 50_000, truncate=False).tokens == 100_003


@pytest.mark.parametrize(
    "question", [{"prompt": "aaaa"}, {"messages": turns("aaaa")}, {"messages": turns("aa"), "suffix": "aa"}]
)
def test_what_is_too_long_to_be_shown_is_not_read(
    model: Any, monkeypatch: pytest.MonkeyPatch, question: dict[str, Any]
):
    monkeypatch.setattr(prompt_module, "LONGEST_SHOWN", 3)
    with pytest.raises(BadRequest, match="the model would be given 4 characters; up to 3 are shown or counted"):
        shown(model, truncate=False, **question)
    assert sum(model.read) == 0
    assert LONGEST_SHOWN * 6 < wire.LARGEST_FRAME  # bytes of JSON, at the most


@pytest.mark.parametrize(
    "source",
    [
        "{{ range 2000 }}" + "a" * 600 + "{{ end }}{{ .Prompt }}",
        "{{ $x := .Prompt }}{{ range 30 }}{{ $x = print $x $x }}{{ end }}{{ .Response }}",
        "{{ range 999 }}{{ range $.Messages }}{{ printf `%999s` .Role }}{{ end }}{{ end }}",
    ],
)
def test_a_template_makes_text_in_proportion_to_the_request(model: Any, source: str):
    with pytest.raises(BadRequest, match=r"too long; \d+,\d\d\d characters are allowed"):
        shown(model, messages=turns("hi"), template=source)
    assert model.read == []
    assert shown(model, messages=turns("hi" * 50_000), template="{{ .Prompt }}{{ .Prompt }}").tokens


QUESTIONS = [{"prompt": "a"}, {"messages": turns("a")}, {"messages": turns("a"), "suffix": "b"}]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("make", [prepare, preview])
def test_for_who_has_gone_nothing_is_made(model: Any, question: dict[str, Any], make: Any):
    def render(*_: Any, **__: Any) -> str:
        raise AssertionError("nobody wants it")

    template = ChatTemplate("")
    template.render = render  # type: ignore[method-assign]
    model.tokens = render
    with pytest.raises(GoneError):
        make(model, template, asked(**{"context": (65,), **question}), lambda: False)


def test_who_goes_while_the_text_is_made_is_noticed_before_it_is_read(model: Any):
    template = ChatTemplate("{{ messages[0].content }}")
    said = iter([True, False])
    with pytest.raises(GoneError):
        preview(model, template, asked(messages=turns("a")), lambda: next(said))
    assert model.read == []


def test_what_is_shown_is_what_is_left_once_it_is_cut(model: Any):
    text = "".join(map(chr, range(1000, 1200)))
    cut = wire.Preview(text[:4] + text[-95:], 99)
    assert shown(model, prompt=text) == shown(model, messages=turns(text)) == cut
    assert shown(model, prompt=text[10:], context=[ord(letter) for letter in text[:10]]) == cut
    assert shown(model, prompt=text, options={"num_ctx": 8}) == wire.Preview(text[:4] + text[-3:], 7)
    assert shown(model, prompt=text, options={"num_keep": 0}) == wire.Preview(text[-99:], 99)
    assert shown(model, prompt=text[:99]) == wire.Preview(text[:99], 99)
    assert shown(model, prompt=text, truncate=False) == wire.Preview(text, 200)
    with pytest.raises(BadRequest, match="exceeds the context length"):
        prepare(model, PLAIN, asked(prompt=text, truncate=False), lambda: True)


ALTERNATING = ChatTemplate(
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}{% endfor %}"
)


@pytest.mark.parametrize("count", range(1, 14))
def test_what_a_template_refuses_is_not_made_by_leaving_out_the_oldest(model: Any, count: int):
    said = [
        Message(role=("user", "assistant")[at % 2], content=chr(97 + at) * 20)  # type: ignore[arg-type]  # one of these
        for at in range(2 * count - 1)
    ]
    text = "".join(turn.content for turn in said)
    kept = text if len(text) < 100 else text[-60:]  # by two turns at a time
    assert shown(model, ALTERNATING, messages=said).text == kept


def test_what_the_system_says_alone_is_cut_like_a_text(model: Any):
    assert shown(model, messages=[Message(role="system", content="x" * 200)]).tokens == 99


def test_ollamas_templates_leave_out_turn_by_turn(model: Any):
    said = [Message(role=("user", "assistant")[at % 2], content="x" * 15) for at in range(9)]  # type: ignore[arg-type]
    form = "{{ range .Messages }}{{ .Content }}{{ end }}"
    assert len(shown(model, messages=said, template=form).text) == 90


def test_the_system_comes_first_and_a_models_own_turns_before_those_of_the_request(model: Any):
    own = ({"role": "user", "content": "m1 "}, {"role": "assistant", "content": "m2 "})

    def text(system: str | None = "sys ", **fields: Any) -> str:
        ask = wire.Ask(1, ChatRequest(model="m", **fields), {}, system, own, 0, is_preview=True)
        return preview(model, PLAIN, ask, lambda: True).text

    theirs = Message(role="system", content="theirs ")
    assert text(messages=turns("q")) == "sys m1 m2 q"
    assert text(None, messages=turns("q")) == "m1 m2 q"
    assert text(messages=(theirs, *turns("q"))) == "m1 m2 theirs q", "as in Ollama"
    assert text(messages=(theirs, *turns("q")), endpoint="/api/generate") == "theirs m1 m2 q"
    gone_on = text(messages=turns("q"), endpoint="/api/generate", context=(65,))
    assert gone_on == "Asys q", "the rest is in what it goes on from"


@pytest.mark.parametrize("think", [None, True, False])
@pytest.mark.parametrize("opens", ["", "<think>\n", "<think>\n\n</think>\n\n"])
def test_where_a_form_is_asked_for_it_holds_from_the_first_token_of_the_answer(
    model: Any, monkeypatch: pytest.MonkeyPatch, think: bool | None, opens: str
):
    class Sampler:
        def __init__(self, *_: Any) -> None: ...

        def prime(self, tokens: Sequence[int]) -> None: ...

    monkeypatch.setattr(prompt_module, "Sampler", Sampler)
    thinker = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}{# <think> #}" + opens)
    question = prepare(model, thinker, asked(messages=turns("x"), format="json", think=think), lambda: True)
    is_thinking = think is not False or opens == "<think>\n"
    assert question.reader.is_thinking == is_thinking
    if not is_thinking:
        assert [chunk.text for chunk in question.reader.feed('{"a')] == ['{"a']


def test_calls_are_read_of_the_tools_that_were_offered(model: Any, monkeypatch: pytest.MonkeyPatch):
    class Sampler:
        def __init__(self, *_: Any) -> None: ...

        def prime(self, tokens: Sequence[int]) -> None: ...

    monkeypatch.setattr(prompt_module, "Sampler", Sampler)
    tools = ({"type": "function", "function": {"name": "f"}}, {"type": "function"}, {"function": {"name": None}})
    reader = prepare(model, PLAIN, asked(messages=turns("x"), tools=tools), lambda: True).reader
    for name, is_call in (("f", True), ("g", False)):
        chunks = reader.feed(f'<tool_call>{{"name": "{name}"}}</tool_call>')
        assert [call.name for chunk in chunks for call in chunk.tool_calls] == [name] * is_call


CHANNELS = [GoChat(harmony.GO), ChatTemplate(harmony.JINJA)]


@pytest.fixture
def roomy(model: Any) -> Any:
    model.context = 4096
    return model


@pytest.mark.parametrize("form", CHANNELS)
@pytest.mark.parametrize(
    ("think", "effort"),
    [(None, "medium"), (True, "medium"), ("high", "high"), ("low", "low"), ("max", "high"), (False, "low")],
)
def test_models_that_write_in_channels_are_told_how_much_to_think(roomy: Any, form: Form, think: Any, effort: str):
    text = shown(roomy, form, messages=turns("Hi"), think=think).text
    assert f"\nReasoning: {effort}<|end|>" in text
    assert text.endswith("<|start|>user<|message|>Hi<|end|><|start|>assistant")


@pytest.mark.parametrize("form", CHANNELS)
def test_what_was_said_in_channels_is_told_in_them(roomy: Any, form: Form):
    call = ToolCall(id="1", name="f", arguments={"a": 1})
    said = [
        *turns("?"),
        Message(role="assistant", content="Let me see.", thinking="Hm.", tool_calls=(call,)),
        Message(role="tool", content="2", tool_name="f"),
    ]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "integer"}}}}}]
    text = shown(roomy, form, messages=said, tools=tools).text
    final, thought = (
        "<|start|>assistant<|channel|>final<|message|>Let me see.<|end|>",
        f"{ASSISTANT}{THOUGHTS}Hm.<|end|>",
    )
    assert final in text
    assert thought in text
    assert re.search(
        r'to=functions\.f.*?json<\|message\|>\{"a": ?1\}<\|call\|><\|start\|>functions\.f to=assistant', text
    )
    assert text.endswith(f"<|message|>2<|end|>{ASSISTANT}")


@pytest.fixture
def formless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No grammar is made: there is no model that could be kept to one."""

    class Sampler:
        def __init__(self, *_: Any) -> None: ...

        def prime(self, tokens: Sequence[int]) -> None: ...

    monkeypatch.setattr(prompt_module, "Sampler", Sampler)


@pytest.mark.parametrize("form", CHANNELS)
@pytest.mark.parametrize(("think", "opens"), [(None, THOUGHTS), (True, THOUGHTS), ("low", THOUGHTS), (False, ANSWER)])
@pytest.mark.usefixtures("formless")
def test_a_form_holds_for_the_answer_and_not_for_what_is_thought(roomy: Any, form: Form, think: Any, opens: str):
    question = prepare(roomy, form, asked(messages=turns("x"), format="json", think=think), lambda: True)
    assert "".join(map(chr, question.tokens)).endswith(f"<|end|>{ASSISTANT}{opens}")
    if opens == THOUGHTS:
        assert question.reader.is_thinking
        assert question.reader.feed("Hm.<|end|>") == [Chunk(thinking="Hm.")]
        question.reader.feed(f"{ASSISTANT}{ANSWER}")
    assert not question.reader.is_thinking
    assert question.reader.feed("{") == [Chunk(text="{")]


@pytest.mark.parametrize("form", CHANNELS)
@pytest.mark.parametrize("format", [None, "json"])
@pytest.mark.usefixtures("formless")
def test_an_answer_that_was_begun_is_gone_on_with_in_its_channel(roomy: Any, form: Form, format: Any):
    said = [*turns("x"), Message(role="assistant", content="It is")]
    question = prepare(roomy, form, asked(messages=said, format=format), lambda: True)
    assert "".join(map(chr, question.tokens)).endswith(f"{ASSISTANT}{ANSWER}It is")
    assert not question.reader.is_thinking
    assert question.reader.feed(" so<|return|>") == [Chunk(text=" so")]


@pytest.mark.usefixtures("formless")
def test_a_form_holds_from_the_first_token_where_a_callers_template_opens_no_channel(roomy: Any):
    question = asked(messages=turns("x"), format="json", template="Q: {{ .Prompt }} A: ")
    reader = prepare(roomy, CHANNELS[0], question, lambda: True).reader
    assert not reader.is_thinking
    assert reader.feed("t") == [Chunk(text="t")]


@pytest.mark.parametrize("form", CHANNELS)
@pytest.mark.usefixtures("formless")
def test_calls_in_channels_are_read_of_the_tools_that_were_offered(roomy: Any, form: Form):
    tools = ({"type": "function", "function": {"name": "f"}},)
    reader = prepare(roomy, form, asked(messages=turns("x"), tools=tools), lambda: True).reader
    (chunk,) = reader.feed("<|channel|>commentary to=functions.f json<|message|>{}<|call|>")
    assert [call.name for call in chunk.tool_calls] == ["f"]
    assert reader.is_over


@pytest.mark.usefixtures("formless")
def test_a_raw_prompt_is_answered_as_the_model_writes(roomy: Any):
    reader = prepare(roomy, CHANNELS[0], asked(prompt=f"{ASSISTANT}"), lambda: True).reader
    assert reader.feed(ANSWER) == [Chunk(text=ANSWER)]
