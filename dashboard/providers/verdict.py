"""The sentence of the providers' page, and of their part in the health strip."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.urls import reverse

from dashboard import formats
from dashboard.providers.rows import Providers, Row
from dashboard.strip import Part

MOST_NAMED = 3
LONGEST_REASON = 48  # characters, in a headline
PAGE = "dashboard:providers"


@dataclass(frozen=True, slots=True)
class ProvidersVerdict:
    """What is so, why, and where to look. `since` or `until` goes between the headline and its end."""

    headline: str
    why: str
    state: str  # ok, slow, down, off, unknown
    since: datetime | None = None
    until: datetime | None = None
    end: str = "."
    link: str = ""
    link_words: str = ""


def providers_verdict(found: Providers | None) -> ProvidersVerdict:
    """Worst first: who is down, who is not well, of whom nothing is known; then how all are."""
    if found is None:
        return ProvidersVerdict("How the providers are is unknown", "The database did not answer in time.", "unknown")
    on = found.on
    if not found.rows:
        return ProvidersVerdict("No providers yet", "Models run on this machine only.", "off")
    if not on:
        return ProvidersVerdict("No provider is on", "What each of them lacks stands in its row.", "off")
    traffic = _traffic(found)
    down = [row for row in on if row.state == "down"]
    slow = [row for row in on if row.state == "slow"]
    unknown = [row for row in on if row.state == "unknown"]
    if down:
        return _about(down, on, "down", traffic)
    if slow:
        return _about(slow, on, "slow", traffic)
    if len(unknown) == len(on):
        return ProvidersVerdict("How the providers are is not known yet", _not_looked(found), "unknown")
    if unknown:
        names = formats.listing([row.title for row in unknown[:MOST_NAMED]])
        known = len(on) - len(unknown)
        those = f"{formats.in_words(known).capitalize()} of {formats.in_words(len(on))} providers"
        words = f"{those} {'answers' if known == 1 else 'answer'}"
        return ProvidersVerdict(words, f"Nothing is known of {names}. {traffic}", "ok")
    return ProvidersVerdict(f"Healthy. {_all_answer(on)}", traffic, "ok")


def providers_part(found: Providers | None) -> Part:
    """The providers as one part of the product: the worst of them, in few words. None: they could not be read."""
    if found is None:
        return Part("Providers", "unknown", "unknown", PAGE)
    on = found.on
    if not on:
        return Part("Providers", "off", "none set up" if not found.rows else "all off", PAGE)
    worst = [row for row in on if row.state in ("down", "slow")]
    if not worst:
        known = [row for row in on if row.state == "ok"]
        words = f"{len(known)} of {len(on)} answer" if len(known) < len(on) else _few(on)
        return Part("Providers", "ok" if known else "unknown", words if known else "not looked at yet", PAGE)
    down = [row for row in worst if row.state == "down"]
    of = down or worst
    word = "down" if down else of[0].words
    words = f"{of[0].title} {word}" if len(of) == 1 else f"{len(of)} of {len(on)} {word if down else 'not well'}"
    sentence = f"{_are(of, on, word if down or len(of) == 1 else 'not well')}"
    return Part("Providers", "down" if len(down) == len(on) else "slow", words, PAGE, sentence)


def _about(rows: list[Row], on: list[Row], state: str, traffic: str) -> ProvidersVerdict:
    """One by its name and reason; several by their number, and the first by their names."""
    healthy = "" if state == "down" else "Healthy. "
    link, link_words = reverse("dashboard:provider", args=[rows[0].name]), f"See {rows[0].title}"
    if len(rows) > 1:
        named = "; ".join(row.title if state == "down" else f"{row.title} is {row.words}" for row in rows[:MOST_NAMED])
        more = f"; and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
        headline = f"{healthy}{_are(rows, on, 'down' if state == 'down' else 'not well')}"
        return ProvidersVerdict(headline, f"{named}{more}. {traffic}", state, link=link, link_words=link_words)
    row = rows[0]
    reason, advice, end = "", row.why, "."
    if state == "down":
        reason, advice = _parted(row.why)
        end = f": it {reason}." if reason else "."
    why = " ".join(filter(None, [formats.sentence(advice), traffic]))
    headline = f"{healthy}{row.title} is {row.words}"
    return ProvidersVerdict(headline, why, state, row.since, row.until, end, link, link_words)


def _parted(why: str) -> tuple[str, str]:
    """What is short enough for a headline, and the rest."""
    for part in (": ", "; "):
        reason, found, advice = why.partition(part)
        if found and len(reason) <= LONGEST_REASON:
            return reason, advice
    return (why, "") if len(why) <= LONGEST_REASON else ("", why)


def _are(rows: list[Row], on: list[Row], word: str) -> str:
    if len(rows) == 1:
        return f"{rows[0].title} is {word}"
    if len(rows) == len(on):
        return f"{'Both' if len(on) == 2 else f'All {formats.in_words(len(on))}'} providers are {word}"
    return f"{formats.in_words(len(rows)).capitalize()} of {formats.in_words(len(on))} providers are {word}"


def _all_answer(on: list[Row]) -> str:
    if len(on) == 1:
        return f"{on[0].title} answers"
    return "Both providers answer" if len(on) == 2 else f"All {formats.in_words(len(on))} providers answer"


def _few(on: list[Row]) -> str:
    return f"{on[0].title} answers" if len(on) == 1 else f"all {len(on)} answer"


def _not_looked(found: Providers) -> str:
    if not settings.PROVIDER_CHECK_S:
        return "Looks are switched off (ORCHESTRATOR_PROVIDER_CHECK_S is 0), and nothing was asked. Test one."
    since = "lately" if found.is_stale else "yet"
    every = formats.span(settings.PROVIDER_CHECK_S)
    return f"Nobody has looked {since}, and nothing was asked. The worker for tasks looks every {every}."


def _traffic(found: Providers) -> str:
    calls = sum(row.figures.calls for row in found.on)
    failed = sum(row.figures.failed for row in found.on)
    if not calls:
        return f"None was asked anything in the {found.period.words}."
    what = f"{formats.count(failed)} of {formats.count(calls)} {'call' if calls == 1 else 'calls'} failed"
    if not failed:
        what = "The one call was answered" if calls == 1 else f"All {formats.count(calls)} calls were answered"
    return f"{what} in the {found.period.words}."
