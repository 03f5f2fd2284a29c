"""Keys: which there are, how each stands, and issuing, finding, rotating and revoking them."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dashboard import formats
from dashboard.access import page, reach, roles
from dashboard.acting import NOTHING_WRONG, acted, acted_once, faults_of
from dashboard.keys import forms
from dashboard.keys.allowance import limit_rows
from dashboard.keys.board import STATES, Asked, read_board
from dashboard.keys.one import MOST_COUNTED, OneKey, read_key
from dashboard.keys.verdict import verdict
from dashboard.once import SentBefore
from dashboard.reading import reader
from dashboard.unread import said_when_unread
from dashboard.views.overview import read
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import DIALECTS, FAMILIES, Permission, Reach, Role, reach_of
from orchestrator.core.redaction import redacted
from orchestrator.identity import issuing
from orchestrator.identity.digests import is_digest_of
from orchestrator.identity.keys import KEY
from orchestrator.models import ApiKey, Tenant

MOST_TEXT = 200  # characters that are looked for
MOST_TENANTS = 1_000  # to choose from
USUAL_MODEL = "smollm2:135m"  # in an example; it comes with the product
ISSUED_BEFORE = (
    "This form issued a key, which stood in the first answer and nowhere else. If you have not seen it, revoke it "
    "under Keys and tenants, and issue another here."
)
ROTATED_BEFORE = (
    "This form made the new key, which stood in the first answer and nowhere else. If you have not seen it, revoke it "
    "under Keys and tenants; then rotate this one again while it works, or issue another."
)
NAMES_OF_FAMILIES = {
    "chat": "chat: all that gives text",
    "embed": "embed: vectors",
    "models": "models: lists and details",
    "stats": "stats: figures",
}


@require_safe
async def keys(request: HttpRequest) -> HttpResponseBase:
    """Tenants with their budgets, and keys, the newest first."""
    return await board(request)


async def board(request: HttpRequest, more: dict[str, Any] | None = None, status: int = 200) -> HttpResponseBase:
    """The page of all of them, with what was typed on it where that could not be done."""
    asked = _asked(request)
    now, whose, budgets = (
        timezone.now(),
        reach_for(request, Permission.SEE_KEYS),
        reach_for(request, Permission.SEE_BUDGETS),
    )
    found = await read(reader.run(lambda: read_board(asked, whose, budgets, now)))
    context = {
        "here": "keys",
        "found": found,
        "verdict": verdict(found),
        "asked": asked,
        "states": STATES,
        "query": urlencode(_narrowed(asked)),
        "for_every": whose.tenants is None,
    }
    return await page(request, "dashboard/keys.html", context | (more or {}), status)


@require_POST
@said_when_unread
async def find(request: HttpRequest) -> HttpResponseBase:
    """From a name, a prefix, or a whole key that was pasted, which stands in no address and is kept nowhere."""
    pasted = request.POST.get("q", "").strip()[:MOST_TEXT]
    whole = KEY.search(pasted)
    prefix = whole["prefix"] if whole else pasted.removeprefix("orch_").partition("_")[0].rstrip("…")
    key = await sync_to_async(_by_prefix)(prefix, reach(request))
    if key is None:
        if whole or pasted.startswith("orch_"):
            messages.warning(request, f"There is no key here that begins with orch_{prefix[:10]}.")
            return redirect("dashboard:keys")
        shown = redacted(pasted)
        return redirect(f"{reverse('dashboard:keys')}?{urlencode({'state': 'all', 'q': shown})}#keys")
    if whole:
        is_it = await sync_to_async(is_digest_of)(whole[0], key.digest)
        said = "What was pasted is this key." if is_it else "What was pasted begins as this key does, and is not it."
        messages.success(request, said) if is_it else messages.warning(request, said)
    may_revoke = key.tenant_id in reach_for(request, Permission.CHANGE_KEYS)  # type: ignore[comparison-overlap]
    if may_revoke and key.revoked_at is None:
        return redirect("dashboard:key-revoke", key.pk)
    return redirect("dashboard:key", key.pk)


@require_http_methods(["GET", "HEAD", "POST"])
@said_when_unread
async def new(request: HttpRequest) -> HttpResponseBase:
    """Issue a key. It is shown in the answer to this, and never again."""
    typed: dict[str, Any] = forms.typed(request.GET) | {"ends": forms.USUAL_LIFE}
    faults, sent_before = NOTHING_WRONG, ""
    if request.method == "POST":
        typed = forms.typed(request.POST)
        try:
            asked = forms.key_asked(typed, timezone.now())
            key, credential = await acted_once(request, lambda by: issuing.issue(by, asked))
        except SentBefore:
            sent_before = ISSUED_BEFORE
        except OrchestratorError as error:
            faults = faults_of(error, forms.KEY_FIELDS)
        else:
            return await _shown_once(request, key, credential)
    tenants = await sync_to_async(tenants_of)(reach(request))
    context = {
        "here": "keys",
        "typed": typed,
        "faults": faults,
        "sent_before": sent_before,
        "tenants": tenants,
        "lives": forms.LIVES,
        "families": [(name, NAMES_OF_FAMILIES.get(name, name)) for name in FAMILIES],
        "dialects": DIALECTS,
        "roles": list(Role),
        "for_every": reach(request).tenants is None,
    }
    status = 409 if sent_before else 422 if faults else 200
    return await page(request, "dashboard/key_new.html", context, status=status)


@require_safe
@said_when_unread
async def key(request: HttpRequest, number: int) -> HttpResponseBase:
    """One key: what it is for, how it is used, who did what with it."""
    found = await _read(request, number)
    context = _of_key(request, found)
    limits = await limit_rows(found.limits, found.row.key.tenant_id, found.row.key)
    return await page(request, "dashboard/key.html", context | {"limits": limits})


@require_http_methods(["GET", "HEAD", "POST"])
@said_when_unread
async def rotate(request: HttpRequest, number: int) -> HttpResponseBase:
    """Make a key that may do the same in its place. It is shown in the answer to this, and never again."""
    found = await _read(request, number)
    typed, faults, sent_before = forms.typed(request.POST), NOTHING_WRONG, ""
    if request.method == "POST":
        try:
            asked = forms.rotation_asked(typed)
            new_one, credential = await acted_once(request, lambda by: issuing.rotate(by, found.row.key.prefix, asked))
        except SentBefore:
            sent_before = ROTATED_BEFORE
        except OrchestratorError as error:
            faults = faults_of(error, ("overlap_s",))
        else:
            return await _shown_once(request, new_one, credential, old=found.row.key, overlap_s=asked.overlap_s)
    context = _of_key(request, found) | {"typed": typed, "faults": faults, "overlaps": forms.OVERLAPS}
    context |= {"overlap": typed.get("overlap_s") or forms.USUAL_OVERLAP, "sent_before": sent_before}
    status = 409 if sent_before else 422 if faults else 200
    return await page(request, "dashboard/key_rotate.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@said_when_unread
async def revoke(request: HttpRequest, number: int) -> HttpResponseBase:
    """GET says what it would stop; POST does it."""
    found = await _read(request, number)
    faults = NOTHING_WRONG
    if request.method == "POST":
        try:
            await acted(request, lambda by: issuing.revoke(by, found.row.key.prefix))
        except OrchestratorError as error:
            faults = faults_of(error, ())
        else:
            said = f"{found.row.key.name} is revoked. It opens nothing from now on; answers under way end within 2 s."
            messages.success(request, said)
            return redirect("dashboard:key", number)
    context = _of_key(request, found) | {"typed": forms.typed(request.POST), "faults": faults}
    return await page(request, "dashboard/key_revoke.html", context, status=422 if faults else 200)


def reach_for(request: HttpRequest, permission: Permission) -> Reach:
    """For whom who asks has another permission than the page's."""
    return reach_of(roles(request), permission)


