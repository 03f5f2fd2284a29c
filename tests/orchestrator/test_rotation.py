"""A master secret is replaced, whatever happens meanwhile, and everything that was sealed still opens."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from orchestrator.core import secrets
from orchestrator.core.secrets import NoSecret
from tests.product import PROJECT, Product

PRELUDE = """
    import os, sys
    os.environ["DJANGO_SETTINGS_MODULE"] = "orchestrator.settings"
    import django
    django.setup()
    from django.conf import settings
    from django.core.management import call_command
"""
MADE = """
    import json
    from django.contrib.auth.models import User
    from django.test import Client
    from cache.codec import encode
    from cache.entries import CacheKey, Entry
    from cache.feed import Message, encode as told
    from orchestrator.core.types import Done, Reply, Usage
    from orchestrator import audit
    from orchestrator.identity import second_factor
    from tests.keys import issue_key
    from orchestrator.identity.links import make_link
    from django_otp.oath import hotp
    import time
    from orchestrator.registry.models import Provider
    from orchestrator.registry.settled import sealer
    call_command("migrate", verbosity=0)
    client = Client()
    mira = User.objects.create_superuser("mira")
    client.force_login(mira)
    second_factor.begin(mira)
    code = hotp(second_factor.offered(mira), int(time.time()) // second_factor.STEP_S)
    recovery = second_factor.confirm(mira, f"{code:06}")
    for number in range(3):
        audit.note("command:mira", "key.issued", f"key {number}")
    origin = "http://vllm:80"
    sealed = sealer().seal("sk-1", "vllm", origin)
    Provider.objects.create(name="vllm", kind="compatible", address=origin, sealed_key=sealed)
    cache_key = CacheKey("a" * 64, 1, "", "m")
    entry = Entry(cache_key, Reply(model="m", text="Four.", done=Done(reason="stop", usage=Usage())), 1.0, 9e9)
    purge = told(Message("id", "here", 1.0, (1, "", "", ""), False))
    print(json.dumps({
        "recovery": recovery,
        "key": issue_key("web", "acme"),
        "idle": issue_key("idle", "acme"),
        "link": make_link(),
        "answer": encode(entry).hex(),
        "purge": {name: value.hex() if isinstance(value, bytes) else value for name, value in purge.items()},
        "session": client.cookies["orchestrator_session"].value,
    }))
"""
OPENED = """
    import json
    from cache.codec import BadEntry, decode
    from cache.entries import CacheKey
    from cache.feed import BadMessage, decode as heard
    from orchestrator.core.permissions import EVERYBODY
    from orchestrator.identity.people import roles_of
    from django.contrib.auth import get_user
    from django.contrib.sessions.backends.db import SessionStore
    from django.http import HttpRequest
    from orchestrator.identity.digests import is_digest_of
    from orchestrator.identity.keys import find_key
    from orchestrator.models import ApiKey, SignInLink
    from orchestrator.identity.digests import key_digests
    from orchestrator.registry.models import Provider
    from orchestrator.registry.settled import sealer
    from django.contrib.auth.models import User
    from orchestrator import audit
    from orchestrator.identity import second_factor
    from orchestrator.core.permissions import EVERYBODY
    from orchestrator.models import AuditEvent, SecondFactor
    made = json.loads(sys.argv[1])
    mira = User.objects.get(username="mira")
    audit.note("command:mira", "key.revoked", "one more, under whatever secret there is by now")
    def works(call):
        try:
            return bool(call())
        except (BadEntry, BadMessage):
            return False
    request = HttpRequest()
    request.session = SessionStore(made["session"])
    row = Provider.objects.get()
    purge = {name.encode(): bytes.fromhex(value) for name, value in made["purge"].items()}
    found = {
        "key": works(lambda: find_key(made["key"])),
        "idle": is_digest_of(made["idle"], ApiKey.objects.of(EVERYBODY).get(name="idle").digest),
        "link": SignInLink.objects.filter(digest__in=key_digests(made["link"])).exists(),
        "answer": works(lambda: decode(CacheKey("a" * 64, 1, "", "m"), bytes.fromhex(made["answer"]))),
        "purge": works(lambda: heard(purge)),
        "audit": audit.verify() is None and AuditEvent.objects.of(EVERYBODY).count() >= 4,
        "second factor": second_factor._open(SecondFactor.objects.get().sealed, mira.pk) is not None,
        "recovery code": second_factor.check(mira, made["recovery"].pop()),
        "session": bool(roles_of(get_user(request))) and get_user(request).pk == mira.pk,
        "provider": sealer().opens(row.sealed_key, "vllm", row.address) == "sk-1",
    }
    request.session.save()  # as a page does: one that was signed with a secret of before goes over, and has a new key
    print(json.dumps([found, made | {"session": request.session.session_key}]))
"""
KINDS = ("key", "idle", "link", "answer", "purge", "session", "provider", "audit", "second factor", "recovery code")
ALL = dict.fromkeys(KINDS, True)
# What is called between the steps, and there ends the process as a power cut does.
POINTS = {
    "before anything": "rotation.secrets.renewed",
    "before the file is put in place": "secrets._draft",
    "before anything is sealed anew": "rotation.SEALED.__getitem__",
    "while keys are sealed anew": "reseal.RegistryVersion.objects.all",
    "before it is said to be finished": "rotation.replace",
}


def run(data: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `script` in a process of its own, on the data directory."""
    env = Product(data=data).environment()
    text = textwrap.dedent(PRELUDE) + textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, "-c", text, *arguments], cwd=PROJECT, env=env, capture_output=True, text=True, timeout=60
    )


