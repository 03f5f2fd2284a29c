"""Who may import whom: the contracts in pyproject.toml hold, and they bite."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("orchestrator", "cache", "routing", "dashboard")
OUTBOUND = "orchestrator/outbound/"
# What speaks HTTP and is no package of its own, which is all that import-linter can tell apart.
IMPORTS = frozenset({"urllib.request", "http.client", "http.cookiejar", "xmlrpc.client", "ftplib"})
CALLS = frozenset({"open_connection", "create_connection"})
# A stream to a child over a socket pair, and Django's word for a cache of its own.
KNOWN = frozenset({"orchestrator/modelhost/runner.py: open_connection", "cache/assembly.py: create_connection"})


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_contracts_hold() -> None:
    run = lint(PROJECT)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("package", ["aiohttp", "httpcore", "httpx", "httpx2", "httpx_aiohttp", "requests", "urllib3"])
def test_a_second_way_out_breaks_the_contract(tmp_path: Path, package: str) -> None:
    rules = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (way_out,) = (contract for contract in rules["contracts"] if contract["name"].startswith("One way out by HTTP"))
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    inside = tmp_path / "orchestrator" / "outbound"
    inside.mkdir()
    (inside / "__init__.py").touch()
    (inside / "way.py").write_text("import httpx\n")
    written = [f"{name} = {value!r}" for name, value in way_out.items() if isinstance(value, str | list)]
    lines = [
        "[tool.importlinter]",
        f"root_packages = {rules['root_packages']!r}",
        "include_external_packages = true",
        "[[tool.importlinter.contracts]]",
        *written,
        "allow_indirect_imports = true",
        'unmatched_ignore_imports_alerting = "none"',  # of the few modules here
    ]
    (tmp_path / "pyproject.toml").write_text("\n".join(lines))
    assert lint(tmp_path).returncode == 0, lint(tmp_path).stdout
    (tmp_path / "routing" / "elsewhere.py").write_text(f"def ask():\n    import {package}\n")
    run = lint(tmp_path)
    assert run.returncode == 1, run.stdout + run.stderr
    assert f"routing.elsewhere -> {package}" in run.stdout


def ways_out(source: str) -> Iterator[str]:
    """What of a module speaks HTTP by the standard library, or could."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Attribute) and node.attr in CALLS:
            yield node.attr
        yield from sorted({name for name in names if name in IMPORTS})


def test_nothing_else_speaks_http_by_the_standard_library() -> None:
    files = [path for name in PACKAGES for path in sorted((PROJECT / name).rglob("*.py"))]
    places = {path: path.relative_to(PROJECT).as_posix() for path in files}
    found = {
        f"{place}: {way}"
        for path, place in places.items()
        if not place.startswith(OUTBOUND)
        for way in ways_out(path.read_text())
    }
    assert found == KNOWN


@pytest.mark.parametrize(
    "source",
    [
        "import urllib.request",
        "from urllib import request",
        "from urllib.request import urlopen",
        "def late():\n    import http.client",
        "from http import client as c",
        "import asyncio\nasync def go():\n    await asyncio.open_connection('h', 80)",
        "import socket\nsocket.create_connection(('h', 80))",
    ],
)
def test_a_way_out_by_the_standard_library_is_seen(source: str) -> None:
    assert list(ways_out(source))


def test_reading_an_address_is_no_way_out() -> None:
    assert not list(ways_out("from urllib.parse import urlsplit\nimport http\nfrom http import HTTPStatus"))
