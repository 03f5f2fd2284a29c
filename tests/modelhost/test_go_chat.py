"""Chat templates in Ollama's own form."""

from typing import Any

import pytest

from orchestrator.core.errors import BadRequest
from orchestrator.core.types import Message, ToolCall
from orchestrator.modelhost.go_chat import GoChat
from orchestrator.modelhost.gotemplate.syntax import TemplateError

ONE_EXCHANGE = (
    "{{ if .System }}<system>{{ .System }}</s>{{ end }}{{ if .Prompt }}<user>{{ .Prompt }}</s>{{ end }}"
    "<assistant>{{ .Response }}</s>"
)
# In the manner of the library's templates for models that call tools and think.
WHOLE = """\
{{- if or .System .Tools }}<|im_start|>system
{{ .System }}
{{- if .Tools }}
# Tools
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- range $name, $shape := .Function.Parameters.Properties }} {{ $name }}:{{ $shape.Type }}{{ end }}
{{- end }}
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}{{ if and $.IsThinkSet $last }}{{ if $.Think }} /think{{ else }} /no_think{{ end }}{{ end }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if and .Thinking $last }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}
{{- range .ToolCalls }}<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>{{ end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>{{ .Content }}</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}"""
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells it",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "day": {"type": ["string", "null"]}},
        },
    },
}


def turn(role: Any, text: str = "", **fields: Any) -> Message:
    return Message(role=role, content=text, **fields)


def test_a_template_of_one_exchange_is_run_for_each():
    template = GoChat(ONE_EXCHANGE)
    turns = [turn("system", "s"), turn("user", "1"), turn("assistant", "2"), turn("user", "3")]
    assert template.render(turns) == "<system>s</s><user>1</s><assistant>2</s><user>3</s><assistant>"
    assert template.render([*turns, turn("system", "t"), turn("user", "4")]) == (
        "<system>s</s><user>1</s><assistant>2</s><user>3</s><assistant></s><system>t</s><user>4</s><assistant>"
    )


def test_the_models_turn_is_gone_on_with():
    turns = [turn("user", "1"), turn("assistant", "It is")]
    assert GoChat(ONE_EXCHANGE).render(turns) == "<user>1</s><assistant>It is"


def test_what_is_behind_the_response_is_cut_wherever_that_stands():
    template = GoChat("{{ .Prompt }}{{ if .Response }}>{{ .Response }}a{{ else }}b{{ end }}c{{ range 2 }}d{{ end }}")
    assert template.render([turn("user", "p")]) == "p"
    assert template.render([turn("user", "p"), turn("assistant", "r")]) == "p>r"
    assert GoChat("{{ (print .Response) }}x").render([turn("user", "p")]) == ""


def test_a_template_that_names_no_response_ends_with_it():
    template = GoChat("Q: {{ .Prompt }} A: ")
    assert template.render([turn("user", "1"), turn("assistant", "2"), turn("user", "3")]) == "Q: 1 A: 2Q: 3 A: "


def test_nothing_said_is_an_exchange_too():
    assert GoChat(ONE_EXCHANGE).render([]) == "<assistant>"


def test_a_conversation_with_tools_and_thinking():
    call = ToolCall(id="call_1", name="get_weather", arguments={"city": "Zürich <1>"})
    text = GoChat(WHOLE).render(
        [
            turn("system", "Be brief."),
            turn("user", "Weather?"),
            turn("user", "In Zürich"),
            turn("assistant", thinking="hm", tool_calls=(call,)),
            turn("tool", "rain", tool_name="get_weather"),
            turn("tool", "wind", tool_name="get_weather"),
        ],
        tools=[TOOL],
    )
    assert text == (
        '<|im_start|>system\nBe brief.\n# Tools\n{"type": "function", "function": {"name":"get_weather","description":'
        '"Tells it","parameters":{"type":"object","properties":{"city":{"type":"string"},"day":{"type":["string",'
        '"null"]}}}}} city:string day:["string","null"]<|im_end|>\n<|im_start|>user\nWeather?\n\nIn Zürich<|im_end|>\n'
        '<|im_start|>assistant\n<tool_call>\n{"name": "get_weather", "arguments": {"city":"Zürich \\u003c1\\u003e"}}\n'
        "</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>rain</tool_response><|im_end|>\n<|im_start|>user\n"
        "<tool_response>wind</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("think", "text"), [(None, " /think"), (True, " /think"), ("low", " /think"), (False, " /no_think")]
)
def test_a_model_that_can_think_does_unless_it_is_told_otherwise(think: bool | str | None, text: str):
    assert f"hi{text}<|im_end|>" in GoChat(WHOLE).render([turn("user", "hi")], think=think)


def test_how_much_to_think_is_told():
    assert GoChat("{{ .ThinkLevel }}{{ .Response }}").render([turn("user")], think="high") == "high"


def test_it_says_what_it_can_do():
    assert GoChat(WHOLE).takes_tools
    assert GoChat(WHOLE).takes_thinking
    assert not GoChat(WHOLE).takes_suffix
    assert GoChat("<think>{{ .Prompt }}").takes_thinking
    plain = GoChat(ONE_EXCHANGE)
    assert [plain.takes_tools, plain.takes_thinking, plain.takes_suffix] == [False, False, False]


