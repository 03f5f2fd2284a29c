"""`manage.py evaluate routing`: the formulas by hand, and one line for a file."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from bench.routing.priors import EXAMS
from routing import measures
from routing.graded import graded
from routing.grading import grade
from routing.predictor.priors import Priors, hash_of, made_from, shipped

KEYS = ["rows", "labels", "apgr", "cpt50", "cpt80", "baselines", "ms_p95"]


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


WEAK, STRONG = numbers(1, 0, 0, 1), numbers(1, 1, 1, 0)  # gains 0, 1, 1, −1: a gap of 1


def test_pgr_by_hand() -> None:
    curve = measures.pgr(numbers(1, 4, 3, 2), WEAK, STRONG)
    assert curve.tolist() == [0, 1, 2, 1, 1]
    assert measures.cpt(curve, 0.5) == 0.25
    assert measures.cpt(curve, 1.5) == 0.5
    # At tenths 0, .4, .8, 1.2, 1.6, 2, 1.6, 1.2, 1, 1, 1: the sum less half of both ends, a tenth each.
    assert measures.apgr(curve) == pytest.approx((0 + 0.4 + 0.8 + 1.2 + 1.6 + 2 + 1.6 + 1.2 + 1 + 1 + 1 - 0.5) / 10)


def test_equal_scores_are_an_order_by_chance() -> None:
    curve = measures.pgr(numbers(5, 5, 5, 5), WEAK, STRONG)
    assert curve == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert measures.apgr(curve) == pytest.approx(0.5)
    assert measures.pgr(numbers(9, 5, 5, 1), WEAK, STRONG) == pytest.approx([0, 0, 1, 2, 1])


def test_chance_is_a_half_and_nothing_beats_the_oracle() -> None:
    rng = np.random.default_rng(1)
    weak, strong = (rng.random(400) < 0.6).astype(float), (rng.random(400) < 0.8).astype(float)
    orders = [rng.random(400) for _ in range(200)]
    areas = [measures.apgr(measures.pgr(order, weak, strong)) for order in orders]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.05)
    assert max(areas) < measures.apgr(measures.pgr(strong - weak, weak, strong))
    low, high = measures.interval(orders[0], weak, strong, seed=0, draws=100)
    assert low < areas[0] < high
    with pytest.raises(ValueError, match="not better"):
        measures.pgr(orders[0], strong, strong)


def test_what_is_calibrated_has_no_error() -> None:
    said = np.repeat(numbers(0.0, 0.5, 1.0), 40)
    good = np.concatenate([np.zeros(40), np.tile([0.0, 1.0], 20), np.ones(40)])
    brier, error = measures.calibration(said, good)
    assert brier == pytest.approx(20 * 2 * 0.25 / 120)
    assert error < 0.02
    assert measures.calibration(1 - said, good)[1] > 0.4


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty short exam questions of a few subjects."""
    source = graded(EXAMS)
    rows = sorted(range(len(source.texts)), key=lambda row: len(source.texts[row]))[:60]
    path = tmp_path_factory.mktemp("evaluate") / "some.csv.gz"
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["domain", "prompt", "weak_mixtral_8x7b", "strong_gpt4_1106", "contaminated"])
    for place, row in enumerate(rows):
        strong = 1 if place % 3 else source.good["strong_gpt4_1106"][row]
        subject = source.columns["domain"][row]
        writer.writerow([subject, source.texts[row], source.good["weak_mixtral_8x7b"][row], strong, 0])
    writer.writerow(["x", "a question that was seen before", 1, 1, 1])
    path.write_bytes(gzip.compress(text.getvalue().encode()))
    return path


