"""The finder: from a few letters to a page."""

from __future__ import annotations

import logging

from asgiref.sync import sync_to_async
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from dashboard.access import page, roles
from dashboard.finding import LONGEST, exactly, find
from orchestrator.identity.keys import KEY

log = logging.getLogger(__name__)


@require_safe
async def go(request: HttpRequest) -> HttpResponseBase:
    """Lists what begins so; what is called just so is gone to at once.

    Works as a page by itself. With `?part=dialog` it is the inside of a dialog, with `?part=found` only the list.
    """
    wanted = KEY.sub(lambda key: key["prefix"], request.GET.get("q", "")).replace("\0", "").strip()[:LONGEST]
    part = request.GET.get("part", "")
    has_failed = False
    try:
        found = await sync_to_async(find)(wanted, roles(request))
    except DatabaseError as error:
        log.warning("the finder could not look: %s", error)
        found, has_failed = [], True
    if wanted and not part and (hit := exactly(wanted, found)):
        return redirect(hit.address)
    template = "dashboard/go.html" + (f"#{part}" if part in {"dialog", "found"} else "")
    context = {"here": "go", "wanted": wanted, "found": found, "has_failed": has_failed}
    return await page(request, template, context)
