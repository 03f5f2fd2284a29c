"""POST /api/embed, /api/embeddings and /v1/embeddings: a vector for each text."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

from django.http import HttpRequest, HttpResponseBase
from ninja import Router
from pydantic import WithJsonSchema

from orchestrator.api.bounds import MOST_INPUTS
from orchestrator.api.calls import controls
from orchestrator.api.ollama import error_line
from orchestrator.api.options import read_options, unknown_options
from orchestrator.api.replies import NDJSON, Form, Wire, begin, respond
from orchestrator.api.schemas import Body, KeepAlive, Options
from orchestrator.api.stamps import Stamps
from orchestrator.core.errors import BadRequest, ModelNotFound
from orchestrator.core.types import ChatRequest, Chunk, Reply
from orchestrator.unasked import load

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = list[npt.NDArray[np.float32]]

router = Router(tags=["Ollama"])
openai_router = Router(tags=["OpenAI"])
WRONG_TYPE = "invalid input type"
WIRE = Wire(error_line, NDJSON)
OPENAI_WIRE = Wire(error_line, NDJSON, "application/json")


# Any, because what is wrong with it is said in words of its own.
Input = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})]


class EmbedBody(Body):
    """POST /api/embed."""

    model: str | None = None
    input: Input = None
    truncate: bool | None = None
    dimensions: int | None = None
    options: Options = None
    keep_alive: KeepAlive = None


class EmbeddingsBody(Body):
    """POST /api/embeddings."""

    model: str | None = None
    prompt: str | None = None
    options: Options = None
    keep_alive: KeepAlive = None


class OpenAIEmbeddingsBody(Body):
    """POST /v1/embeddings."""

    model: str | None = None
    input: Input = None
    dimensions: int | None = None
    encoding_format: str | None = None


@router.post("/embed", summary="Vectors for texts")
async def embed(request: HttpRequest, body: EmbedBody) -> HttpResponseBase:
    """A vector of length 1 for each text of `input`, which is one or a list; without any, the model is loaded.

    A text that is too long is cut, unless `truncate` is false. `dimensions` shortens the vectors.
    """
    inputs = _inputs(body.input)
    dimensions = _dimensions(body.dimensions)
    if not body.model:
        raise ModelNotFound("model '' not found")
    asked = _asked(request, body.model, inputs, body.options, body.keep_alive, truncate=body.truncate is not False)
    if not inputs:
        return await _loaded(request, asked, {"model": body.model, "embeddings": []})
    return await _reply(request, asked, lambda stamps: EmbedForm(stamps, asked.model, dimensions), WIRE)


@router.post("/embeddings", summary="A vector for a text")
async def embeddings(request: HttpRequest, body: EmbeddingsBody) -> HttpResponseBase:
    """A vector for `prompt`, as the model makes it, of any length; without a prompt the model is loaded.

    /api/embed came after it and takes many texts at once.
    """
    if not body.model:
        raise BadRequest("model is required")
    inputs = (body.prompt,) if body.prompt else ()
    asked = _asked(request, body.model, inputs, body.options, body.keep_alive)
    if not inputs:
        return await _loaded(request, asked, {"embedding": []})
    return await _reply(request, asked, lambda _: OneEmbeddingForm(), WIRE)


@openai_router.post("/embeddings", summary="Vectors for texts")
async def openai_embeddings(request: HttpRequest, body: OpenAIEmbeddingsBody) -> HttpResponseBase:
    """A vector of length 1 for each text of `input`, which is one or a list.

    As numbers, or with an `encoding_format` of `base64` as 32-bit floats, little-endian.
    """
    if body.input is None or body.input == []:
        raise BadRequest("invalid input")
    inputs = _inputs(body.input, is_empty_text_one=True)
    kind = (body.encoding_format or "float").lower()
    if kind not in {"float", "base64"}:
        raise BadRequest(f"Invalid value for 'encoding_format' = {kind[:40]}. Supported values: ['float', 'base64'].")
    dimensions = _dimensions(body.dimensions)
    if not body.model:
        raise ModelNotFound("model '' not found")
    asked = _asked(request, body.model, inputs, None, None, dialect="openai")
    is_base64 = kind == "base64"
    return await _reply(
        request, asked, lambda _: OpenAIEmbeddingsForm(asked.model, dimensions, is_base64=is_base64), OPENAI_WIRE
    )


def _inputs(given: object, *, is_empty_text_one: bool = False) -> tuple[str, ...]:
    """The texts. Raises BadRequest."""
    if given is None or (given == "" and not is_empty_text_one):
        return ()
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequest(WRONG_TYPE)
    if len(texts) > MOST_INPUTS:
        raise BadRequest(
            f"input holds {len(texts)} texts; at most {MOST_INPUTS} are taken at once, so send it in parts"
        )
    return tuple(texts)


def _dimensions(given: int | None) -> int | None:
    if given is not None and given < 0:
        raise BadRequest("dimensions must be above 0")
    return given or None


def _asked(
    request: HttpRequest,
    model: str,
    inputs: tuple[str, ...],
    options: dict[str, Any] | None,
    keep_alive_s: float | None,
    *,
    truncate: bool = True,
    dialect: str = "ollama",
) -> ChatRequest:
    return ChatRequest(
        model=model,
        inputs=inputs,
        options=read_options(options),
        truncate=truncate,
        keep_alive_s=keep_alive_s,
        ignored=unknown_options(options),
        dialect=dialect,  # type: ignore[arg-type]  # one of two words above
        **controls(request),
    )


async def _loaded(request: HttpRequest, asked: ChatRequest, nothing: dict[str, Any]) -> HttpResponseBase:
    begun = await begin(request, asked, load)
    return await respond(request, begun, lambda _: _NoVectors(nothing), WIRE, is_streamed=False)


async def _reply(
    request: HttpRequest, asked: ChatRequest, form_of: Callable[[Stamps], Form], wire: Wire
) -> HttpResponseBase:
    begun = await begin(request, asked)
    # Only here, and beside: it takes a tenth of a second and 25 MB, which most workers can do without.
    await asyncio.to_thread(import_module, "numpy")
    return await respond(request, begun, form_of, wire, is_streamed=False)


class _VectorForm:
    """What the forms share. Vectors come whole: no dialect streams them."""

    def of_chunk(self, chunk: Chunk) -> list[bytes]:
        """Nothing is streamed."""
        return []


class _NoVectors(_VectorForm):
    """What is said when the model was loaded and asked nothing."""

    def __init__(self, value: dict[str, Any]) -> None:
        self._value = value

    def of_reply(self, reply: Reply) -> dict[str, Any]:
        """The same in any case."""
        return self._value


class EmbedForm(_VectorForm):
    """The object of /api/embed."""

    def __init__(self, stamps: Stamps, asked_model: str, dimensions: int | None) -> None:
        self._stamps, self._model, self._dimensions = stamps, asked_model, dimensions

    def of_reply(self, reply: Reply) -> dict[str, Any]:
        """The whole answer as one object."""
        usage = reply.done.usage
        return {
            "model": self._model,
            "embeddings": of_length_1(reply.vectors, self._dimensions),
            "total_duration": self._stamps.total_ns,
            "load_duration": max(usage.load_ns, 1),
            "prompt_eval_count": usage.prompt_tokens,
        }


class OneEmbeddingForm(_VectorForm):
    """The object of /api/embeddings."""

    def of_reply(self, reply: Reply) -> dict[str, Any]:
        """The whole answer as one object."""
        (vector,) = as_made(reply.vectors)
        return {"embedding": vector}


class OpenAIEmbeddingsForm(_VectorForm):
    """The object of /v1/embeddings."""

    def __init__(self, asked_model: str, dimensions: int | None, *, is_base64: bool) -> None:
        self._model, self._dimensions, self._is_base64 = asked_model, dimensions, is_base64

    def of_reply(self, reply: Reply) -> dict[str, Any]:
        """The whole answer as one object."""
        tokens = reply.done.usage.prompt_tokens
        vectors: list[Any] = list(of_length_1(reply.vectors, self._dimensions))
        if self._is_base64:
            vectors = [b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]
        data = [{"object": "embedding", "embedding": vector, "index": place} for place, vector in enumerate(vectors)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": self._model, "usage": usage}


def as_made(vectors: tuple[bytes, ...]) -> Vectors:
    """The vectors as the model made them."""
    import numpy as np

    return [np.frombuffer(vector, "<f4") for vector in vectors]


def of_length_1(vectors: tuple[bytes, ...], dimensions: int | None) -> Vectors:
    """The first `dimensions` numbers of each, scaled to a length of 1; nothing but zeros stays so."""
    import numpy as np

    found = []
    for vector in as_made(vectors):
        cut = vector[:dimensions]
        length = np.linalg.norm(cut)
        found.append(cut / length if length else cut)
    return found
