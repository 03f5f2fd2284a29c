"""Who may ask what of the API: one row for each method of each route, asked before a request's body is read.

A route without a row is refused, and a test fails for it. `docs/permissions.md` is made of this table.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping

from django.conf import settings
from django.http import HttpRequest
from ninja import NinjaAPI

from orchestrator.api.anthropic import is_anthropic
from orchestrator.api.calls import header, show_key
from orchestrator.core.errors import Forbidden, Unauthorized
from orchestrator.core.permissions import EVERYBODY, FAMILIES, FOR_ALL_TENANTS, Permission
from orchestrator.core.scopes import check_family
from orchestrator.core.types import Caller, Dialect
from orchestrator.wiring import parts

log = logging.getLogger(__name__)

ANYBODY = "anybody"  # no credential is looked at
METRICS = "the metrics' token"  # or a key that sees the usage of every tenant; anybody, where neither is asked for
CHAT, EMBED, MODELS, STATS = FAMILIES
P = Permission
ADMIN = "/api/admin/v1"

# What each needs: one of the words above, for which any caller will do whose key is not kept to others,
# or a permission. A HEAD is a GET.
TABLE: Mapping[tuple[str, str], str] = {
    ("GET", "/"): ANYBODY,
    ("GET", "/healthz"): ANYBODY,
    ("GET", "/readyz"): ANYBODY,
    ("GET", "/api/version"): ANYBODY,
    ("GET", "/api/docs"): ANYBODY,
    ("GET", "/api/openapi.json"): ANYBODY,
    ("GET", "/metrics"): METRICS,
    ("GET", "/api/stats"): STATS,
    # Ollama
    ("POST", "/api/chat"): CHAT,
    ("POST", "/api/generate"): CHAT,
    ("POST", "/api/embed"): EMBED,
    ("POST", "/api/embeddings"): EMBED,
    ("POST", "/api/feedback"): CHAT,
    ("GET", "/api/tags"): MODELS,
    ("GET", "/api/ps"): MODELS,
    ("POST", "/api/show"): MODELS,
    ("POST", "/api/pull"): MODELS,
    ("POST", "/api/push"): MODELS,
    ("POST", "/api/create"): MODELS,
    ("POST", "/api/copy"): MODELS,
    ("DELETE", "/api/delete"): MODELS,
    ("POST", "/api/blobs/{digest}"): MODELS,
    ("HEAD", "/api/blobs/{digest}"): MODELS,
    # ollama.com
    ("GET", "/api/status"): MODELS,
    ("POST", "/api/me"): MODELS,
    ("POST", "/api/signout"): MODELS,
    ("DELETE", "/api/user/keys/{key}"): MODELS,
    ("POST", "/api/experimental/web_search"): MODELS,
    ("POST", "/api/experimental/web_fetch"): MODELS,
    ("GET", "/api/experimental/model-recommendations"): MODELS,
    # OpenAI and Anthropic
    ("POST", "/v1/chat/completions"): CHAT,
    ("POST", "/v1/completions"): CHAT,
    ("POST", "/v1/responses"): CHAT,
    ("POST", "/v1/messages"): CHAT,
    ("POST", "/v1/messages/count_tokens"): CHAT,
    ("POST", "/v1/audio/transcriptions"): CHAT,
    ("POST", "/v1/embeddings"): EMBED,
    ("GET", "/v1/models"): MODELS,
    ("GET", "/v1/models/{path:name}"): MODELS,
    # Management
    ("GET", f"{ADMIN}/cache"): P.SEE_USAGE,
    ("DELETE", f"{ADMIN}/cache"): P.PURGE_ANSWERS,
    ("GET", f"{ADMIN}/costs"): P.SEE_USAGE,
    ("GET", f"{ADMIN}/costs.csv"): P.SEE_USAGE,
    ("GET", f"{ADMIN}/costs/charges.csv"): P.SEE_USAGE,
    ("GET", f"{ADMIN}/decisions/{{request_id}}"): P.SEE_USAGE,
    ("POST", f"{ADMIN}/analyze"): P.SEE_USAGE,
    ("POST", f"{ADMIN}/decide"): P.SEE_USAGE,
    ("GET", f"{ADMIN}/registry"): P.SEE_REGISTRY,
    ("PUT", f"{ADMIN}/registry"): P.CHANGE_REGISTRY,
    ("POST", f"{ADMIN}/registry/check"): P.SEE_REGISTRY,
    ("GET", f"{ADMIN}/registry/versions"): P.SEE_REGISTRY,
    ("GET", f"{ADMIN}/registry/versions/{{number}}"): P.SEE_REGISTRY,
    ("POST", f"{ADMIN}/registry/versions/{{number}}/restore"): P.CHANGE_REGISTRY,
    ("GET", f"{ADMIN}/providers"): P.SEE_REGISTRY,
    ("GET", f"{ADMIN}/providers/{{name}}"): P.SEE_REGISTRY,
    ("PUT", f"{ADMIN}/providers/{{name}}"): P.CHANGE_REGISTRY,
    ("DELETE", f"{ADMIN}/providers/{{name}}"): P.CHANGE_REGISTRY,
    ("GET", f"{ADMIN}/models"): P.SEE_REGISTRY,
    ("GET", f"{ADMIN}/models/{{path:name}}"): P.SEE_REGISTRY,
    ("PUT", f"{ADMIN}/models/{{path:name}}"): P.CHANGE_REGISTRY,
    ("DELETE", f"{ADMIN}/models/{{path:name}}"): P.CHANGE_REGISTRY,
    ("GET", f"{ADMIN}/routing/rules"): P.SEE_RULES,
    ("PUT", f"{ADMIN}/routing/draft"): P.CHANGE_RULES,
    ("DELETE", f"{ADMIN}/routing/draft"): P.CHANGE_RULES,
    ("PUT", f"{ADMIN}/routing/draft/auto"): P.CHANGE_RULES,
    ("POST", f"{ADMIN}/routing/draft/rules"): P.CHANGE_RULES,
    ("POST", f"{ADMIN}/routing/draft/rules/{{path:name}}/move"): P.CHANGE_RULES,
    ("PATCH", f"{ADMIN}/routing/draft/rules/{{path:name}}"): P.CHANGE_RULES,
    ("DELETE", f"{ADMIN}/routing/draft/rules/{{path:name}}"): P.CHANGE_RULES,
    ("POST", f"{ADMIN}/routing/check"): P.SEE_RULES,
    ("POST", f"{ADMIN}/routing/dry-run"): P.SEE_RULES,
    ("POST", f"{ADMIN}/routing/publish"): P.CHANGE_RULES,
    ("GET", f"{ADMIN}/routing/results"): P.SEE_USAGE,
    ("GET", f"{ADMIN}/routing/learned"): P.SEE_RULES,
    ("DELETE", f"{ADMIN}/routing/learned"): P.CHANGE_RULES,
    ("GET", f"{ADMIN}/routing/versions"): P.SEE_RULES,
    ("GET", f"{ADMIN}/routing/versions/{{number}}"): P.SEE_RULES,
    ("POST", f"{ADMIN}/routing/versions/{{number}}/restore"): P.CHANGE_RULES,
    ("GET", f"{ADMIN}/keys"): P.SEE_KEYS,
    ("POST", f"{ADMIN}/keys"): P.CHANGE_KEYS,
    ("GET", f"{ADMIN}/keys/{{prefix}}"): P.SEE_KEYS,
    ("PATCH", f"{ADMIN}/keys/{{prefix}}"): P.CHANGE_KEYS,
    ("POST", f"{ADMIN}/keys/{{prefix}}/rotate"): P.CHANGE_KEYS,
    ("DELETE", f"{ADMIN}/keys/{{prefix}}"): P.CHANGE_KEYS,
    ("GET", f"{ADMIN}/teams"): P.SEE_KEYS,
    ("POST", f"{ADMIN}/teams"): P.CHANGE_KEYS,
    ("DELETE", f"{ADMIN}/teams/{{tenant}}/{{name}}"): P.CHANGE_KEYS,
    ("GET", f"{ADMIN}/limits"): P.SEE_KEYS,
    ("POST", f"{ADMIN}/limits"): P.CHANGE_KEYS,
    ("GET", f"{ADMIN}/limits/{{name}}"): P.SEE_KEYS,
    ("PATCH", f"{ADMIN}/limits/{{name}}"): P.CHANGE_KEYS,
    ("DELETE", f"{ADMIN}/limits/{{name}}"): P.CHANGE_KEYS,
    ("GET", f"{ADMIN}/budgets"): P.SEE_BUDGETS,
    ("POST", f"{ADMIN}/budgets"): P.CHANGE_BUDGETS,
    ("GET", f"{ADMIN}/budgets/alerts"): P.SEE_BUDGETS,
    ("GET", f"{ADMIN}/budgets/{{name}}"): P.SEE_BUDGETS,
    ("PATCH", f"{ADMIN}/budgets/{{name}}"): P.CHANGE_BUDGETS,
    ("DELETE", f"{ADMIN}/budgets/{{name}}"): P.CHANGE_BUDGETS,
    ("GET", f"{ADMIN}/tenants"): P.SEE_PEOPLE,
    ("POST", f"{ADMIN}/tenants"): P.CHANGE_PEOPLE,
    ("PATCH", f"{ADMIN}/tenants/{{name}}"): P.CHANGE_PEOPLE,
    ("GET", f"{ADMIN}/people"): P.SEE_PEOPLE,
    ("POST", f"{ADMIN}/people"): P.CHANGE_PEOPLE,
    ("GET", f"{ADMIN}/people/{{name}}"): P.SEE_PEOPLE,
    ("DELETE", f"{ADMIN}/people/{{name}}"): P.CHANGE_PEOPLE,
    ("PUT", f"{ADMIN}/people/{{name}}/role"): P.CHANGE_PEOPLE,
    ("POST", f"{ADMIN}/people/{{name}}/link"): P.CHANGE_PEOPLE,
    ("DELETE", f"{ADMIN}/people/{{name}}/two-factor"): P.CHANGE_PEOPLE,
    ("GET", f"{ADMIN}/grants"): P.SEE_PEOPLE,
    ("POST", f"{ADMIN}/grants"): P.CHANGE_PEOPLE,
    ("DELETE", f"{ADMIN}/grants/{{owner}}/{{reader}}"): P.CHANGE_PEOPLE,
    ("GET", f"{ADMIN}/audit"): P.SEE_AUDIT,
    ("GET", f"{ADMIN}/invoices"): P.SEE_INVOICES,
    ("POST", f"{ADMIN}/invoices"): P.CHANGE_INVOICES,
    ("GET", f"{ADMIN}/invoices/{{number}}"): P.SEE_INVOICES,
    ("DELETE", f"{ADMIN}/invoices/{{number}}"): P.CHANGE_INVOICES,
    ("GET", f"{ADMIN}/invoices/{{number}}/differences"): P.SEE_INVOICES,
    ("GET", f"{ADMIN}/invoices/{{number}}/differences.csv"): P.SEE_INVOICES,
}
_said: set[tuple[str, str]] = set()  # what was logged as missing


def path_of(route: str) -> str:
    """A route of the resolver as it stands in the table."""
    return "/" + route.removeprefix("^/").replace("<", "{").replace(">", "}")


def need_of(method: str, path: str) -> str | None:
    """What the table asks for; None where it has no row."""
    need = TABLE.get((method, path))
    return TABLE.get(("GET", path)) if need is None and method == "HEAD" else need


def offered(api: NinjaAPI) -> dict[str, set[str]]:
    """Every route that `api` resolves, with its methods."""
    found: dict[str, set[str]] = {}
    for prefix, router in api._routers:
        for path, view in router.path_operations.items():
            methods = {method for operation in view.operations for method in operation.methods}
            found.setdefault(prefix + path, set()).update(methods)
    for url in (api.docs_url, api.openapi_url):  # pages of ninja's, which ask for no method
        if url:
            found[str(url)] = {"GET", "HEAD"}
    return found


def dialect_of(path: str) -> Dialect:
    """What whoever asks for `path` speaks."""
    if is_anthropic(path):
        return "anthropic"
    return "openai" if path.startswith("/v1/") else "ollama"


async def admit(request: HttpRequest, method: str, path: str) -> Caller | None:
    """Who asks, where a caller is asked for. Raises what `show_key` raises, and Forbidden."""
    need = need_of(method, path)
    if need is None:
        if (method, path) not in _said:
            _said.add((method, path))
            log.error("%s %s is refused to everybody: it has no row in orchestrator/api/policy.py", method, path)
        raise Forbidden("Nobody may ask this: it is not said who may.")
    if need == ANYBODY:
        return None
    if need == METRICS:
        return await _reader_of_metrics(request)
    caller = await show_key(request)
    request.auth = caller  # type: ignore[attr-defined]  # here, so that a refusal is recorded as the caller's
    if isinstance(need, Permission):
        if caller.reach(need).is_nobody:
            raise Forbidden(
                f"This needs a key that may {need}{_for_whom(need)}: one with a role, or of `manage.py issue_key NAME"
                " --admin`."
            )
    else:
        check_family(caller, need, None if need == STATS else dialect_of(path))
    return caller


def _for_whom(need: Permission) -> str:
    return " for every tenant" if need in FOR_ALL_TENANTS else ""


async def _reader_of_metrics(request: HttpRequest) -> Caller | None:
    """They count what every tenant does. Raises Unauthorized, Forbidden, TooMany."""
    scheme, _, shown = header(request, "Authorization").partition(" ")
    token: str = settings.METRICS_TOKEN
    address = request.META.get("REMOTE_ADDR", "")
    if token and scheme.lower() == "bearer":
        parts().identity.guesses.check(address)
        if hmac.compare_digest(shown.strip().encode(), token.encode()):
            return None
    caller = await show_key(request)
    if caller.reach(Permission.SEE_USAGE) == EVERYBODY:
        return caller
    if caller.key_id is None and token:
        if shown:
            parts().identity.guesses.wrong(address)
        raise Unauthorized("This needs ORCHESTRATOR_METRICS_TOKEN or an API key, as `Authorization: Bearer …`.")
    if token or parts().identity.requires_keys:
        raise Forbidden(f"This needs ORCHESTRATOR_METRICS_TOKEN, or a key that may {P.SEE_USAGE} for every tenant.")
    check_family(caller, STATS, None)
    return caller
