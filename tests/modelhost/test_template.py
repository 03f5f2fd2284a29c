"""A model's chat template."""

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
