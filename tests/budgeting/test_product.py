"""The product as it runs tells of an alert by itself, and does not start where nobody could know that it was us."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.budgeting.conftest import Receiver
from tests.product import PROJECT, Product, until

SECRET = "a secret of some length"


def test_the_worker_sends_what_is_reached(tmp_path: Path, receiver: Receiver) -> None:
    alert = {"ORCHESTRATOR_ALERT_URL": receiver.url(), "ORCHESTRATOR_ALERT_SECRET": SECRET}
    with Product(data=tmp_path, ORCHESTRATOR_WEB_WORKERS=1, **alert) as product:
        manage = [sys.executable, "manage.py", "budgets"]
        for words in (["make", "house", "50", "month", "--each", "all"], ["show", "house"]):
            subprocess.run([*manage, *words], cwd=PROJECT, env=product.environment(), check=True, timeout=60)
        with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as ledger, ledger:
            ledger.execute(
                "INSERT INTO orchestrator_budgetalert (budget_id, under, begins, share, at, spent_microusd)"
                " SELECT id, '', '2026-11-01', 80, '2026-11-27 12:00:00', 40010000 FROM orchestrator_budget"
            )
        until(lambda: receiver.told, "an alert", within_s=60)
        until(lambda: "house" in product.logs() and "80 % of 50.00 USD are reached" in product.logs(), "the log")
        assert json.loads(receiver.told[0].body)["data"]["spent_usd"] == "40.01"
        assert "secret-part" not in product.logs()
        assert SECRET not in product.logs()


def test_alerts_are_signed_or_it_does_not_start(tmp_path: Path) -> None:
    env = Product(data=tmp_path, ORCHESTRATOR_ALERT_URL="http://127.0.0.1:9/hook").environment()
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=PROJECT, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "ORCHESTRATOR_ALERT_URL needs ORCHESTRATOR_ALERT_SECRET: alerts are signed." in done.stderr
    assert "Traceback" not in done.stderr