def test_a_template_for_the_middle():
    template = GoChat("{{ if .Suffix }}<PRE>{{ .Prompt }}<SUF>{{ .Suffix }}<MID>{{ else }}{{ .Prompt }}{{ end }}")
    assert template.takes_suffix
    assert template.insert("def f(", "return 1") == "<PRE>def f(<SUF>return 1<MID>"
    assert template.render([turn("user", "hi")]) == "hi"


def test_what_goes_wrong_is_the_callers_to_know():
    with pytest.raises(TemplateError, match="line 1, column 4"):
        GoChat("{{ if }}")
    with pytest.raises(BadRequest, match="line 1, column 24: there is no field 'Foo'"):
        GoChat("{{ range .Messages }}{{.Foo }}{{ end }}").render([turn("user", "hi")])


def test_long_conversations_may_take_longer():
    turns = [turn(role, "hi") for _ in range(5_000) for role in ("user", "assistant")]
    assert GoChat("{{ range .Messages }}{{ if eq .Role `user` }}{{ .Content }}{{ end }}{{ end }}").render(turns)
    with pytest.raises(BadRequest, match="too many steps"):
        GoChat("{{ range .Messages }}{{ range $.Messages }}{{ end }}{{ end }}").render(turns[:600])
    assert GoChat(ONE_EXCHANGE).render(turns)
    with pytest.raises(BadRequest, match="too many steps"):
        GoChat("{{ range 300 }}{{ end }}{{ .Prompt }}{{ .Response }}").render(turns)


def test_odd_tools_are_written_as_they_came():
    odd: list[dict[str, Any]] = [{}, {"function": 1}, {"function": {"name": 1, "parameters": {"properties": {"a": 1}}}}]
    template = GoChat("{{ range .Tools }}{{ .Function.Name }}{{ .Type }}{{ . }}{{ end }}{{ range .Messages }}{{ end }}")
    assert template.render([turn("user")], tools=odd) == (
        '{}{"function":1}{"function":{"name":1,"parameters":{"properties":{"a":1}}}}'
    )
    deep: dict[str, Any] = {}
    for _ in range(2_000):
        deep = {"properties": {"a": deep}}
    with pytest.raises(BadRequest, match="nested too deep"):
        template.render([turn("user")], tools=[{"function": {"parameters": deep}}])


def test_all_exchanges_together_are_no_longer_than_is_allowed():
    turns = [turn(role, "abc") for _ in range(3) for role in ("user", "assistant")]
    assert len(GoChat("{{ .Prompt }}{{ .Response }}").render(turns, longest=18)) == 18
    for source in ("{{ .Prompt }}{{ .Response }}", "{{ range .Messages }}{{ .Content }}{{ end }}"):
        with pytest.raises(BadRequest, match="characters are allowed"):
            GoChat(source).render(turns, longest=17)
    with pytest.raises(BadRequest, match="5 characters are allowed"):
        GoChat("{{ .Prompt }}{{ .Suffix }}").insert("abc", "def", longest=5)


def test_the_last_turn_is_found_in_the_longest_conversation():
    """As the library's templates find it: by measuring what is left, at every turn."""
    idiom = "{{ range $i, $_ := .Messages }}{{ if eq (len (slice $.Messages $i)) 1 }}{{ .Content }}{{ end }}{{ end }}"
    turns = [turn(role, "hi") for _ in range(10_000) for role in ("user", "assistant")]  # more no body can have
    assert GoChat(idiom).render([*turns, turn("user", "last")]) == "last"


def test_nothing_of_what_one_role_says_in_a_row_is_lost():
    call, another = (ToolCall(id=name, name=name, arguments={}) for name in ("get_weather", "get_time"))
    source = (
        "{{ range .Messages }}[{{ .Role }}:{{ .Thinking }}|{{ .Content }}|{{ len .Images }}"
        "{{ range .ToolCalls }}|{{ .Function.Index }} {{ .Function.Name }}{{ end }}]{{ end }}"
    )
    text = GoChat(source).render(
        [
            turn("user", "Weather?", images=("a",)),
            turn("user", images=("b", "c")),
            turn("assistant", "let me see", thinking="hm"),
            turn("assistant", thinking="so", tool_calls=(call,)),
            turn("assistant", tool_calls=(another,)),
            turn("tool", "sunny"),
        ]
    )
    assert text == ("[user:|Weather?|3][assistant:hm\n\nso|let me see|0|0 get_weather|1 get_time][tool:|sunny|0]")


def test_the_shapes_of_arguments_are_told_in_typescript():
    shapes: dict[str, Any] = {
        "a": {"type": "string"},
        "b": {"type": ["integer", "null"]},
        "c": {"type": "array", "items": {"type": "string"}},
        "d": {"anyOf": [{"type": "object"}, {"anyOf": [{"type": "boolean"}, {"type": "number"}]}]},
        "e": {},
        "f": {"type": "date"},
        "g": {"type": [["string"]]},
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": shapes}}}
    source = (
        "{{ range .Tools }}{{ range $name, $shape := .Function.Parameters.Properties }}{{ $name }}: "
        "{{ $shape | toTypeScriptType }}, {{ end }}{{ toTypeScriptType . }}{{ toTypeScriptType 1 }}{{ end }}"
        "{{ .Messages }}"
    )
    assert GoChat(source).render([], tools=[tool]) == (
        "a: string, b: number | null, c: any[], d: Record<string, any> | boolean | number, e: any, f: any, g: any, "
        "anyany[]"
    )
