"""The registry from a terminal."""

from __future__ import annotations

import io
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from cache.generation import Generation
from orchestrator.core.secrets import derive
from orchestrator.registry import changes
from orchestrator.registry.models import Provider, RegistryVersion
from orchestrator.registry.reading import look, read
from tests.product import PROJECT, Product, registry_kept
from tests.registry.conftest import CANARY, EVERYTHING

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "registry.json"
    path.write_text(json.dumps(EVERYTHING))
    return path


@pytest.fixture
def run(db: None) -> Run:
    """Run it; exit code, standard output, standard error."""

    def command(*arguments: object) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        try:
            call_command("registry", *map(str, arguments), stdout=out, stderr=err)
        except CommandError as error:
            return error.returncode, out.getvalue(), str(error)
        except SystemExit as end:
            return int(end.code or 0), out.getvalue(), err.getvalue()
        return 0, out.getvalue(), err.getvalue()

    return command


def test_a_file_is_checked_applied_shown_and_applied_again(run: Run, file: Path, tmp_path: Path) -> None:
    code, said, _ = run("check", file)
    assert (code, "provider openai: added" in said) == (0, True)
    assert run("apply", file, "--dry-run")[1] == said
    assert not RegistryVersion.objects.exists()
    code, told, beside = run("apply", file, "--reason", "the first")
    version = RegistryVersion.objects.get()
    assert (code, told, beside) == (0, said, f"This is version {version.number}.\n")
    assert (version.reason, version.by.endswith("terminal")) == ("the first", True)
    assert run("apply", file) == (0, "", "There is nothing to change.\n")
    assert "nothing to change" in run("check", file)[2]
    shown = tmp_path / "shown.json"
    shown.write_text(run("show")[1])
    assert json.loads(shown.read_text())["providers"]["openai"]["key"]["hint"] == "…WXYZ"
    assert run("apply", shown) == (0, "", "There is nothing to change.\n")
    assert read().providers[1].key == CANARY


def test_standard_input_is_a_file_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"models": {"a": {}}}'))
    assert run("apply", "-")[1] == "model a: added\n"


def test_history_is_listed_compared_and_taken_back(run: Run, file: Path, tmp_path: Path) -> None:
    run("apply", file)
    empty = tmp_path / "empty.json"
    empty.write_text("{}")
    code, said, error = run("apply", empty)
    assert (code, said) == (2, "")
    assert error.startswith("The file leaves out provider azure-eu, provider gpu, provider openai, model ")
    assert error.endswith("`apply` removes them with --prune, and not without it.")
    code, said, error = run("apply", empty, "--dry-run")
    assert (code, "model smart: removed" in said, "--prune" in error) == (0, True, True)
    assert "--prune" in run("check", empty)[2]
    assert RegistryVersion.objects.count() == 1
    run("apply", empty, "--prune", "--reason", "a mistake")
    first, second = RegistryVersion.objects.order_by("number").values_list("number", flat=True)
    code, said, _ = run("history")
    assert code == 0
    assert said.index("a mistake") < said.index(f"\n{first}  ")
    assert "    model smart: removed\n" in said
    assert run("history", "--most", 1)[1].count("removed") == said.count("removed")
    assert "model smart: removed" in run("diff", first)[1]
    assert "model smart: added" in run("diff", second, first)[1]
    assert run("diff", second)[1] == "There is no difference.\n"
    assert run("restore", first)[2] == f"This is version {second + 1}.\n"
    assert run("diff", first)[1] == "There is no difference.\n"
    assert run("restore", first) == (0, "", "There is nothing to change.\n")
    everything = "".join("".join(run(*asked)[1:]) for asked in (("history",), ("diff", second), ("show",)))
    assert CANARY not in everything


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1, column 2"),
        ('{"models": {"a": {}, "a": {}}}', "'a' is there twice"),
        ('{"models": {"a": {"hedge_after_s": NaN}}}', "NaN is no number"),
        ("[" * 100_000, "recursion"),
        ('{"models": {"a": {"b": 1}}}', "models.a.b: there is no such field"),
        ("[]", "an object is wanted"),
        ('{"providers": {"a": {"kind": "openai", "key": "two words"}}}', "providers.a.key: a key is of up to"),
    ],
)
def test_a_wrong_file_says_where_and_changes_nothing(run: Run, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(text)
    for command in ("check", "apply"):
        code, said, error = run(command, path)
        assert (code, said) == (1, "")
        assert words in error
        assert "two words" not in error
    assert not RegistryVersion.objects.exists()


def test_what_cannot_be_done_says_so(run: Run, file: Path, tmp_path: Path) -> None:
    assert run("apply", tmp_path / "nowhere.json")[0] == 2
    assert run("diff", 7)[::2] == (2, "There is no version 7; the newest 500 are kept.")
    assert run("restore", 7)[0] == 2
    file.write_text(json.dumps(EVERYTHING | {"version": 7}))
    assert run("apply", file)[::2] == (3, "The registry is at version 0 by now, not 7; read it again, and change that.")
    (tmp_path / "short").write_text("abc")
    assert run("reseal", "--old-master", tmp_path / "short")[0] == 2
    assert run("reseal", "--old-master", tmp_path / "nothing")[0] == 2
    assert not (tmp_path / "nothing").exists()


def master(path: Path) -> bytes:
    path.write_text(secrets.token_hex(32))
    return derive(bytes.fromhex(path.read_text()), "provider keys")


def test_keys_go_over_to_another_master_secret(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "PROVIDER_KEYS_KEY", master(tmp_path / "old"))
    run("apply", file)
    first = RegistryVersion.objects.get().number
    run("apply", write(tmp_path, {}), "--prune")
    run("restore", first)
    monkeypatch.setattr(settings, "PROVIDER_KEYS_KEY", master(tmp_path / "new"))
    assert {one.name for one in look().off} == {"azure-eu", "openai", "gpu"}
    assert run("reseal", "--old-master", tmp_path / "new")[0] == 1, "that is not the one they were sealed with"
    assert {one.name for one in look().off} == {"azure-eu", "openai", "gpu"}
    code, said, _ = run("reseal", "--old-master", tmp_path / "old")
    assert (code, said) == (0, "6 sealed anew, those of older versions too.\n")
    assert read().providers[1].key == CANARY
    run("apply", write(tmp_path, {}), "--prune")
    run("restore", first)
    assert read().providers[1].key == CANARY, "older versions can come back"
    assert run("reseal", "--old-master", tmp_path / "old")[1] == "0 sealed anew, those of older versions too.\n"


def test_a_key_that_does_not_open_stays_and_is_told(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "PROVIDER_KEYS_KEY", master(tmp_path / "old"))
    run("apply", file)
    RegistryVersion.objects.all().delete()
    Provider.objects.filter(name="azure-eu").update(sealed_key="broken")
    monkeypatch.setattr(settings, "PROVIDER_KEYS_KEY", master(tmp_path / "new"))
    code, said, error = run("reseal", "--old-master", tmp_path / "old")
    assert (code, said[:2]) == (1, "1 ")
    assert error.startswith("azure-eu: its key is not in a form")
    assert read().providers[0].key == CANARY
    assert Provider.objects.get(name="azure-eu").sealed_key == "broken"


def test_a_file_with_faults_of_every_sort_is_told_all_of_them(run: Run, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "providers": {
                "a": {"kind": "compatible", "address": f"http://{settings.ADDRESS.host}:{settings.ADDRESS.port}"},
                "openai": {"address": "nowhere", "most_calls": 0},
                "Bad": {"kind": "openai"},
                "none": None,
            },
            "models": {
                "auto": {"tags": 5},
                "m": {
                    "fallbacks": ["n"],
                    "deployments": [
                        {"remote_name": "x", "weight": 0},
                        {"provider": "nobody", "remote_name": "y", "colour": 1},
                        {"provider": "Bad"},
                        {"provider": "a"},
                    ],
                },
                "n": {"fallbacks": ["m"], "context_length": "x"},
            },
            "odd": 1,
        },
    )
    for command in ("check", "apply"):
        code, _, error = run(command, path)
        assert code == 1
        assert [line.partition(": ")[0] for line in error.splitlines()] == [
            "providers.openai.kind",
            "providers.openai.address",
            "providers.openai.most_calls",
            "providers.Bad",
            "providers.none",
            "models.auto.tags",
            "models.m.deployments[0].weight",
            "models.m.deployments[1].colour",
            "models.m.deployments[2].remote_name",
            "models.m.deployments[3].remote_name",
            "models.n.context_length",
            "odd",
            "providers.a.address",
            "models.auto",
            "models.m.deployments[1].provider",
            "models.m.fallbacks",
        ]


