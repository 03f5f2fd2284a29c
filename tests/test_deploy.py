"""What it is deployed with gives it no more than it needs."""

from __future__ import annotations

import re

import yaml

from orchestrator.env import SETTINGS, secret_names
from tests.product import PROJECT

DOCKERFILE = (PROJECT / "Dockerfile").read_text()


def test_the_image_runs_as_nobody_in_particular_and_holds_no_secret() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    (user,) = re.findall(r"^USER (\d+)$", final, re.MULTILINE)
    assert int(user) > 1000
    assert final.index("USER") > final.rindex("\nRUN"), "what is installed belongs to root"
    assert not [name for name in secret_names() if name in DOCKERFILE]
    assert "\nARG" not in DOCKERFILE, "arguments stay in the image's history"
    copied = re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE, re.MULTILINE)
    assert "." not in copied, "what lies about in the folder would go along"
    assert (PROJECT / ".dockerignore").read_text().startswith("*\n")


def test_containers_have_no_rights_they_do_not_need() -> None:
    compose = yaml.safe_load((PROJECT / "compose.yaml").read_text())
    services = compose["services"]
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert services["models"]["network_mode"] == "none"
    assert not set(services["models"]["environment"]) & secret_names()
    assert services["redis"]["networks"] == ["behind"]
    assert compose["networks"]["behind"]["internal"]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:11434:11434"]
    assert set(services["web"]["environment"]) <= set(SETTINGS)


def test_the_unit_confines_it() -> None:
    unit = dict(
        line.split("=", 1)
        for line in (PROJECT / "deploy" / "orchestrator.service").read_text().splitlines()
        if re.match(r"[A-Z]\w+=", line)
    )
    assert unit["User"] != "root"
    assert unit["UMask"] == "0077"
    assert unit["LimitCORE"] == "0"
    assert unit["ProtectSystem"] == "strict"
    assert unit["CapabilityBoundingSet"] == ""
    assert unit["RestartPreventExitStatus"] == "78"
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "RestrictSUIDSGID", "RestrictNamespaces"):
        assert unit[name] == "yes"
