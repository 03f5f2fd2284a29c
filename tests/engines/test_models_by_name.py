"""What each model is asked for and what is left out, by its name: a line a model.

Where a provider's list says more than the name, it is the list that counts; these are the models that none has.
"""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.capabilities import settle
from orchestrator.core.types import ChatRequest, Message, Model, ToolCall
from orchestrator.engines.wires import WIRES, wire_at
from orchestrator.engines.wires.base import Wire
from tests.engines.exchange import SCHEMA, TOOL

HI = (Message(role="user", content="hi"),)
CALL = ToolCall(id="call_1", name="weather", arguments={})
CALLED = (
    *HI,
    Message(role="assistant", thinking="Hm.", tool_calls=(CALL,)),
    Message(role="tool", content="sun", tool_call_id="call_1"),
)
WAYS = {"temperature": 0.2, "top_p": 0.5, "top_k": 3}
SHORT = {
    "temperature": "t",
    "top_p": "p",
    "top_k": "k",
    "stop": "s",
    "presence_penalty": "pen",
    "frequency_penalty": "pen",
    "logprobs": "l",
    "top_logprobs": "l",
    "think": "think",
    "thinking": "thoughts",
}

# thinks  what `think: "max"` becomes; not: what `think: false` becomes, an effort where that is all that is said
# ways    what is left out of temperature (t), top_p (p) and top_k (k); alone: of top_p without the others
# schema  kept to, or asked for in words
ANTHROPIC = """
model                      | thinks        | not           | ways  | alone | schema
claude-instant-1.2         | -             | disabled      | -     | -     | words
claude-v1                  | -             | disabled      | -     | -     | words
claude-2.0                 | -             | disabled      | -     | -     | words
claude-2.1                 | -             | disabled      | -     | -     | words
claude-3-haiku-20240307    | -             | disabled      | -     | -     | words
claude-3-opus-20240229     | -             | disabled      | -     | -     | words
claude-3-opus-latest       | -             | disabled      | -     | -     | words
claude-3-5-sonnet-20241022 | -             | disabled      | -     | -     | words
claude-3-5-sonnet-latest   | -             | disabled      | -     | -     | words
claude-3-5-haiku-20241022  | -             | disabled      | -     | -     | words
claude-3-5-haiku-latest    | -             | disabled      | -     | -     | words
claude-3-7-sonnet-20250219 | enabled 4096  | disabled      | -     | -     | words
claude-3-7-sonnet-latest   | enabled 4096  | disabled      | -     | -     | words
claude-sonnet-4-20250514   | enabled 4096  | disabled      | -     | -     | words
claude-sonnet-4-0          | enabled 4096  | disabled      | -     | -     | words
claude-opus-4-20250514     | enabled 4096  | disabled      | -     | -     | words
claude-opus-4-0            | enabled 4096  | disabled      | -     | -     | words
claude-opus-4-1            | enabled 4096  | disabled      | p     | -     | kept
claude-opus-4-1-20250805   | enabled 4096  | disabled      | p     | -     | kept
claude-sonnet-4-5          | enabled 4096  | disabled      | p     | -     | kept
claude-sonnet-4-5-20250929 | enabled 4096  | disabled      | p     | -     | kept
claude-haiku-4-5           | enabled 4096  | disabled      | p     | -     | kept
claude-haiku-4-5-20251001  | enabled 4096  | disabled      | p     | -     | kept
claude-opus-4-5            | enabled 4096  | disabled      | p     | -     | kept
claude-opus-4-5-20251101   | enabled 4096  | disabled      | p     | -     | kept
claude-opus-4-6            | adaptive high | disabled      | p     | -     | kept
claude-opus-4.6            | adaptive high | disabled      | p     | -     | kept
claude-sonnet-4-6          | adaptive high | disabled      | p     | -     | kept
claude-opus-4-7            | adaptive high | -             | t k p | p     | kept
claude-opus-4-8            | adaptive high | -             | t k p | p     | kept
claude-opus-4-8-20260601   | adaptive high | -             | t k p | p     | kept
claude-sonnet-5            | adaptive high | disabled      | t k p | p     | kept
claude-sonnet-5-5          | adaptive high | between_tools | t k p | p     | kept
claude-opus-5              | adaptive high | disabled      | t k p | p     | kept
claude-opus-5-5            | adaptive high | low           | t k p | p     | kept
claude-haiku-5             | adaptive high | disabled      | t k p | p     | kept
claude-haiku-5-5           | adaptive high | disabled      | t k p | p     | kept
claude-fable-5             | adaptive high | low           | t k p | p     | kept
claude-fable-5-1           | adaptive high | low           | t k p | p     | kept
claude-mythos-5            | adaptive high | low           | t k p | p     | kept
claude-mythos-preview      | adaptive high | low           | t k p | p     | kept
glm-4.7                    | enabled 4096  | disabled      | -     | -     | kept
glm-5                      | enabled 4096  | disabled      | -     | -     | kept
kimi-k2.5                  | enabled 4096  | disabled      | -     | -     | kept
minimax-m3                 | enabled 4096  | disabled      | -     | -     | kept
deepseek-v4-pro            | enabled 4096  | disabled      | -     | -     | kept
"""

