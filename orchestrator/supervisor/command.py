"""What `manage.py serve` does: prepare, listen, run, say where."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace

from django.conf import settings
from django.db import connections

from orchestrator.core.files import leave_no_core, raise_limit
from orchestrator.env import BadSetting, secret_names
from orchestrator.identity.links import make_link
from orchestrator.processes import site
from orchestrator.supervisor import figures, redis
from orchestrator.supervisor.child import Program
from orchestrator.supervisor.listening import listen, local_address
from orchestrator.supervisor.lock import role_lock
from orchestrator.supervisor.prepare import prepare
from orchestrator.supervisor.ready import until_ready
from orchestrator.supervisor.status import StatusFile
from orchestrator.supervisor.supervise import Supervision

# Large bodies and answers are memory of their own, given back at once. Left to itself glibc learns from the first of
# them to keep the next ones in a heap, one for each thread, which does not shrink below what lies on top.
GIVES_BACK = {
    name: os.environ.get(name, size)
    for name, size in (("MALLOC_MMAP_THRESHOLD_", "262144"), ("MALLOC_TRIM_THRESHOLD_", "1048576"))
}
ROLES = ("redis", "models", "worker", "web")  # in the order they start
WORKER_STOPS_WITHIN_S = 10.0  # it is the last to be given the processor
WORKER_NICE = 10
MODELS_NICE = 5
MODELS_START_WITHIN_S = 600.0  # on a slow disk, where the first model is unpacked
MODELS_SILENT_S = 60.0  # to end it ends every answer of a model here
PAGES_NICE = 5
STOP_MARGIN_S = 3.0  # beyond the drain, which web workers and model host bound themselves


def serve(only: str | None, say: Callable[[str], None]) -> None:
    """Run `only` that role, or all of them, until told to stop.

    Raises BadSetting, with the remedy, when it must not or cannot start.
    """
    began = time.monotonic()
    raise_limit()  # of open files, also for the processes to come
    leave_no_core()
    roles = {only} if only else set(ROLES)
    redis_server = _redis_server(only) if "redis" in roles else None
    if redis_server is None:
        roles -= {"redis"}
    with ExitStack() as held:
        for role in sorted(roles):
            held.enter_context(role_lock(settings.RUN_DIR, role))
        listener = held.enter_context(_listener()) if "web" in roles else None
        prepare(roles)
        welcome = _welcome(listener)
        status = StatusFile(settings.RUN_DIR, only, str(local_address(listener)) if listener else None)
        held.callback(_remove_sockets, roles)
        held.callback(status.remove)
        _remove_sockets(roles)
        if listener:
            figures.clear()
        asyncio.run(
            _run(_programs(roles, redis_server, listener), listener, status, lambda: _greet(say, welcome, began))
        )


async def _run(
    programs: list[Program], listener: socket.socket | None, status: StatusFile, greet: Callable[[], None]
) -> None:
    async def when_started(supervision: Supervision) -> None:
        for child in supervision.vital:
            await child.is_ready.wait()
        if listener:
            await until_ready(local_address(listener))
        greet()  # before: who reads that it is ready may look in the log for what is said
        status.is_ready = True
        status.write(supervision.children)

    def when_stopping() -> None:
        if listener:
            listener.close()  # with the workers' copies gone too, new connections are refused

    def changed(now: Supervision) -> None:
        figures.forget_held(now.children)
        status.write(now.children)

    supervision = Supervision(programs, changed)
    await supervision.run(when_started, when_stopping)


def _redis_server(only: str | None) -> str | None:
    server = redis.server_program()
    if only and settings.REDIS_URL:
        raise BadSetting(
            "REDIS_URL names a Redis, so there is no private one to run. Unset it, or leave this role out."
        )
    if only and not server:
        raise BadSetting("No redis-server is installed: `apt-get install redis-server`, or `make install`.")
    return None if settings.REDIS_URL else server


def _listener() -> socket.socket:
    return listen(settings.ADDRESS, may_be_reached=settings.REQUIRE_KEYS or settings.ALLOW_OPEN)


def _programs(roles: Collection[str], redis_server: str | None, listener: socket.socket | None) -> list[Program]:
    # Paths are passed on whole: the children run in the project's folder, whatever this process's is.
    env = {"ORCHESTRATOR_DATA_DIR": str(settings.DATA_DIR), "OLLAMA_MODELS": str(settings.MODELS_DIR)}
    programs = []
    if redis_server:
        programs.append(redis.redis(redis_server, settings.REDIS_SOCKET, settings.CACHE_REDIS_MEMORY))
    if redis_server or (not settings.REDIS_URL and redis.answers(settings.REDIS_SOCKET)):
        env["ORCHESTRATOR_PRIVATE_REDIS"] = redis.location(settings.REDIS_SOCKET)
    drained_s = settings.DRAIN_S + STOP_MARGIN_S
    ours = functools.partial(_python, env=env)
    if "models" in roles:
        models = ours("models", "orchestrator.modelhost", stops_within_s=drained_s)
        # It asks nobody, and runs native code on what came from anywhere. A model that computes on every core would
        # have whoever is answered from cache, or refused, wait for one; what it lacks for it is a few percent.
        programs.append(
            replace(
                models,
                without=secret_names(),
                nice=MODELS_NICE,
                has_pulse=True,
                is_vital=False,
                starts_within_s=MODELS_START_WITHIN_S,
                silent_at_most_s=MODELS_SILENT_S,
            )
        )
    if "worker" in roles:
        # Housekeeping can wait for whoever answers, above all while everything starts.
        worker = ours("worker", "orchestrator.supervisor.worker")
        programs.append(replace(worker, nice=WORKER_NICE, has_pulse=True, is_vital=False, silent_at_most_s=15.0))
    if listener:
        web = ours("web", "orchestrator.supervisor.web", str(listener.fileno()), stops_within_s=drained_s)
        web = replace(web, inherits=(listener.fileno(),), has_pulse=True)
        programs += [
            replace(web, name=f"web {number}", env={**GIVES_BACK, **env, figures.NUMBER: str(number)})
            for number in range(1, settings.WEB_WORKERS + 1)
        ]
        # Pages come after answers: when it is started, and where the processor is short.
        number = {figures.NUMBER: str(settings.WEB_WORKERS + 1)}
        pages = ours("pages", "orchestrator.supervisor.pages", stops_within_s=drained_s)
        programs.append(
            replace(
                pages,
                env={**GIVES_BACK, **env, **number},
                has_pulse=True,
                can_wait=True,
                nice=PAGES_NICE,
                silent_at_most_s=15.0,
            )
        )
    return programs


def _python(
    role: str, module: str, *arguments: str, env: Mapping[str, str], stops_within_s: float = WORKER_STOPS_WITHIN_S
) -> Program:
    return Program(
        role=role,
        name=role,
        argv=(sys.executable, "-m", module, *arguments),
        env=env,
        cwd=settings.BASE_DIR,
        stops_within_s=stops_within_s,
    )


def _remove_sockets(roles: Collection[str]) -> None:
    """What a killed server left behind would look like one that does not answer."""
    sockets = (("redis", settings.REDIS_SOCKET), ("models", settings.MODELS_SOCKET), ("web", settings.PAGES_SOCKET))
    for role, path in sockets:
        if role in roles:
            path.unlink(missing_ok=True)


def _welcome(listener: socket.socket | None) -> tuple[str, ...]:
    if listener is None:
        return ()
    address = local_address(listener)
    # Written out, because reverse() would load every page and the whole API into the supervisor.
    link = f"{site(str(address))}/dashboard/sign-in/{make_link()}/"
    connections.close_all()
    return (f"Serving on http://{address}", f"Dashboard; the link signs you in once, within the hour: {link}")


def _greet(say: Callable[[str], None], welcome: tuple[str, ...], began: float) -> None:
    for line in welcome:
        say(line)
    say(f"{'Ready' if welcome else 'Running'} after {time.monotonic() - began:.1f} s. Ctrl-C stops it.")
