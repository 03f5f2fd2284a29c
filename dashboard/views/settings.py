"""Settings: what each is here and where it was set, and what the doctor finds."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.conf import settings as own
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_safe

from dashboard.access import page
from dashboard.doctor import doctor as looked
from dashboard.formats import size
from orchestrator import __version__
from orchestrator.env import SETTINGS, Setting

SHOWN = {"": "all", "set": "set here"}


class Section(NamedTuple):
    """Settings that belong together."""

    words: str
    settings: Sequence[Setting]


@require_http_methods(["GET", "HEAD", "POST"])
async def settings(request: HttpRequest) -> HttpResponseBase:
    """What the doctor finds, every setting, and what it runs on. A POST has the doctor look again."""
    if request.method == "POST":
        await looked(anew=True)
        return redirect("dashboard:settings")
    wanted = request.GET.get("q", "").strip()
    shows = request.GET.get("show", "") if request.GET.get("show") in SHOWN else ""
    found = _matching(wanted, shows)
    context = {
        "here": "settings",
        "looked": await looked(),
        "sections": found,
        "matching": sum(len(section.settings) for section in found),
        "set_here": sum(one.is_set for one in SETTINGS.values()),
        "all": len(SETTINGS),
        "wanted": wanted,
        "shows": shows,
        "choices": SHOWN.items(),
        "facts": await sync_to_async(_facts)(),
    }
    return await page(request, "dashboard/settings.html", context)


@require_safe
async def doctor(request: HttpRequest) -> HttpResponseBase:
    """What the doctor finds, as text to hand on."""
    found = await looked()
    if found is None:
        return HttpResponse("The doctor was not done in time; try again.\n", status=503, content_type="text/plain")
    response = HttpResponse(f"Orchestrator {__version__}\n{found.report}\n", content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="doctor.txt"'
    return response


def _matching(wanted: str, shows: str) -> list[Section]:
    """The settings that a few letters are in, by section, in the order they are read in."""
    words = wanted.lower()
    by_section: dict[str, list[Setting]] = {}
    for one in SETTINGS.values():
        if (words in one.name.lower() or words in one.help.lower()) and (shows != "set" or one.is_set):
            by_section.setdefault(one.section, []).append(one)
    return [Section(*item) for item in by_section.items()]


def _facts() -> list[tuple[str, Any]]:
    """What it runs on. A file that is not there has no size."""
    data = Path(own.DATA_DIR)
    room = shutil.disk_usage(data)
    return [
        ("Version", __version__),
        ("Python", sys.version.split()[0]),
        ("SQLite", sqlite3.sqlite_version),
        ("Data directory", str(data)),
        ("Room left there", f"{size(room.free)} of {size(room.total)}"),
        ("Ledger", _weight(Path(str(own.DATABASES["default"]["NAME"])))),
        ("Cache file", _weight(Path(str(own.DATABASES["cache"]["NAME"])))),
    ]


def _weight(file: Path) -> str:
    return size(file.stat().st_size) if file.exists() else "not made yet"
