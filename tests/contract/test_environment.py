"""The environment variables that users of Ollama set."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import settings as settings_module
from orchestrator.env import Address
from tests.contract.facts import Differs, Fact

FILE = settings_module.__file__
EVERYWHERE = "0.0.0.0"  # noqa: S104  # read, not bound
HOME = "127.0.0.1"
Read = Callable[..., dict[str, Any]]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Read:
    """The settings as they are with these variables."""

    def read(**variables: str) -> dict[str, Any]:
        monkeypatch.setenv("ORCHESTRATOR_DATA_DIR", str(tmp_path))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(FILE)

    return read


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("", Address(HOME, 11434)),
        ("1.2.3.4", Address("1.2.3.4", 11434)),
        ("1.2.3.4:1234", Address("1.2.3.4", 1234)),
        ("example.com", Address("example.com", 11434)),
        ("example.com:1234", Address("example.com", 1234)),
        (EVERYWHERE, Address(EVERYWHERE, 11434)),
        (":8080", Address(HOME, 8080)),
        (":0", Address(HOME, 0)),
        ("1.2.3.4:66000", Address("1.2.3.4", 11434)),
        ("1.2.3.4:-1", Address("1.2.3.4", 11434)),
        ("1.2.3.4:x", Address("1.2.3.4", 11434)),
        ("[::1]", Address("::1", 11434)),
        ("[::]", Address("::", 11434)),
        ("::1", Address("::1", 11434)),
        ("[::1]:1337", Address("::1", 1337)),
        (" 1.2.3.4 ", Address("1.2.3.4", 11434)),
        ('"1.2.3.4"', Address("1.2.3.4", 11434)),
        (' " 1.2.3.4 " ', Address("1.2.3.4", 11434)),
        ("'1.2.3.4'", Address("1.2.3.4", 11434)),
        ("http://1.2.3.4", Address("1.2.3.4", 80)),
        ("http://1.2.3.4:4321", Address("1.2.3.4", 4321)),
        ("http://1.2.3.4:x", Address("1.2.3.4", 80)),
        ("https://1.2.3.4", Address("1.2.3.4", 443)),
        ("https://1.2.3.4:4321", Address("1.2.3.4", 4321)),
        ("https://example.com/ollama", Address("example.com", 443)),
    ],
)
def test_ollama_host_is_read_in_every_form(read: Read, value: str, address: Address) -> None:
    assert read(OLLAMA_HOST=value)["ADDRESS"] == address


@pytest.mark.parametrize(
    ("variable", "value", "setting", "expected"),
    [
        ("OLLAMA_KEEP_ALIVE", "", "KEEP_ALIVE_S", 300),
        ("OLLAMA_KEEP_ALIVE", "3", "KEEP_ALIVE_S", 3),
        ("OLLAMA_KEEP_ALIVE", "1h", "KEEP_ALIVE_S", 3600),
        ("OLLAMA_KEEP_ALIVE", "-1s", "KEEP_ALIVE_S", -1),
        ("OLLAMA_KEEP_ALIVE", "-1", "KEEP_ALIVE_S", -1),
        ("OLLAMA_KEEP_ALIVE", "0", "KEEP_ALIVE_S", 0),
        ("OLLAMA_MODELS", "/somewhere/models", "MODELS_DIR", Path("/somewhere/models")),
        ("OLLAMA_MAX_LOADED_MODELS", "", "MAX_LOADED_MODELS", 0),
        ("OLLAMA_MAX_LOADED_MODELS", "2", "MAX_LOADED_MODELS", 2),
        ("OLLAMA_NUM_PARALLEL", "2", "NUM_PARALLEL", 2),
        ("OLLAMA_MAX_QUEUE", "", "MAX_QUEUE", 512),
        ("OLLAMA_MAX_QUEUE", "'7'", "MAX_QUEUE", 7),
        ("OLLAMA_ORIGINS", "", "ORIGINS", ()),
        (
            "OLLAMA_ORIGINS",
            "https://a.example,chrome-extension://*",
            "ORIGINS",
            ("https://a.example", "chrome-extension://*"),
        ),
        ("OLLAMA_CONTEXT_LENGTH", "", "CONTEXT_LENGTH", 4096),
        ("OLLAMA_CONTEXT_LENGTH", "0", "CONTEXT_LENGTH", 4096),
        ("OLLAMA_CONTEXT_LENGTH", "2048", "CONTEXT_LENGTH", 2048),
        ("OLLAMA_CONTEXT_LENGTH", "1", "CONTEXT_LENGTH", 4),
        ("OLLAMA_DEBUG", "", "LOG_LEVEL", "info"),
        ("OLLAMA_DEBUG", "false", "LOG_LEVEL", "info"),
        ("OLLAMA_DEBUG", "1", "LOG_LEVEL", "debug"),
        ("OLLAMA_DEBUG", "anything", "LOG_LEVEL", "debug"),
        ("OLLAMA_LOAD_TIMEOUT", "", "LOAD_TIMEOUT_S", 300),
        ("OLLAMA_LOAD_TIMEOUT", "10m", "LOAD_TIMEOUT_S", 600),
        ("OLLAMA_LOAD_TIMEOUT", "0", "LOAD_TIMEOUT_S", 0),
        ("OLLAMA_LOAD_TIMEOUT", "-1s", "LOAD_TIMEOUT_S", 0),
    ],
)
def test_a_variable_is_read_as_ollama_reads_it(
    read: Read, variable: str, value: str, setting: str, expected: Any
) -> None:
    assert read(**{variable: value})[setting] == expected


@pytest.mark.parametrize(
    "variable",
    [
        *("OLLAMA_DEBUG_LOG_REQUESTS", "OLLAMA_NO_CLOUD", "OLLAMA_REMOTES", "OLLAMA_FLASH_ATTENTION"),
        *("OLLAMA_KV_CACHE_TYPE", "OLLAMA_GPU_OVERHEAD", "OLLAMA_SCHED_SPREAD", "OLLAMA_LLM_LIBRARY", "OLLAMA_VULKAN"),
        *("OLLAMA_IGPU_ENABLE", "OLLAMA_GO_TEMPLATE", "OLLAMA_NOPRUNE", "OLLAMA_NOHISTORY", "OLLAMA_EDITOR"),
        *("OLLAMA_MAX_TRANSFER_STREAMS", "OLLAMA_API_KEY"),
    ],
)
@pytest.mark.parametrize("value", ["1", "anything"])
def test_a_variable_without_a_counterpart_is_accepted_quietly(read: Read, variable: str, value: str) -> None:
    def plain(found: dict[str, Any]) -> dict[str, Any]:
        return {name: one for name, one in found.items() if isinstance(one, str | int | float | tuple | Path)}

    assert plain(read(**{variable: value})) == plain(read(**{variable: ""}))


def with_(setting: str, **variables: str) -> Callable[[Read], Any]:
    """A look at one setting; what stops the start is said by the name of its error."""

    def look(read: Read) -> Any:
        try:
            return read(**variables)[setting]
        except Exception as error:  # noqa: BLE001  # its name is what is looked at
            return type(error).__name__

    return look


PAGE = "differences.md"
FACTS = [
    Fact(
        "a model makes one answer at a time unless it is told otherwise",
        with_("NUM_PARALLEL"),
        1,
        Differs(4, PAGE, "`OLLAMA_NUM_PARALLEL` is 4"),
    ),
    Fact(
        "models are kept in the user's home unless it is told otherwise",
        lambda read: with_("MODELS_DIR")(read) == Path.home() / ".ollama/models",
        True,
        Differs(False, PAGE, "models are kept in the data directory unless `OLLAMA_MODELS` names another folder"),
    ),
    Fact(
        "a port alone means every address of the machine",
        lambda read: with_("ADDRESS", OLLAMA_HOST=":8080")(read).host,
        "",
        Differs(HOME, PAGE, "`OLLAMA_HOST=:8080` means this machine only"),
    ),
    Fact(
        "a number that cannot be read is passed over",
        with_("NUM_PARALLEL", OLLAMA_NUM_PARALLEL="many"),
        1,
        Differs("BadSetting", PAGE, "a setting that cannot be read stops the start"),
    ),
]


@pytest.mark.parametrize("fact", FACTS, ids=str)
async def test_what_differs_is_as_the_docs_say(fact: Fact, read: Read) -> None:
    await fact.check(read)
