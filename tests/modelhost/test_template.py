"""A model's chat template."""

import re

import pytest

from orchestrator.core.errors import BadRequest
from orchestrator.core.types import Message, ToolCall
from orchestrator.modelhost.template import ChatTemplate

HELLO = [Message(role="user", content="hi <b>")]


def test_messages_become_a_prompt():
    template = ChatTemplate(
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}",
        bos="<s>",
    )
    assert template.render(HELLO) == "<s>[user]hi <b>[assistant]"


def test_tools_are_written_as_plain_json():
    template = ChatTemplate("{% for tool in tools %}{{ tool | tojson }}{% endfor %}")
    assert template.render(HELLO, tools=[{"name": "<f>", "é": 1}]) == '{"name": "<f>", "é": 1}'


def test_calls_and_their_results_reach_the_template():
    template = ChatTemplate(
        "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.name }}({{ c.function.arguments | tojson }})"
        "{% endfor %}{{ m.name }}{{ m.content }};{% endfor %}"
    )
    call = Message(role="assistant", tool_calls=(ToolCall(id="1", name="f", arguments={"a": 1}),))
    assert template.render([call, Message(role="tool", content="42", tool_name="f")]) == 'f({"a": 1});f42;'


MISTRAL = """
{%- for m in messages %}
{%- if m.role == "user" %}[INST] {{ m.content }}[/INST]
{%- elif m.tool_calls is defined %}[TOOL_CALLS] [
{%- for c in m.tool_calls %}
{%- if not c.id is defined or c.id|length != 9 %}{{- raise_exception("Tool call IDs have length 9!") }}{%- endif %}
{{- c.function.name }} {{ c.id }},
{%- endfor %}]
{%- elif m.role == "tool" %}
{%- if not m.tool_call_id is defined or m.tool_call_id|length != 9 %}{{- raise_exception("and results!") }}{%- endif %}
{{- "[TOOL_RESULTS] " }}{{ m.content }} {{ m.tool_call_id }}
{%- endif %}
{%- endfor %}"""


@pytest.mark.parametrize("says_which", ["id", "name", "neither"])
def test_calls_have_ids_as_mistrals_templates_demand_and_results_those_of_their_calls(says_which: str):
    calls = tuple(ToolCall(id=f"call_{name}", name=name, arguments={}) for name in ("f", "g"))
    results = [
        Message(
            role="tool",
            content=name,
            tool_call_id=f"call_{name}" if says_which == "id" else "",
            tool_name=name if says_which == "name" else "",
        )
        for name in (("f", "g") if says_which == "neither" else ("g", "f"))
    ]
    text = ChatTemplate(MISTRAL).render([*HELLO, Message(role="assistant", tool_calls=calls), *results, *HELLO])
    made = dict(re.findall(r"([fg]) ([0-9a-z]{9}),", text))
    told = dict(re.findall(r"\[TOOL_RESULTS\] ([fg]) ([0-9a-z]{9})", text))
    assert made == told
    assert len(set(made.values())) == 2


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(("begun", "end"), [("One, two,", "One, two,"), (" One, ", "One,"), ("\n", "assistant\n")])
def test_an_answer_that_was_begun_is_gone_on_with(begun: str, end: str):
    assert ChatTemplate(CHATML).render([*HELLO, Message(role="assistant", content=begun)]).endswith(end)


def test_where_a_template_does_not_show_what_was_begun_a_new_answer_begins():
    template = ChatTemplate("{% if add_generation_prompt %}new{% else %}old{% endif %}")
    assert template.render([*HELLO, Message(role="assistant", content="One")]) == "new"


def test_what_the_system_says_comes_first_with_the_user_where_a_template_knows_no_system():
    gemma = ChatTemplate(
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    system = Message(role="system", content="Be brief.")
    assert gemma.render([system, *HELLO]) == "[user]Be brief.\n\nhi <b>"
    with pytest.raises(BadRequest, match="System role not supported"):
        gemma.render([system, *HELLO, *HELLO])


def test_what_is_marked_for_training_is_what_stands_there():
    template = ChatTemplate("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}!{% endfor %}")
    assert template.render(HELLO) == "hi <b>!"


@pytest.mark.parametrize(("think", "text"), [(None, "unset"), (False, "False"), (True, "True"), ("high", "True high")])
def test_thinking_is_told_to_the_template(think: bool | str | None, text: str):
    template = ChatTemplate(
        "{% if enable_thinking is defined %}{{ enable_thinking }}{% else %}unset{% endif %}"
        "{% if reasoning_effort %} {{ reasoning_effort }}{% endif %}"
    )
    assert template.render(HELLO, think=think) == text


def test_a_file_without_a_template_gets_the_bare_text():
    assert ChatTemplate("").render(HELLO) == "hi <b>\n"


def test_a_template_may_refuse():
    with pytest.raises(BadRequest, match="roles must alternate"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}").render(HELLO)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% for x in range(10**9) %}x{% endfor %}",
        "{{ 1 // 0 }}",
        "{{ nothing.at.all }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_hostile_template_gets_nowhere(source: str):
    with pytest.raises(BadRequest, match="chat template"):
        ChatTemplate(source).render(HELLO)


def test_a_template_that_cannot_be_read_is_named():
    with pytest.raises(ValueError, match="cannot be read"):
        ChatTemplate("{% if %}")


def test_it_stops_once_it_has_made_more_than_is_allowed():
    template = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}")
    long = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}{{ raise_exception('it went on') }}")
    assert template.render(HELLO * 3, longest=18) == "hi <b>" * 3
    for one in (template, long):
        with pytest.raises(BadRequest, match="gets too long; 17 characters are allowed"):
            one.render(HELLO * 3, longest=17)
