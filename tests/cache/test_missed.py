"""Why an answer was not there: what a process remembers of what it kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cache.entries import CacheKey, Entry
from cache.missed import EXPIRED, GONE, NEW, NOT_ASKED, PURGED, TOO_LONG, TOO_OLD, Remembered
from orchestrator.core.types import CacheControl, Done, Reply, Usage

KEY = CacheKey("ab" * 32, 1, "", "smollm2:135m")
OTHER = CacheKey("cd" * 32, 1, "", "smollm2:135m")
ANSWER = Entry(
    KEY,
    Reply(
        model="smollm2:135m",
        text="Four.",
        done=Done(reason="stop", usage=Usage(prompt_tokens=9, completion_tokens=4), context=(1, 2, 3)),
    ),
    created_at=1000.0,
    expires_at=2000.0,
)


def why(kept, keys=(KEY,), control=None, cap=None, now=1500.0, purged=False):
    return kept.why(keys, control or CacheControl(), cap, now, lambda _key, _entry: purged)


@pytest.fixture
def kept() -> Remembered:
    """One answer is remembered."""
    found = Remembered(most=2)
    found.keep(ANSWER)
    return found


def test_what_was_never_kept_is_new(kept):
    assert why(kept, keys=(OTHER,)) == NEW


def test_what_was_kept_and_is_not_there_made_room(kept):
    assert why(kept) == GONE
    assert why(kept, keys=(OTHER, KEY)) == GONE


def test_it_was_purged_or_its_time_is_over(kept):
    assert why(kept, purged=True) == PURGED
    assert why(kept, now=2000.0) == EXPIRED


def test_it_was_not_what_the_caller_wanted(kept):
    assert why(kept, control=CacheControl(max_age_s=100)) == TOO_OLD
    assert why(kept, cap=3) == TOO_LONG
    assert why(kept, cap=4) == GONE
    assert why(kept, control=CacheControl(read=False)) == NOT_ASKED


def test_the_oldest_is_forgotten_and_no_text_is_remembered(kept):
    for number in (1, 2):
        kept.keep(replace(ANSWER, key=replace(KEY, hash=f"{number:064x}")))
    assert why(kept) == NEW
    assert all(one.reply.text == "" and one.reply.done.context == () for one in kept._kept.values())
