"""Requests made up from docs/openapi.json, good ones and bad ones, and what every answer to them must be like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode

from orchestrator.api.description import EMBEDDER, FIRST_MODEL
from tests.shapes import DOCUMENT, faults

OPERATIONS = [(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods]
LONGEST_S = 20.0  # until the whole answer is there; far beyond what it takes
LONGEST_ERROR = 4096  # bytes; what was asked is not said again at length
LONGEST_FAULTS = 16_384  # where all is told that is wrong with a document
LONGEST_HEADER = 2048  # many clients take 8 kB of all of them
HONEST = {501, 503}  # not there yet; not possible now: both say so
ROUTER = {301, 307, 404, 405}  # answered in plain text where a made-up name makes another path
GOOD: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Hi"}],
    "prompt": "Hi",
    "input": "Hi",
    "max_tokens": 4,
}
_schema = schemathesis.openapi.from_dict(DOCUMENT)


def models_for(path: str, chatting: Sequence[str]) -> Sequence[str]:
    """Names worth asking for at `path`; no local model that would talk at length."""
    if "embed" in path:
        return [EMBEDDER]
    return [*chatting, FIRST_MODEL] if path in {"/api/show", "/v1/messages/count_tokens"} else chatting


@st.composite
def _cases(draw: st.DrawFn, method: str, path: str, chatting: Sequence[str]) -> Case:
    """A request; most name a model that is there, and half of those ask it what is good but for the rest."""
    mode = draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
    operation = _schema[path][method]
    can_be_bad = operation.body or operation.query or operation.path_parameters
    mode = mode if can_be_bad else GenerationMode.POSITIVE
    case = draw(operation.as_strategy(generation_mode=mode))
    if path.startswith("/api/admin/"):
        case.body = switched_off(case.body)
    elif isinstance(case.body, dict) and draw(st.integers(0, 3)):
        case.body = {**case.body, "model": draw(st.sampled_from(models_for(path, chatting)))}
        fields = DOCUMENT["components"]["schemas"][_body_of(method, path)]["properties"]
        if draw(st.booleans()):
            case.body |= {name: value for name, value in GOOD.items() if name in fields}
        if "stream" in fields and draw(st.booleans()):
            case.body["stream"] = draw(st.booleans())
    return case


def switched_off(body: Any) -> Any:
    """A body that sets up providers, a budget or rules, switched off: made up, they lead anywhere or refuse all."""
    if not isinstance(body, dict):
        return body
    providers = body.get("providers")
    if isinstance(providers, dict):
        return body | {"providers": {name: switched_off(one) for name, one in providers.items()}}
    if isinstance(body.get("rules"), list):
        return body | {"rules": [switched_off(one) for one in body["rules"]], "auto": {}}
    if {"then", "when", "expression"} & body.keys():
        return body | {"is_on": False}
    if "amount_usd" in body:
        return body | {"is_off": True}
    return body | {"is_enabled": False} if "kind" in body else body


def _body_of(method: str, path: str) -> str:
    body = DOCUMENT["paths"][path][method.lower()]["requestBody"]["content"]["application/json"]["schema"]
    return str(body["$ref"]).rpartition("/")[2]


def complaints(method: str, path: str, status: int, headers: dict[str, str], body: bytes) -> list[str]:
    """What is wrong with an answer; names of headers in small letters."""
    kind = headers.get("content-type", "")
    found = []
    if status >= 500 and status not in HONEST:
        found.append(f"status {status}")
    if status >= 400 and len(body) > (LONGEST_FAULTS if b'"faults"' in body else LONGEST_ERROR):
        found.append(f"an error of {len(body)} bytes")
    if (longest := max(map(len, headers.values()), default=0)) > LONGEST_HEADER:
        found.append(f"a header of {longest} bytes")
    if b"Traceback" in body or b'File "' in body:
        found.append("a stack trace")
    if status in ROUTER and kind.startswith("text/plain"):
        return found if "{" in path else [*found, f"{status} of the router"]
    if "x-request-id" not in headers:
        found.append("no X-Request-Id")
    return found + faults(method, path, status, kind, body)


def ask_all(
    method: str,
    path: str,
    *,
    base_url: str,
    chatting: Sequence[str],
    headers: dict[str, str],
    tell: Callable[[str], None],
    examples: int,
    of: int | None = None,
) -> int:
    """Ask `examples` made-up requests and `tell` what is wrong; return how many there were.

    of  the seed they are made of; None: the same ones each time.
    """
    asked = 0

    def ask(case: Case) -> None:
        nonlocal asked
        asked += 1
        answer = case.call(base_url=base_url, headers=headers, timeout=LONGEST_S, allow_redirects=False)
        told = {name: values[-1] for name, values in answer.headers.items()}
        for complaint in complaints(method, path, answer.status_code, told, answer.content):
            shown = f"{urlsplit(answer.request.url).query} {answer.request.body!r:.600}"
            tell(f"{method} {path}: {complaint}; it was asked {shown}, and said {answer.content[:300]!r}")

    asking = given(case=_cases(method, path, chatting))(ask)
    if of is not None:
        asking = seed(of)(asking)
    settings(
        max_examples=examples,
        derandomize=of is None,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # what is wrong is told as it is met
        suppress_health_check=list(HealthCheck),
    )(asking)()
    return asked
