"""Each drill in its short form: what it is about holds. And a drill that does not hold says so."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.drills import console, fuzz, money, quota, table
from tests.drills.base import LAG_EVERY_S, Drill, Run, Wake, carry_out
from tests.drills.caller import Heard
from tests.drills.corpus import Sent
from tests.drills.question import Question

SEED = 20261123


@pytest.mark.parametrize("name", table.NAMES)
def test_what_the_drill_is_about_holds(name: str) -> None:
    verdict = carry_out(table.drill(name), seed=SEED).verdict()
    assert verdict["verdict"] == "held", verdict["why"]


async def holds(run: Run) -> None:
    run.counts["questions"] += run.pick(3, 30)
    run.timed("answered_after", [0.1, 0.2])


async def breaks(run: Run) -> None:
    run.expect(run.random.random() > 1, "the impossible did not happen")


async def fails(run: Run) -> None:
    raise OSError("no route to anywhere")


async def hangs(run: Run) -> None:
    await asyncio.Event().wait()


def drill(run: Callable[[Run], Awaitable[None]]) -> Drill:
    return Drill("fake", "for these tests", run, within_s=0.1 if run is hangs else 30, long_within_s=30)


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (breaks, "the impossible did not happen"),
        (fails, "the drill failed: OSError: no route to anywhere"),
        (hangs, "the drill did not end within 0.1 s"),
    ],
)
def test_what_does_not_hold_is_said(run: Callable[[Run], Awaitable[None]], why: str) -> None:
    verdict = carry_out(drill(run), seed=1).verdict()
    assert (verdict["verdict"], verdict["why"]) == ("broken", [why])


@pytest.mark.parametrize(("is_long", "verdict"), [(False, "held"), (True, "broken")])
def test_what_takes_too_long_breaks_a_drill_that_has_the_machine_to_itself(is_long: bool, verdict: str) -> None:
    run = Run("fake", 1, is_long)
    run.in_time(0.1, 0.2, "quick")
    run.in_time(0.3, 0.2, "slow")
    assert run.verdict()["verdict"] == verdict
    assert run.reasons == ["slow: 0.30 s; 0.20 s at most"] * is_long


class Told:
    """In place of a till: what two processes say that spent, by round; the last is said again and again."""

    def __init__(self, *rounds: tuple[int, int, int]) -> None:
        self.rounds = list(rounds)
        self.started: list[int] = []

    def start(self, what: str, count: int, number: int) -> int:
        self.started.append(number)
        return len(self.started)

    def has_ended(self, pid: int) -> bool:
        return True

    def told(self, pid: int) -> dict[str, int]:
        said = self.rounds[min(self.started[pid - 1], len(self.rounds) - 1)]
        return {what: count // 2 for what, count in zip(("reserved", "refused", "unavailable"), said, strict=True)}


@pytest.mark.parametrize(
    ("rounds", "asked", "broken"),
    [
        ([(100, 400, 0)], 1, 0),
        ([(98, 400, 2), (100, 400, 0)], 2, 0),
        ([(0, 0, 500)], 5, 1),
        ([(0, 0, 500), (98, 402, 0)], 2, 1),
        ([(90, 406, 4), (100, 400, 0)], 2, 1),
        ([(102, 398, 0)], 1, 1),
        ([(100, 398, 0)], 1, 1),
    ],
)
async def test_a_ledger_that_is_too_slow_is_asked_again_and_not_for_ever(
    rounds: list[tuple[int, int, int]], asked: int, broken: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(money, "sums", lambda *_: None)
    run, told = Run("fake", 1), Told(*rounds)
    await money.spent(run, tmp_path, told)  # type: ignore[arg-type]  # it has what is asked of a till
    assert (max(told.started) + 1, len(run.reasons)) == (asked, broken), run.reasons


class Logs:
    """In place of a product of which nothing is asked but what it logged and which workers it has."""

    def __init__(self) -> None:
        self.text = ""

    def logs(self) -> str:
        return self.text

    def pids(self, role: str) -> list[int]:
        return [1, 2]


class Silent:
    """In place of a provider that nobody asked."""

    def calls(self) -> list[str]:
        return []


def quotas(run: Run) -> quota.Quotas:
    return quota.Quotas(run, Silent(), Logs(), None)  # type: ignore[arg-type]  # as far as they are asked


@pytest.mark.parametrize(
    ("name", "answered", "is_long", "holds"),
    [
        ("calm-0", 1200, False, True),
        ("calm-0", 1199, False, True),
        ("calm-0", 900, False, False),
        ("calm-0", 1210, False, False),
        ("calm-0", 5000, True, True),
        ("calm-0", 4999, True, False),
        ("calm-0", 5001, True, False),
        ("killed-0", 1000, False, False),
    ],
)
def test_no_more_of_a_quota_is_lost_than_answers_that_come_too_late_may_take(
    name: str, answered: int, is_long: bool, holds: bool
) -> None:
    run = Run("fake", 1, is_long)
    quotas(run).judge(name, Counter({200: answered, 429: 1000}), over=0, under=0)
    assert (not run.reasons) == holds, run.reasons


@pytest.mark.parametrize(
    ("tries", "broken"),
    [
        ([(0, 1200)], 0),
        ([(1, 900), (0, 1200)], 0),
        ([(1, 1300), (0, 1200)], 0),
        ([(1, 2500), (0, 1200)], 1),
        ([(2, 900), (0, 900), (0, 1200)], 0),
        ([(0, 900)] * quota.TRIES, 1),
        ([(1, 1200)] * quota.TRIES, 1),
    ],
)
async def test_a_quota_is_spent_again_where_redis_was_out_without_cause(
    tries: list[tuple[int, int]], broken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run("fake", 1)
    spending = quotas(run)
    spent = []

    async def spend(name: str, trouble: object) -> Counter[int]:
        spending._outs = spending.outs()
        outs, answered = tries[len(spent)]
        spent.append(name)
        spending.product.text += outs * f"{quota.OUT}\n{quota.BACK}\n"  # type: ignore[attr-defined]  # it is no product
        return Counter({200: answered})

    monkeypatch.setattr(spending, "spend", spend)
    await spending.nothing_happens("calm-0")
    assert spent == ["calm-0", "calm-0-1", "calm-0-2", "calm-0-3"][: len(tries)]
    assert len(run.reasons) == broken, run.reasons


def wakes(seconds: float, *late: tuple[float, float]) -> list[Wake]:
    """From 0 on, on time but for those (when it was to wake, how late it did)."""
    found, at = [Wake(0.0, 0.0)], 0.0
    while at < seconds:
        due = at + LAG_EVERY_S
        late_s = sum(late_s for when, late_s in late if at < when <= due)
        at = due + late_s
        found.append(Wake(at, late_s))
    return found


EVERY_TENTH = [number / 10 for number in range(100)]
PAIRS = [0.6 * pair + part for pair in range(16) for part in (0.0, 0.001)]
NONE_JUDGED = "no second of pushes was judged: this process was late in all of them"


@pytest.mark.parametrize(
    ("moments", "woke", "reasons"),
    [
        (PAIRS, wakes(10), []),
        (EVERY_TENTH, wakes(10), ["10 pushes to one page within a second"]),
        (EVERY_TENTH, wakes(10, (5.0, 1.0)), ["10 pushes to one page within a second"]),
        (PAIRS[:6] + [2.5] * 8 + PAIRS[10:], wakes(10, (1.5, 1.0)), []),
        (PAIRS[:6] + [2.501] * 8 + PAIRS[10:], wakes(10, (1.5, 1.0)), []),
        (EVERY_TENTH, wakes(10, *((second, 0.5) for second in range(11))), [NONE_JUDGED]),
        (EVERY_TENTH[:8], wakes(0.9), [NONE_JUDGED]),
        ([], wakes(10), [NONE_JUDGED]),
    ],
)
def test_pushes_are_counted_in_seconds_in_which_they_were_heard_as_they_came(
    moments: list[float], woke: list[Wake], reasons: list[str]
) -> None:
    run = Run("fake", 1)
    console.judge_pushes(run, [moments], woke)
    assert run.reasons == reasons


def test_the_command_prints_a_line_a_drill(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    drills = {"fine": drill(holds), "bad": drill(breaks)}
    monkeypatch.setattr(table, "NAMES", tuple(drills))
    monkeypatch.setattr(table, "drill", drills.__getitem__)
    with pytest.raises(SystemExit, match="1"):
        call_command("prove", "--seed", "7", "--long")
    fine, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert (fine["verdict"], fine["seed"], fine["form"], fine["counts"]) == ("held", 7, "long", {"questions": 30})
    assert fine["figures"]["answered_after_p99_s"] == 0.2
    assert bad["verdict"] == "broken"
    call_command("prove", "fine")
    assert json.loads(capsys.readouterr().out)["form"] == "short"


def test_the_command_knows_which_drills_there_are() -> None:
    with pytest.raises(CommandError, match="stampede"):
        call_command("prove", "nothing")


def test_the_oracle_sees_what_is_crossed_torn_or_mixed() -> None:
    question, other = Question(name="a"), Question(name="b")
    right = Heard(200, text=question.answer(), is_complete=True)
    assert right.is_right(question)
    assert not right.is_wrong(question)
    cut = Heard(200, text=question.piece(0), error="it broke off")
    assert not cut.is_right(question)
    assert not cut.is_wrong(question), "what was heard is right, and what is missing was said"
    pieces = [question.piece(number) for number in range(question.pieces)]
    for text in (other.answer(), pieces[0] + other.piece(1), "".join(pieces[1:]), "".join(pieces[:-1])):
        assert Heard(200, text=text, is_complete=True).is_wrong(question)
    assert Heard(200, text=pieces[1]).is_wrong(question), "torn"
    assert Heard(200, text=question.answer() + pieces[0], is_complete=True).is_wrong(question)


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
VERSION = (
    b'HTTP/1.1 200 OK\r\nx-request-id: x\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{"version":"1"}'
)


@pytest.mark.parametrize(
    ("data", "path", "wrong"),
    [
        (OK, "", []),
        (OK + OK, "", []),
        (VERSION, "/api/version", []),
        (
            VERSION.replace(b"version", b"edition"),
            "/api/version",
            [": Additional properties", ': "version" is a required'],
        ),
        (OK.replace(b"200", b"503"), "", []),
        (OK.replace(b"200", b"500"), "", ["status 500"]),
        (OK.replace(b"{}", b"Traceback").replace(b": 2", b": 9"), "", ["status 200, b'Traceback'"]),
        (OK.replace(b"OK\r\n", b"OK\r\nX-Injected: yes\r\n"), "", ["a header was injected"]),
        (CHUNKED, "", []),
        (CHUNKED[:-2], "", ["no HTTP: a chunk that does not end"]),
        (OK[:-1], "", ["no HTTP: 1 bytes of 2"]),
        (b"", "", ["0 answers, not 1"]),
        (b"<html>", "", ["no HTTP: a response that begins with"]),
        (OK + b"{}", "", ["no HTTP: a response that begins with"]),
    ],
)
def test_what_is_wrong_with_an_answer_is_seen(data: bytes, path: str, wrong: list[str]) -> None:
    found = fuzz._wrong(Sent("", b"", method="GET", path=path), data)
    assert len(found) == len(wrong), found
    assert all(one.startswith(start) for one, start in zip(found, wrong, strict=True)), found
