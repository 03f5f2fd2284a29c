"""`manage.py evaluate`: how well the product decides, measured on a file of questions and what became of them."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from orchestrator.rehearsal.apart import rehearsed
from orchestrator.rehearsal.day import DayDiffers, Rehearsal
from orchestrator.rehearsal.sold import ASKED, DATA, TRACE, USUAL, expected
from routing.day.arrivals import day_of
from routing.day.questions import questions_of
from routing.day.replaying import compared
from routing.day.telling import lines, through
from routing.grading import grade

REPEATS = (0.0, 0.3, 0.7)  # shares of requests that repeat one of before: assumed, the files do not say
THROUGH = (0.3,)  # the same, through the product: that takes a minute or two each
ALL = "all"


class Command(BaseCommand):
    """Prints one JSON line on standard output. Nothing is sent anywhere, and nothing the product uses is changed."""

    help = "Measure the product's own decisions on a file: which of two models a question needs."
    requires_system_checks = []  # noqa: RUF012  # as Django declares it; no address and no key is used

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        kinds = parser.add_subparsers(dest="kind", required=True)
        routing = kinds.add_parser("routing", help="which questions the stronger of two models should get")
        routing.add_argument(
            "file", type=Path, help="CSV with `prompt` and outcomes, or a JSON list with scores; or .gz"
        )
        routing.add_argument("--weak", metavar="COLUMN", help="the weaker model (default: the column named weak_…)")
        routing.add_argument("--strong", metavar="COLUMN", help="the stronger one (default: the column named strong_…)")
        routing.add_argument(
            "--labels", type=int, default=0, help="rows to learn from first (default: 0, shipped priors)"
        )
        routing.add_argument("--seed", type=int, default=0, help="which rows those are (default: 0)")
        routing.add_argument(
            "--group", metavar="COLUMN", help="leave whole groups of the file out of the priors, in turn"
        )

        day = kinds.add_parser("day", help="what a replayed day costs, and how many of its answers are right")
        day.add_argument(
            "--questions", choices=[ALL, *ASKED], default=ALL, help="which questions, asked of whom (default: all)"
        )
        day.add_argument(
            "--through-product",
            type=int,
            metavar="N",
            help="ask N requests of the product itself, of a data directory of its own, and compare one by one",
        )
        day.add_argument(
            "--repeats",
            type=float,
            action="append",
            help="share of requests that repeat one, given more than once for more (default: 0, 0.3, 0.7; else 0.3)",
        )
        day.add_argument("--requests", type=int, default=20_000, help="how many (default: 20000)")
        day.add_argument("--seed", type=int, default=0, help="which questions come when (default: 0)")
        day.add_argument(
            "--feedback", type=float, default=0.05, help="share of answers that are judged (default: 0.05)"
        )

    def handle(self, *args: Any, kind: str, **options: Any) -> None:
        """Grade the file, or replay the day."""
        if kind == "day":
            self._day(**options)
            return
        try:
            figures = grade(
                options["file"],
                Path(settings.DATA_DIR) / "vectors",
                weak=options["weak"],
                strong=options["strong"],
                labels=options["labels"],
                seed=options["seed"],
                group=options["group"],
            )
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be read: {error.strerror or error}") from None
        except (ValueError, EOFError) as error:
            raise CommandError(f"{options['file']}: {error}") from None
        self.stdout.write(json.dumps(figures))

    def _day(
        self,
        questions: str,
        requests: int,
        seed: int,
        feedback: float,
        repeats: list[float] | None,
        through_product: int | None,
        **_: Any,
    ) -> None:
        shares = repeats or (REPEATS if through_product is None else THROUGH)
        count = requests if through_product is None else through_product
        if count < 2 or not all(0 <= one <= 1 for one in (feedback, *shares)):
            raise CommandError("There are at least two requests, and feedback and repeats are shares.")
        names = list(ASKED) if questions == ALL else [questions]
        make = self._tables if through_product is None else self._through
        try:
            cases = [case for name in names for case in make(name, count, shares, feedback, seed)]
        except (OSError, ValueError, EOFError, DayDiffers) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(json.dumps({"requests": count, "seed": seed, "feedback": feedback, "cases": cases}))

    def _tables(
        self, name: str, requests: int, shares: Sequence[float], feedback: float, seed: int
    ) -> Iterator[dict[str, Any]]:
        source = ASKED[name]
        candidates = source.candidates(datetime.now(UTC))
        asked = questions_of(DATA / source.file, candidates, source.share, seed, expected)
        for repeats in shares:
            day = day_of(TRACE, asked, requests, repeats, feedback, seed)
            case = {
                "questions": name,
                "title": f"{name}: {source.title}",
                "strong": asked.candidates[asked.strong].name,
                "repeats": repeats,
                "ways": compared(day, asked, USUAL),
            }
            for line in lines(case):
                self.stderr.write(line)
            yield case

    def _through(
        self, name: str, requests: int, shares: Sequence[float], feedback: float, seed: int
    ) -> Iterator[dict[str, Any]]:
        vectors = str(Path(settings.DATA_DIR) / "vectors")
        for repeats in shares:
            case = rehearsed(Rehearsal(name, requests, repeats, feedback, seed, vectors))
            for line in through(case):
                self.stderr.write(line)
            yield case
