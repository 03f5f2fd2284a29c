"""Names of one model are found by rules, or by calls that both know. All others are shown as they are."""

from __future__ import annotations

import pytest

from orchestrator.invoices.names import Names, plain, undated


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("openai/gpt-4o", "gpt-4o"),
        ("gpt-4o", "gpt-4o"),
        ("openai/openai/gpt-4o", "openai/gpt-4o"),
        ("Claude Haiku 4.5", "claude-haiku-4-5"),
        ("Claude 3.5 Sonnet 2024-10-22", "claude-3-5-sonnet-20241022"),
        ("Web search", "Web search"),
    ],
)
def test_what_a_name_is_without_its_provider(name: str, found: str) -> None:
    assert plain(name, "openai") == found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        ("deepseek/deepseek-r1-2025-01-20:free", "deepseek/deepseek-r1:free"),
        ("gpt-4-0613", "gpt-4-0613"),  # no whole date
        ("model-20241399", "model-20241399"),  # no day there is
        ("gpt-4o-2024-08-06-preview", "gpt-4o-2024-08-06-preview"),
    ],
)
def test_what_a_name_is_without_its_day(name: str, found: str) -> None:
    assert undated(name) == found


def test_names_that_differ_in_their_day_are_one_where_one_has_none() -> None:
    names = Names("openai", ["gpt-4o-2024-08-06", "gpt-4o-2024-11-20"], ["openai/gpt-4o"])
    assert {names.of(name) for name in ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20", "openai/gpt-4o")} == {"gpt-4o"}
    dated = Names("openai", ["gpt-4o-2024-08-06"], ["openai/gpt-4o-2024-11-20"])
    assert dated.of("gpt-4o-2024-08-06") != dated.of("openai/gpt-4o-2024-11-20")


def test_likeness_is_no_rule() -> None:
    names = Names("openai", ["gpt-4o-mini-x", "GPT-4o"], ["openai/gpt-4o-mini", "openai/gpt-4o"])
    assert len({names.of(name) for name in ("gpt-4o-mini-x", "GPT-4o", "openai/gpt-4o-mini", "openai/gpt-4o")}) == 4


def test_calls_that_both_know_show_what_a_name_means() -> None:
    names = Names("router", ["v/m-5-2026-01-01", "v/other"], ["router/v/m5", "router/v/other"])
    names.learn([("v/m-5-2026-01-01", "router/v/m5")] * 3 + [("v/other", "router/v/m5"), ("v/other", "router/v/other")])
    assert names.learned == {"v/m-5-2026-01-01": "v/m5"}
    assert (names.of("v/m-5-2026-01-01"), names.of("v/other")) == ("v/m5", "v/other")


def test_half_of_the_calls_show_nothing() -> None:
    names = Names("router", ["x", "y"], ["router/m"])
    names.learn([("x", "router/m"), ("y", "router/m")])
    assert names.learned == {}
