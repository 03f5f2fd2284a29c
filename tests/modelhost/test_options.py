"""The options of one answer."""

from dataclasses import fields
from typing import Any

import pytest

from orchestrator.modelhost.options import Options


def test_the_callers_options_go_over_the_models_and_those_over_the_defaults():
    options = Options.resolve({"temperature": 0.2, "top_k": 5}, {"top_k": 7, "top_p": None})
    assert (options.temperature, options.top_k, options.top_p) == (0.2, 7, 0.9)


def test_an_unknown_option_changes_nothing():
    assert Options.resolve({"mirostat": 2, "numa": True}) == Options()


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("num_predict", -5, -1),
        ("num_predict", 12.9, 12),
        ("temperature", 1e30, 1e4),
        ("temperature", -1, 0.0),
        ("temperature", float("inf"), 1e4),
        ("top_p", 7, 1.0),
        ("top_k", -3, 0),
        ("num_ctx", 10**9, 2**24),
        ("num_ctx", 1, 4),
        ("num_batch", 10**6, 512),
        ("repeat_last_n", -9, -1),
        ("repeat_penalty", 0, 0.01),
        ("seed", 2**70 + 5, 5),
        ("stop", ["a", "", "a", "b"], ("a", "b")),
    ],
)
def test_a_number_out_of_range_is_brought_to_the_nearest_sensible_one(name: str, given: Any, read: Any):
    assert getattr(Options.resolve({name: given}), name) == read


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("temperature", "hot"),
        ("temperature", True),
        ("temperature", float("nan")),
        ("num_predict", "5"),
        ("num_predict", float("nan")),
        ("seed", []),
        ("seed", float("inf")),
        ("stop", {"x": 1}),
        ("stop", [1, None]),
        ("stop", ["x" * 300]),
    ],
)
def test_what_cannot_be_used_counts_as_unset(name: str, given: Any):
    assert Options.resolve({name: given}) == Options()


def test_what_the_callers_option_cannot_be_used_for_the_models_own_is():
    assert Options.resolve({"top_k": 5, "stop": ["a"]}, {"top_k": "many", "stop": 1}) == Options(top_k=5, stop=("a",))


def test_stop_strings_are_looked_for_up_to_a_bound():
    assert len(Options.resolve({"stop": [str(number) for number in range(10_000)]}).stop) == 64


@pytest.mark.parametrize(
    "absurd", [10**400, -(10**400), 1e308, -1e308, float("inf"), float("-inf"), 2**63, -(2**63)], ids=range(8)
)
def test_every_number_ends_up_within_its_range(absurd: float):
    usual = Options()
    for field in fields(Options):
        if field.name != "stop":
            value = getattr(Options.resolve({field.name: absurd}), field.name)
            assert type(value) is type(getattr(usual, field.name))
            assert -(2**31) <= value < 2**32


def test_a_seed_is_kept_and_no_seed_is_another_each_time():
    assert Options(seed=42).sampler_seed() == 42
    assert Options.resolve({"seed": -1}) == Options()
    assert len({Options().sampler_seed() for _ in range(5)}) > 1
