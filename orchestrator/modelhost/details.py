"""What `/api/show` tells about a stored model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.modelhost.gguf import Tensor, read_header
from orchestrator.modelhost.minilm import SUFFIX
from orchestrator.modelhost.store import StoredModel

_LONG = 16  # elements: the most of a list that is shown without being asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDetails:
    """The texts and tables of one model; an empty one is left out by Ollama."""

    license: str
    modelfile: str
    parameters: str
    template: str
    system: str
    messages: tuple[Mapping[str, str], ...]
    model_info: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    capabilities: frozenset[str]
    modified_at: float  # seconds since the epoch


def details(model: StoredModel, *, verbose: bool = False) -> ModelDetails:
    """Describe a model; `verbose` fills in the long lists, which reads the file again."""
    is_gguf = model.weights.suffix != SUFFIX
    header = read_header(model.weights, arrays=True) if verbose and is_gguf else model.header
    info = {
        key: value if verbose or not isinstance(value, list) or len(value) <= _LONG else None
        for key, value in sorted(header.metadata.items())
        if key not in {"general.name", "tokenizer.chat_template"}
    }
    info.setdefault("general.parameter_count", header.parameter_count)
    template = model.template or header.chat_template
    return ModelDetails(
        license="\n".join(model.licenses),
        modelfile=_modelfile(model, template),
        parameters="\n".join(f"{name:<30} {value}" for name, value in _parameters(model)),
        template=template,
        system=model.system or "",
        messages=model.messages,
        model_info=info,
        tensors=header.tensors,
        capabilities=model.capabilities,
        modified_at=model.modified_at,
    )


def _parameters(model: StoredModel) -> list[tuple[str, str]]:
    """One line a value; a list has several. Texts are quoted."""
    return [
        (name, json.dumps(item, ensure_ascii=False))
        for name, value in sorted(model.parameters.items())
        for item in (value if isinstance(value, list) else [value])
    ]


def _modelfile(model: StoredModel, template: str) -> str:
    lines = [
        "# Modelfile generated from the model store",
        "# To build a new Modelfile based on this, replace FROM with:",
        f"# FROM {model.name}",
        "",
        f"FROM {model.weights}",
        f'TEMPLATE """{template}"""',
    ]
    if model.system is not None:
        lines.append(f'SYSTEM """{model.system}"""')
    lines += [f"PARAMETER {name} {value}" for name, value in _parameters(model)]
    lines += [f"MESSAGE {turn['role']} {json.dumps(turn['content'], ensure_ascii=False)}" for turn in model.messages]
    lines += [f'LICENSE """{text}"""' for text in model.licenses]
    return "\n".join(lines) + "\n"
