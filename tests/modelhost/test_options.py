"""The options of one answer."""

from typing import Any

import pytest

from orchestrator.core.errors import BadRequest
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
    ("name", "given", "why"),
    [
        ("temperature", "hot", 'option "temperature" must be of type float32'),
        ("temperature", True, "float32"),
        ("temperature", float("nan"), "float32"),
        ("num_predict", "5", 'option "num_predict" must be of type integer'),
        ("seed", [], "integer"),
        ("stop", "x", 'option "stop" must be of type array'),
        ("stop", [1], 'option "stop" must be of an array of strings'),
        ("stop", ["x"] * 10_000, "64 strings"),
        ("stop", ["x" * 300], "256 characters"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_in_ollamas_words(name: str, given: Any, why: str):
    with pytest.raises(BadRequest, match=why):
        Options.resolve({name: given})


def test_a_seed_is_kept_and_no_seed_is_another_each_time():
    assert Options(seed=42).sampler_seed() == 42
    assert Options.resolve({"seed": -1}) == Options()
    assert len({Options().sampler_seed() for _ in range(5)}) > 1