# thinks  whether it is said to
# ways    what is left out of penalties (pen), logprobs (l), stop (s), temperature (t) and top_p (p); true: where it is
#         to think, also
# effort  what `think: "high"` becomes, and what it becomes where tools are offered; none: with tools, and no `think`
# cap     what a cap of 50,000 becomes
OPENAI = """
model                           | thinks | ways        | true        | effort | tools | none | cap
gpt-3.5-turbo                   | no     | -           | -           | -      | -     | -    | 4,096
gpt-3.5-turbo-0125              | no     | -           | -           | -      | -     | -    | 4,096
gpt-3.5-turbo-16k               | no     | -           | -           | -      | -     | -    | 4,096
gpt-4                           | no     | -           | -           | -      | -     | -    | 50,000
gpt-4-0613                      | no     | -           | -           | -      | -     | -    | 50,000
gpt-4-turbo                     | no     | -           | -           | -      | -     | -    | 4,096
gpt-4-turbo-2024-04-09          | no     | -           | -           | -      | -     | -    | 4,096
gpt-4o                          | no     | -           | -           | -      | -     | -    | 16,384
gpt-4o-2024-05-13               | no     | -           | -           | -      | -     | -    | 4,096
gpt-4o-2024-08-06               | no     | -           | -           | -      | -     | -    | 16,384
gpt-4o-mini                     | no     | -           | -           | -      | -     | -    | 16,384
gpt-4o-mini-2024-07-18          | no     | -           | -           | -      | -     | -    | 16,384
gpt-4o-search-preview           | no     | -           | -           | -      | -     | -    | 16,384
gpt-4o-audio-preview            | no     | -           | -           | -      | -     | -    | 16,384
chatgpt-4o-latest               | no     | -           | -           | -      | -     | -    | 16,384
gpt-4.1                         | no     | -           | -           | -      | -     | -    | 32,768
gpt-4.1-2025-04-14              | no     | -           | -           | -      | -     | -    | 32,768
gpt-4.1-mini                    | no     | -           | -           | -      | -     | -    | 32,768
gpt-4.1-nano                    | no     | -           | -           | -      | -     | -    | 32,768
gpt-4.5-preview                 | no     | -           | -           | -      | -     | -    | 50,000
ft:gpt-4o-mini-2024-07-18:me::a | no     | -           | -           | -      | -     | -    | 16,384
ft:gpt-4.1-2025-04-14:me::a     | no     | -           | -           | -      | -     | -    | 32,768
ft:o4-mini-2025-04-16:me::a     | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
o1                              | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
o1-mini                         | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
o1-preview                      | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
o1-pro                          | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
o3                              | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
o3-2025-04-16                   | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
o3-mini                         | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
o3-pro                          | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
o4-mini                         | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
o4-mini-2025-04-16              | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
o4-mini-deep-research           | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
gpt-5                           | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
GPT-5                           | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
gpt-5-mini                      | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
gpt-5-mini-2025-08-07           | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
gpt-5-nano                      | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
gpt-5-pro                       | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
gpt-5-codex                     | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
gpt-5-chat-latest               | no     | -           | -           | -      | -     | -    | 50,000
gpt-5.1                         | yes    | pen s       | pen l s t p | high   | high  | -    | 50,000
gpt-5.1-2025-11-13              | yes    | pen s       | pen l s t p | high   | high  | -    | 50,000
gpt-5.1-chat-latest             | yes    | pen l s t p | pen l s t p | -      | -     | -    | 50,000
gpt-5.1-codex                   | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
gpt-5.1-codex-mini              | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
gpt-5.2                         | yes    | pen s       | pen l s t p | high   | high  | -    | 50,000
gpt-5.2-2025-12-11              | yes    | pen s       | pen l s t p | high   | high  | -    | 50,000
gpt-5.2-pro                     | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
gpt-5.2-codex                   | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
gpt-5.2-chat-latest             | yes    | pen l s t p | pen l s t p | -      | -     | -    | 50,000
gpt-5.3-codex                   | yes    | pen l s t p | pen l s t p | high   | high  | -    | 50,000
gpt-5.3-chat-latest             | yes    | pen l s t p | pen l s t p | -      | -     | -    | 50,000
gpt-5.4                         | yes    | pen l s t p | pen l s t p | high   | -     | -    | 50,000
gpt-5.4-mini                    | yes    | pen l s t p | pen l s t p | high   | -     | -    | 50,000
gpt-5.4-nano                    | yes    | pen l s t p | pen l s t p | high   | -     | -    | 50,000
gpt-5.4-pro                     | yes    | pen l s t p | pen l s t p | high   | -     | -    | 50,000
gpt-5.5                         | yes    | pen l s t p | pen l s t p | high   | -     | -    | 50,000
gpt-5.5-pro                     | yes    | pen l s t p | pen l s t p | high   | -     | -    | 50,000
gpt-5.6                         | yes    | pen l s t p | pen l s t p | high   | none  | none | 50,000
gpt-5.6-terra                   | yes    | pen l s t p | pen l s t p | high   | none  | none | 50,000
gpt-6                           | yes    | pen l s t p | pen l s t p | high   | none  | none | 50,000
gpt-oss-120b                    | yes    | -           | -           | high   | high  | -    | 50,000
gpt-oss-20b                     | yes    | -           | -           | high   | high  | -    | 50,000
codex-mini-latest               | yes    | -           | -           | high   | high  | -    | 50,000
something-new                   | yes    | -           | -           | high   | high  | -    | 50,000
"""