def test_what_is_hardly_meant_is_warned_of(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, {"models": {"m": {"deployments": [{"remote_name": "x"}], "fallbacks": ["nothere"]}}})
    warning = "Warning: models.m.fallbacks[0]: there is no model 'nothere', neither registered nor installed here\n"
    assert run("check", path)[::2] == (0, warning)
    assert run("apply", path)[2].startswith(warning)


def test_what_this_shell_does_not_know_is_said(run: Run, tmp_path: Path, environment: Callable[..., None]) -> None:
    environment(keys={"groq": CANARY})
    changes.ensure_environment()
    assert run("show")[2] == ""
    environment()
    path = write(tmp_path, {"models": {"m": {"deployments": [{"provider": "groq", "remote_name": "x"}]}}})
    for asked in (("show",), ("check", path)):
        code, _, error = run(*asked)
        assert (code, error.startswith("The product's environment sets up groq, this shell's does not")) == (0, True)
    assert run("apply", path)[0] == 0


def test_without_a_command_they_are_listed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run()[0] == 2
    error = capsys.readouterr().err
    assert "make the registry be as it was in a version" in error
    assert "replace the registry by what a file says" in error


def write(folder: Path, value: Any) -> Path:
    path = folder / "written.json"
    path.write_text(json.dumps(value))
    return path


def test_a_file_is_checked_where_there_is_no_registry_yet(file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "manage.py", "registry", "check", str(file)]
    environment = os.environ | {"ORCHESTRATOR_DATA_DIR": str(tmp_path / "data"), "ORCHESTRATOR_ENV": "test"}
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "It is right. There is no registry here to compare it with.\n"
    command[3] = "apply"
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "manage.py migrate" in done.stderr) == (2, True)


def test_a_running_product_is_told_at_once(product: Product, admin_key: str, tmp_path: Path) -> None:
    path = write(tmp_path, {"models": {"told": {"aliases": ["at-once"]}}})
    policy = Generation(product.data / "run" / "generation")
    with registry_kept(product, admin_key):
        before = policy.policy()
        done = subprocess.run(
            [sys.executable, "manage.py", "registry", "apply", "--prune", str(path)],
            cwd=PROJECT,
            env=product.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert "model told: added" in done.stdout
        assert policy.policy() > before
    policy.close()