def said(data: Path, script: str, *arguments: str) -> str:
    done = run(data, script, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def opened(data: Path, made: str) -> tuple[dict[str, bool], str]:
    """What of it opens, and it as it is from then on."""
    found, made = json.loads(said(data, OPENED, made))
    return found, json.dumps(made)


def command(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`manage.py rotate_secrets`, as an operator types it."""
    env = Product(data=data).environment()
    return subprocess.run(
        [sys.executable, "manage.py", "rotate_secrets", *arguments],
        cwd=PROJECT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )


def killed_at(data: Path, point: str) -> None:
    """Begin a rotation and kill it there."""
    script = f"""
    from orchestrator import rotation
    from orchestrator.core import secrets
    from orchestrator.registry import reseal
    def die(*_, **__):
        os._exit(9)
    point = {point!r}
    if point == "rotation.SEALED.__getitem__":
        rotation.SEALED = {{"first": die}}
    elif point == "reseal.RegistryVersion.objects.all":
        reseal.RegistryVersion.objects.all = die
    else:
        module, _, name = point.rpartition(".")
        setattr(eval(module), name, die)
    call_command("rotate_secrets")
    """
    assert run(data, script).returncode == 9


def test_everything_opens_after_a_rotation_and_a_used_key_needs_the_old_secret_no_more(tmp_path: Path) -> None:
    made = said(tmp_path, MADE)
    file = tmp_path / "keys" / "master"
    before = secrets.read(file)
    done = command(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for line in ("providers' keys: 1 sealed anew.", "second factors: 1 sealed anew.", "audit: 3 sealed anew."):
        assert line in done.stdout
    now = secrets.read(file)
    assert now.current != before.current
    assert [one.secret for one in now.former] == [before.current]
    assert not now.is_unfinished
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["master"]
    found, made = opened(tmp_path, made)
    assert found == ALL

    refused = command(tmp_path, "--retire")
    assert refused.returncode == 1
    assert "1 API keys were not used since: idle (" in refused.stderr
    assert command(tmp_path, "--retire", "--force").returncode == 0
    assert not secrets.read(file).former
    # The provider's key went over at once, the used key's digest and the session when they were used.
    went_over = dict.fromkeys(("key", "provider", "session", "audit", "second factor"), True)
    assert opened(tmp_path, made)[0] == dict.fromkeys(ALL, False) | went_over


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_everything_opens_and_another_run_ends_it(tmp_path: Path, point: str) -> None:
    made = said(tmp_path, MADE)
    file = tmp_path / "keys" / "master"
    before = secrets.read(file).current
    killed_at(tmp_path, POINTS[point])
    found, made = opened(tmp_path, made)
    assert found == ALL
    begun = secrets.read(file)
    done = command(tmp_path)
    assert done.returncode == 0, done.stderr
    now = secrets.read(file)
    assert not now.is_unfinished
    assert [one.secret for one in now.former] == [before], "one rotation, not two"
    assert begun.current in {before, now.current}
    assert opened(tmp_path, made)[0] == ALL


def test_it_waits_for_the_product_to_be_stopped(product: Product) -> None:
    done = command(product.data)
    assert done.returncode == 78
    assert "is in use" in done.stderr


def test_a_lost_secret_is_not_silently_replaced(tmp_path: Path) -> None:
    said(tmp_path, MADE)
    (tmp_path / "keys" / "master").unlink()
    env = Product(data=tmp_path).environment()
    done = subprocess.run(
        [sys.executable, "manage.py", "serve"], cwd=PROJECT, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 78
    assert "Put it back from a backup" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "keys" / "master").exists()


@pytest.mark.parametrize("text", ["", "abc", "ab" * 31, "zz" * 32, "ab" * 32 + "\nab", "ab" * 32 + "\n" + "cd" * 32])
def test_a_file_that_holds_no_secret_is_named_and_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "master"
    path.write_text(text)
    with pytest.raises(NoSecret, match="must hold 64 hex digits") as raised:
        secrets.read(path)
    assert "abab" not in str(raised.value)


def test_a_secret_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "master"
    umask = os.umask(0)
    try:
        first = secrets.master_secret(path)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secrets.master_secret(path) == first
    assert str(first.current) not in repr(first)