# true, false, low  what `think` becomes: a budget or a level; * asks to be shown thoughts
# penalties         taken, or left out
# form              of an answer where tools are offered: kept to, or asked for in words
# calls             of its own, as they go back to it: signed, or plain
# tools             whether it is said to take any
GEMINI = """
model                                   | true | false   | low   | penalties | form  | calls  | tools
gemini-1.0-pro                          | -    | -       | -     | taken     | words | plain  | yes
gemini-1.5-flash                        | -    | -       | -     | taken     | words | plain  | yes
gemini-1.5-flash-8b                     | -    | -       | -     | taken     | words | plain  | yes
gemini-1.5-pro                          | -    | -       | -     | taken     | words | plain  | yes
gemini-2.0-flash                        | -    | -       | -     | taken     | words | plain  | yes
gemini-2.0-flash-lite                   | -    | -       | -     | taken     | words | plain  | yes
gemini-2.0-flash-exp                    | -    | -       | -     | taken     | words | plain  | yes
gemini-2.0-flash-thinking-exp-01-21     | -    | -       | -     | taken     | words | plain  | yes
gemini-2.0-pro-exp-02-05                | -    | -       | -     | taken     | words | plain  | yes
gemini-2.5-flash                        | -1*  | 0       | 1024* | left out  | words | plain  | yes
gemini-2.5-flash-lite                   | -1*  | 0       | 1024* | left out  | words | plain  | yes
gemini-2.5-flash-preview-09-2025        | -1*  | 0       | 1024* | left out  | words | plain  | yes
gemini-2.5-flash-image                  | -1*  | 0       | 1024* | left out  | words | plain  | yes
gemini-2.5-pro                          | -1*  | 128     | 1024* | left out  | words | plain  | yes
gemini-2.5-pro-preview-06-05            | -1*  | 128     | 1024* | left out  | words | plain  | yes
gemini-2.5-computer-use-preview-10-2025 | -1*  | 0       | 1024* | left out  | words | plain  | yes
gemini-3-pro                            | *    | LOW     | LOW*  | left out  | kept  | signed | yes
gemini-3-pro-preview                    | *    | LOW     | LOW*  | left out  | kept  | signed | yes
gemini-3-flash-preview                  | *    | MINIMAL | LOW*  | left out  | kept  | signed | yes
gemini-3.1-pro-preview                  | *    | LOW     | LOW*  | left out  | kept  | signed | yes
gemini-3.1-flash-lite                   | *    | MINIMAL | LOW*  | left out  | kept  | signed | yes
gemini-3.5-flash                        | *    | MINIMAL | LOW*  | left out  | kept  | signed | yes
gemini-3.8-flash                        | *    | MINIMAL | LOW*  | left out  | kept  | signed | yes
gemini-flash-latest                     | *    | MINIMAL | LOW*  | left out  | kept  | signed | yes
gemini-flash-lite-latest                | *    | MINIMAL | LOW*  | left out  | kept  | signed | yes
gemini-pro-latest                       | *    | LOW     | LOW*  | left out  | kept  | signed | yes
gemini-pro                              | *    | LOW     | LOW*  | left out  | kept  | signed | yes
gemini-exp-1206                         | *    | MINIMAL | LOW*  | left out  | kept  | signed | yes
gemini-robotics-er-1.5-preview          | -1*  | 0       | 1024* | left out  | words | signed | yes
gemini-robotics-er-1.6-preview          | -1*  | 0       | 1024* | left out  | words | signed | yes
gemini-robotics-er-2-preview            | -1*  | 0       | 1024* | left out  | kept  | signed | yes
gemma-3-27b-it                          | -    | -       | -     | left out  | words | plain  | no
gemma-3n-e4b-it                         | -    | -       | -     | left out  | words | plain  | no
gemma-4-31b-it                          | -    | -       | -     | left out  | words | plain  | no
learnlm-2.0-flash-experimental          | -    | -       | -     | left out  | words | plain  | yes
tunedModels/mine                        | *    | MINIMAL | LOW*  | left out  | kept  | signed | yes
"""

