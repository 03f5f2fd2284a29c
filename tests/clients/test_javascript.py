"""Runs the tests of the JavaScript clients, which speak for themselves."""

import shutil
import subprocess
from pathlib import Path

from tests.product import Product

HERE = Path(__file__).resolve().parent


def test_the_javascript_clients_work_unchanged(product: Product) -> None:
    node = shutil.which("node")
    assert node, "Node.js is missing; `make test` installs it"
    assert (HERE / "node_modules").is_dir(), "npm packages are missing; `make test` installs them"
    done = subprocess.run(
        [node, "--test", "client.test.js", "abilities.test.js"],
        cwd=HERE,
        env={"ADDRESS": product.base_url, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
