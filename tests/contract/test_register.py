"""Whatever the docs call a difference is a row of a table here, or has a test elsewhere."""

from __future__ import annotations

import pytest

from tests.contract import (
    test_differences,
    test_differences_running,
    test_environment,
    test_later_releases,
    test_pending,
)
from tests.contract.facts import Differs, Fact, rows
from tests.product import PROJECT

OLLAMA, ANTHROPIC = "differences.md", "anthropic.md"
# What a row of the docs begins with, and the test that shows it
ELSEWHERE = {
    "a caller who takes nothing of an answer": "supervisor/test_connections.py::test_a_caller_who_takes_nothing_is",
    "more connections than the limit": "supervisor/test_connections.py::test_one_connection_too_many_is_told_so",
    "requests for a model that is loaded wait in the same queue": (
        "modelhost/test_residents.py::test_the_queue_is_also_bounded_once_the_model_is_loaded"
    ),
    "a name of a cloud model over 255": "engines/test_cloud.py::test_the_models_it_lists_are_found_under_our_names",
    "a `template` longer than 65,536 characters": (
        "modelhost/test_gotemplate.py::test_it_ends_however_much_it_is_told_to_do"
    ),
    "pictures for local models": "contract/test_differences.py::test_what_differs_is_as_the_docs_say",
    "ollama.com: an account": "contract/test_account.py::test_what_needs_ollama_com_answers_as_an_ollama_without_it",
}
ALL = [
    *test_differences.FACTS,
    *test_differences_running.RUNNING,
    *test_differences_running.STORED,
    *test_pending.IN_PROCESS,
    *test_environment.FACTS,
    *test_later_releases.FACTS,
]
DOCUMENTED = [
    (page, row)
    for page, heading in (
        (OLLAMA, "Stricter, on purpose"),
        (OLLAMA, "Not there yet"),
        (OLLAMA, "Later releases"),
        (ANTHROPIC, "What differs from Ollama"),
    )
    for row in rows(page, heading)
]


@pytest.mark.parametrize(("page", "row"), DOCUMENTED, ids=[row[:50] for _, row in DOCUMENTED])
def test_whatever_the_docs_call_a_difference_is_shown_by_a_test(page: str, row: str) -> None:
    told = [fact.differs.words for fact in ALL if fact.differs and fact.differs.page == page]
    shown = [test for words, test in ELSEWHERE.items() if row.startswith(words)]
    assert shown or any(words in row for words in told)
    for test in shown:
        file, name = test.split("::")
        assert f"def {name}" in (PROJECT / "tests" / file).read_text()


def test_what_is_shown_elsewhere_is_in_the_docs() -> None:
    assert not [words for words in ELSEWHERE if not any(row.startswith(words) for _, row in DOCUMENTED)]


NOT_THERE_YET = "## Not there yet"


@pytest.mark.parametrize(
    ("seen", "words", "complaint"),
    [
        ("there", NOT_THERE_YET, "it holds now"),
        ("a third thing", NOT_THERE_YET, "is neither as there nor 'here'"),
        ("here", "words that no page has", "does not say so"),
    ],
)
async def test_a_difference_that_is_no_longer_as_it_says_is_found_out(seen: str, words: str, complaint: str) -> None:
    fact = Fact("it is so", lambda _: seen, "there", Differs("here", OLLAMA, words))
    with pytest.raises(AssertionError) as caught:
        await fact.check(None)
    assert complaint in str(caught.value)


async def test_a_difference_that_is_as_it_says_passes() -> None:
    await Fact("it is so", lambda _: "here", "there", Differs("here", OLLAMA, NOT_THERE_YET)).check(None)


async def test_a_fact_that_is_not_so_fails() -> None:
    with pytest.raises(AssertionError):
        await Fact("it is so", lambda _: "here", "there").check(None)