# thoughts  whether what was thought before goes back to it
# effort    what `think: "high"` becomes
RELATIVES = """
model                                  | thoughts | effort
deepseek:deepseek-chat                 | no       | high
deepseek:deepseek-coder                | no       | high
deepseek:deepseek-reasoner             | yes      | high
deepseek:deepseek-v4-pro               | yes      | high
deepseek:deepseek-v4-flash             | yes      | high
deepseek:DeepSeek-Chat                 | no       | high
mistral:mistral-large-latest           | no       | left out
mistral:mistral-small-latest           | no       | left out
mistral:magistral-medium-latest        | no       | left out
mistral:codestral-latest               | no       | left out
mistral:ministral-8b-latest            | no       | left out
openrouter:deepseek/deepseek-v3.2      | yes      | high
openrouter:~deepseek/deepseek-chat     | yes      | high
openrouter:DeepSeek/deepseek-r1        | yes      | high
openrouter:anthropic/claude-opus-5     | no       | high
openrouter:openai/gpt-5                | no       | high
openrouter:google/gemini-3-pro-preview | no       | high
openrouter:mistralai/mistral-large     | no       | high
openai:gpt-5                           | no       | high
openai:gpt-4o                          | no       | high
openai:deepseek-chat                   | no       | high
openai:qwen3-32b                       | no       | high
"""


def ask(wire: Wire, name: str, **fields: Any) -> tuple[dict[str, Any], str]:
    """What is sent, and what is left out."""
    offer = wire.guess(name)
    takes = wire.takes if offer.takes is None else offer.takes
    model = Model(name=name, digest="", engine="p", remote_name=name, capabilities=offer.capabilities, takes=takes)
    settled, left_out = settle(ChatRequest(**{"model": name, "messages": HI} | fields), model, "warn")
    return wire.chat(settled, offer).body, " ".join(dict.fromkeys(SHORT[one] for one in left_out)) or "-"


