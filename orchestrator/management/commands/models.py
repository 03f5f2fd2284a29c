"""manage.py models: which models are on this machine, and how a GGUF file becomes one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from orchestrator.audit import note
from orchestrator.core.errors import BadRequest
from orchestrator.identity.acting import at_terminal
from orchestrator.management.rows import Rows, with_json, words
from orchestrator.modelhost.memory import readable
from orchestrator.modelhost.minilm import open_store
from orchestrator.modelhost.store import StoredModel

COLUMNS = ("name", "size", "parameters", "quantization", "capabilities")


class Command(Rows):
    """The folder is that of `OLLAMA_MODELS`, which Ollama can fill as well."""

    help = "List the models of this machine, and add a GGUF file as one."

    def add_commands(self, commands: Any) -> None:
        """Both show models."""
        with_json(commands.add_parser("list", help="list them, the newest first"))
        add = with_json(commands.add_parser("add", help="put a GGUF file into the folder, under a name"))
        add.add_argument("name", metavar="NAME", help="what callers ask for: qwen2.5:3b")
        add.add_argument("file", type=Path, metavar="FILE", help="it is linked where that is possible, else copied")

    def list(self) -> None:
        """Those that are sound."""
        rows = map(_row, open_store(settings.MODELS_DIR).models())
        self.table(rows, dict.fromkeys(COLUMNS, words), f"There is none in {settings.MODELS_DIR}.")

    def add(self, name: str, file: Path) -> None:
        """And show it. A running product knows it within a second."""
        store = open_store(settings.MODELS_DIR)
        try:
            if (found := store.find(name)) is not None:
                raise BadRequest(f"There is a model {found.name} already; take another name.")
            model = store.install(name, file)
        except ValueError as error:
            raise BadRequest(f"{file} cannot be added as {name!r}: {error}") from None
        except OSError as error:
            raise BadRequest(f"{file} cannot be put into {settings.MODELS_DIR}: {error}") from None
        note(at_terminal().name, "model.added", str(model.name), None, {"file": str(file), "digest": model.digest})
        self.one(_row(model))


def _row(model: StoredModel) -> Mapping[str, Any]:
    return {
        "name": str(model.name),
        "size": readable(model.size),
        "parameters": model.parameter_size,
        "quantization": model.header.quantization,
        "capabilities": sorted(model.capabilities),
    }