async def _read(request: HttpRequest, number: int) -> OneKey:
    whose, now = reach(request), timezone.now()
    budgets, audit = (reach_for(request, one) for one in (Permission.SEE_BUDGETS, Permission.SEE_AUDIT))
    found = await reader.run(lambda: read_key(number, whose, budgets, audit, now))
    if found is None:
        raise Http404
    return found


def _of_key(request: HttpRequest, found: OneKey) -> dict[str, Any]:
    key = found.row.key
    changes = reach_for(request, Permission.CHANGE_KEYS)
    return {
        "here": "keys",
        "found": found,
        "row": found.row,
        "key": key,
        "now": timezone.now(),
        "may_change": key.tenant_id in changes,  # type: ignore[comparison-overlap]
        "works": issuing.state_of(key, timezone.now()) == "working",
        "most_counted": MOST_COUNTED,
    }


async def _shown_once(
    request: HttpRequest, key: ApiKey, credential: str, *, old: ApiKey | None = None, overlap_s: int = 0
) -> HttpResponseBase:
    model = next((one for one in key.model_patterns if not set("*?") & set(one)), USUAL_MODEL)
    context = {
        "here": "keys",
        "key": key,
        "credential": credential,
        "old": old,
        "overlap": formats.left(overlap_s) if overlap_s else "",
        "examples": examples(key, credential, request.build_absolute_uri("/").rstrip("/"), model),
    }
    response = await page(request, "dashboard/key_issued.html", context)
    response["Cache-Control"] = "no-store"
    return response