def of_anthropic(name: str) -> tuple[str, ...]:
    wire = WIRES["anthropic"]()
    body, _ = ask(wire, name, think="max")
    denied, _ = ask(wire, name, think=False)
    thinks = body.get("thinking", {"type": "-"})
    effort = body.get("output_config", {}).get("effort") or thinks.get("budget_tokens", "")
    return (
        f"{thinks['type']} {effort}".strip(),
        denied["thinking"]["type"] if "thinking" in denied else denied.get("output_config", {}).get("effort", "-"),
        ask(wire, name, options=WAYS)[1],
        ask(wire, name, options={"top_p": 0.5})[1],
        "words" if "system" in ask(wire, name, format=SCHEMA)[0] else "kept",
    )


def of_openai(name: str) -> tuple[str, ...]:
    wire = wire_at("openai", "https://api.openai.com/v1")
    penalties = {"presence_penalty": 0.1, "frequency_penalty": 0.1}
    ways: dict[str, Any] = {
        "options": {"temperature": 0.2, "top_p": 0.5, "stop": ["x"], **penalties},
        "logprobs": True,
        "top_logprobs": 2,
    }
    return (
        "yes" if "thinking" in wire.guess(name).capabilities else "no",
        ask(wire, name, **ways)[1],
        ask(wire, name, **ways, think=True)[1].replace("think", "").replace("  ", " ").strip() or "-",
        ask(wire, name, think="high")[0].get("reasoning_effort", "-"),
        ask(wire, name, think="high", tools=(TOOL,))[0].get("reasoning_effort", "-"),
        ask(wire, name, tools=(TOOL,))[0].get("reasoning_effort", "-"),
        f"{ask(wire, name, options={'num_predict': 50_000})[0]['max_completion_tokens']:,}",
    )


def of_gemini(name: str) -> tuple[str, ...]:
    wire = WIRES["gemini"]()

    def thinking(think: Any) -> str:
        config = ask(wire, name, think=think)[0].get("generationConfig", {}).get("thinkingConfig")
        if config is None:
            return "-"
        much = config.get("thinkingBudget", config.get("thinkingLevel", ""))
        return f"{much}{'*' if config['includeThoughts'] else ''}"

    calls = wire.chat(ChatRequest(model=name, messages=CALLED), wire.guess(name)).body["contents"][1]["parts"]
    told = wire.chat(ChatRequest(model=name, messages=HI, tools=(TOOL,), format="json"), wire.guess(name)).body
    return (
        *map(thinking, (True, False, "low")),
        "left out" if ask(wire, name, options={"presence_penalty": 0})[1] == "pen" else "taken",
        "words" if "systemInstruction" in told else "kept",
        "signed" if "thoughtSignature" in calls[0] else "plain",
        "yes" if "tools" in wire.guess(name).capabilities else "no",
    )


def of_relatives(provider_and_name: str) -> tuple[str, ...]:
    provider, _, name = provider_and_name.partition(":")
    wire = WIRES[provider]()
    body, _ = ask(wire, name, messages=CALLED)
    sent = next(one for one in body["messages"] if one["role"] == "assistant")
    effort, left_out = ask(wire, name, think="high")
    return (
        "yes" if {"reasoning", "reasoning_content"} & sent.keys() else "no",
        "left out" if left_out == "think" else effort.get("reasoning_effort") or effort["reasoning"]["effort"],
    )


def lines(table: str) -> list[Any]:
    """The name and what follows it, of each line."""
    cells = [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()[1:]]
    return [pytest.param(name, tuple(told), id=name) for name, *told in cells]


@pytest.mark.parametrize(("name", "told"), lines(ANTHROPIC))
def test_what_a_model_of_anthropic_is_asked(name: str, told: tuple[str, ...]) -> None:
    assert of_anthropic(name) == told


@pytest.mark.parametrize(("name", "told"), lines(OPENAI))
def test_what_a_model_of_openai_itself_is_asked(name: str, told: tuple[str, ...]) -> None:
    assert of_openai(name) == told


@pytest.mark.parametrize(("name", "told"), lines(GEMINI))
def test_what_a_model_of_gemini_is_asked(name: str, told: tuple[str, ...]) -> None:
    assert of_gemini(name) == told


@pytest.mark.parametrize(("name", "told"), lines(RELATIVES))
def test_what_a_model_of_openais_relatives_is_asked(name: str, told: tuple[str, ...]) -> None:
    assert of_relatives(name) == told