def test_it_prints_one_line(some: Path, tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path
    out = io.StringIO()
    call_command("evaluate", "routing", str(some), "--labels", "40", "--seed", "3", stdout=out)
    (line,) = out.getvalue().splitlines()
    said = json.loads(line)
    assert list(said)[: len(KEYS)] == KEYS
    assert list(said["baselines"]) == ["random", "length", "oracle"]
    assert (said["rows"], said["labels"]) == (20, 40)
    assert said["apgr_95"][0] <= said["apgr"] <= said["apgr_95"][1]
    assert said["priors"] == "made without the questions of this file"
    again = io.StringIO()
    call_command("evaluate", "routing", str(some), "--labels", "40", "--seed", "3", stdout=again)
    assert json.loads(again.getvalue()) | {"ms_p95": 0} == said | {"ms_p95": 0}
    assert len(list((tmp_path / "vectors").iterdir())) == 1


@pytest.fixture(scope="module")
def few(some: Path) -> Priors:
    """Priors that were made from those questions and a few more."""
    every = shipped()
    hashes = np.array([hash_of(text) for text in graded(some).texts], np.uint64)
    examined = every.examined.only(np.isin(every.examined.hashes, hashes))
    return made_from(every.frame, every.centres[:16], every.sized.only(np.arange(5608) < 100), examined)


def test_what_the_priors_were_made_from_is_not_asked_again(some: Path, few: Priors, tmp_path: Path) -> None:
    said = grade(some, tmp_path, group="domain", priors=few)
    assert said["rows"] == 60
    assert said["priors"].startswith("made for each group without the rows in it; 60 of 60")
    text = gzip.decompress(some.read_bytes()).decode()
    mixed = tmp_path / "mixed.csv"
    mixed.write_text(text + 'new,"How many legs has a spider, and how many an ant?",0,1,0\nnew,Is 91 prime?,1,1,0\n')
    fresh = grade(mixed, tmp_path, priors=few)
    assert fresh["rows"] == 2
    assert fresh["priors"] == "shipped; 60 rows that they were made from are left out"


def test_what_was_taught_is_not_asked_where_a_file_repeats_it(tmp_path: Path) -> None:
    rows = [
        {"question": f"What is {n // 3} times{' ' * (n % 3)} {n // 3 + 1}?", "scores": {"weak": n % 2, "strong": 1.0}}
        for n in range(36)
    ]
    path = tmp_path / "thrice.json"
    path.write_text(json.dumps(rows))
    order = np.random.default_rng(5).permutation(36)
    taught = {int(row) // 3 for row in order[:4]}
    said = grade(path, tmp_path, weak="weak", strong="strong", labels=4, seed=5)
    assert said["rows"] == sum(int(row) // 3 not in taught for row in order[4:]) < 32
    with pytest.raises(ValueError, match="repeats a question"):
        grade(path, tmp_path, weak="weak", strong="strong", labels=35, seed=5)


def test_nine_models_are_graded_by_name(tmp_path: Path) -> None:
    rows = [
        {"question": f"What is {n} times {n + 1}?", "scores": {"qwen-7b": n % 2, "llama-70b": 1.0}, "cluster_id": n % 3}
        for n in range(12)
    ]
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(rows))
    said = grade(path, tmp_path, weak="qwen-7b", strong="llama-70b")
    assert (said["rows"], said["priors"]) == (12, "shipped")
    with pytest.raises(ValueError, match="llama-70b, qwen-7b"):
        grade(path, tmp_path, weak="nobody", strong="llama-70b")
    with pytest.raises(ValueError, match="--weak"):
        grade(path, tmp_path)
    with pytest.raises(ValueError, match="0 to 11"):
        grade(path, tmp_path, weak="qwen-7b", strong="llama-70b", labels=12)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "[1]", "[]", "{", "\x00\xff"])
def test_a_file_of_another_form_is_refused(text: str, tmp_path: Path, settings: Any) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(text)
    settings.DATA_DIR = tmp_path
    with pytest.raises(CommandError, match=r"odd\.csv"):
        call_command("evaluate", "routing", str(path))
    with pytest.raises(CommandError, match="nowhere"):
        call_command("evaluate", "routing", str(tmp_path / "nowhere"))