def examples(key: ApiKey, credential: str, address: str, model: str) -> list[tuple[str, str]]:
    """What is typed to ask with a key, for each kind of client that it is for."""
    asking = '[{"role": "user", "content": "Hello!"}]'
    every = [
        (
            "ollama",
            "curl",
            (
                f'curl {address}/api/chat -H "Authorization: Bearer {credential}" \\\n'
                f'  -d \'{{"model": "{model}", "messages": {asking}, "stream": false}}\''
            ),
        ),
        (
            "ollama",
            "Python, ollama",
            (
                "import ollama\n\n"
                f'client = ollama.Client("{address}", headers={{"Authorization": "Bearer {credential}"}})\n'
                f'print(client.chat("{model}", {asking}).message.content)'
            ),
        ),
        (
            "openai",
            "Python, openai",
            (
                f'import openai\n\nclient = openai.OpenAI(base_url="{address}/v1", api_key="{credential}")\n'
                f'print(client.chat.completions.create(model="{model}", messages={asking}).choices[0].message.content)'
            ),
        ),
        (
            "anthropic",
            "Python, anthropic",
            (
                f'import anthropic\n\nclient = anthropic.Anthropic(base_url="{address}", api_key="{credential}")\n'
                f'print(client.messages.create(model="{model}", max_tokens=64, messages={asking}).content[0].text)'
            ),
        ),
    ]
    return [(name, text) for dialect, name, text in every if not key.dialects or dialect in key.dialects]


def _by_prefix(prefix: str, whose: Reach) -> ApiKey | None:
    return ApiKey.objects.of(whose).filter(prefix=prefix).first() if prefix else None


def tenants_of(whose: Reach) -> list[Tenant]:
    """Those that may be chosen, by name."""
    rows = Tenant.objects.order_by("name")
    return list((rows if whose.tenants is None else rows.filter(pk__in=whose.tenants))[:MOST_TENANTS])


def _asked(request: HttpRequest) -> Asked:
    state = request.GET.get("state", "working")
    return Asked(
        state=state if state in STATES else "working",
        tenant=whole(request.GET.get("tenant", "")),
        text=redacted(request.GET.get("q", "").strip()[:MOST_TEXT]),
        before=whole(request.GET.get("before", "")),
        shows_all=request.GET.get("show") == "all",
    )


def _narrowed(asked: Asked) -> dict[str, str]:
    found = {"state": asked.state, "tenant": str(asked.tenant or ""), "q": asked.text}
    return {name: value for name, value in found.items() if value and value != "working"}
