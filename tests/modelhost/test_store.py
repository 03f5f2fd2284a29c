"""The store, in Ollama's layout."""

import json
import logging
import os
import threading
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engines.llamacpp import describe
from orchestrator.modelhost import go_chat
from orchestrator.modelhost.details import details
from orchestrator.modelhost.gotemplate.syntax import parse
from orchestrator.modelhost.store import Store, StoredModel
from tests.modelhost import harmony
from tests.modelhost.files import SMALL, gguf


def put_blob(store: Store, content: bytes) -> str:
    digest = "sha256:" + sha256(content).hexdigest()
    path = store.blob(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return digest


def put_manifest(store: Store, name: str, layers: list[tuple[str, bytes]]) -> Path:
    """A model as Ollama itself stores it."""
    listed = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": put_blob(store, content), "size": len(content)}
        for kind, content in layers
    ]
    path = store.root / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    config = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "digest": put_blob(store, b"{}"),
        "size": 2,
    }
    path.write_text(json.dumps({"schemaVersion": 2, "config": config, "layers": listed}))
    return path


def test_a_model_that_ollama_stored_is_read(empty_store: Store):
    weights = gguf(SMALL, {"t": (64, 1000)})
    path = put_manifest(
        empty_store,
        "registry.ollama.ai/library/tiny/latest",
        [
            ("model", weights),
            ("template", b"{{ .Prompt }}"),
            ("system", b"Be brief."),
            ("params", b'{"temperature": 0.5, "stop": ["<end>"]}'),
            ("license", b"MIT"),
            ("license", b"and more"),
            ("messages", b'[{"role": "user", "content": "hi"}]'),
        ],
    )
    model = empty_store.find("tiny")
    assert model
    assert model.digest == sha256(path.read_bytes()).hexdigest()
    assert model.template == "{{ .Prompt }}"
    assert model.system == "Be brief."
    assert model.parameters == {"temperature": 0.5, "stop": ["<end>"]}
    assert model.licenses == ("MIT", "and more")
    assert model.messages == ({"role": "user", "content": "hi"},)
    assert model.weights.read_bytes() == weights
    assert model.header.quantization == "Q4_K_M"
    assert model.parameter_size == "64K"


def test_a_name_finds_the_stored_spelling_whatever_its_case(empty_store: Store):
    put_manifest(empty_store, "registry.ollama.ai/library/TinyModel/Q4", [("model", gguf(SMALL))])
    found = empty_store.find("tinymodel:q4")
    assert found
    assert str(found.name) == "TinyModel:Q4"


def test_a_model_that_is_not_there_is_not_found(empty_store: Store):
    assert empty_store.find("nobody") is None
    assert empty_store.models() == []


def test_a_name_too_long_for_the_file_system_is_not_found(empty_store: Store):
    put_manifest(empty_store, "registry.ollama.ai/library/tiny/latest", [("model", gguf(SMALL))])
    assert empty_store.find("h" * 300 + "/library/x") is None


def test_a_store_that_cannot_be_read_has_nothing_and_says_so_once(empty_store: Store, caplog: pytest.LogCaptureFixture):
    loop = empty_store.root / "manifests"
    loop.parent.mkdir(parents=True, exist_ok=True)
    loop.symlink_to(loop)
    assert [empty_store.find(name) for name in ("one", "two", "three")] == [None] * 3
    (line,) = [record.getMessage() for record in caplog.records]
    assert "cannot be read (Too many levels of symbolic links)" in line


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/../../b", "x:../y", "/x"])
def test_a_name_cannot_lead_out_of_the_store(empty_store: Store, name: str):
    with pytest.raises(ValueError, match="invalid model name"):
        empty_store.find(name)


@pytest.mark.parametrize(
    "digest", ["sha256:../../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "0" * 64, "", "sha256:00"]
)
def test_a_digest_cannot_lead_out_of_the_store(empty_store: Store, digest: str):
    with pytest.raises(ValueError, match="invalid digest format"):
        empty_store.blob(digest)


BROKEN: dict[str, Any] = {
    "not json": b"{",
    "not an object": b"[]",
    "no layers": b"{}",
    "layers of nothing": b'{"layers": [null]}',
    "nested too deep": b"[" * 100_000,
    "too long": b" " * (1024**2 + 1),
    "path for a digest": json.dumps(
        {"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "../x", "size": 1}]}
    ).encode(),
    "no weights": b'{"layers": []}',
    "missing blob": json.dumps(
        {"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "0" * 64, "size": 1}]}
    ).encode(),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_manifest_is_left_out_and_logged_once(
    empty_store: Store, content: bytes, caplog: pytest.LogCaptureFixture
):
    put_manifest(empty_store, "registry.ollama.ai/library/good/latest", [("model", gguf(SMALL))])
    path = empty_store.root / "manifests/registry.ollama.ai/library/bad/latest"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert [str(model.name) for model in empty_store.models()] == ["good:latest"]
            assert empty_store.find("bad") is None
    assert len(caplog.records) == 1


def test_weights_that_are_not_whole_are_not_offered(empty_store: Store):
    weights = gguf(SMALL)
    put_manifest(empty_store, "registry.ollama.ai/library/tiny/latest", [("model", weights)])
    empty_store.blob("sha256:" + sha256(weights).hexdigest()).write_bytes(weights[:-1])
    assert empty_store.models() == []


def test_a_manifest_is_read_again_when_it_changes(empty_store: Store):
    name = "registry.ollama.ai/library/tiny/latest"
    put_manifest(empty_store, name, [("model", gguf(SMALL)), ("system", b"one")])
    before = empty_store.find("tiny")
    path = put_manifest(empty_store, name, [("model", gguf(SMALL)), ("system", b"other")])
    os.utime(path, ns=(0, 1))
    after = empty_store.find("tiny")
    assert before
    assert after
    assert (before.system, after.system) == ("one", "other")
    assert before.digest != after.digest


def test_a_file_is_put_into_the_store_as_ollama_would(empty_store: Store, tmp_path: Path):
    source = tmp_path / "some.gguf"
    source.write_bytes(gguf(SMALL))
    put = empty_store.install("alice/tiny:1", source, system="", parameters={"top_k": 3}, license="MIT")
    found = Store(empty_store.root).find("alice/tiny:1")
    assert found == put
    assert found.system == ""
    assert found.weights.stat().st_ino == source.stat().st_ino  # linked, not copied
    manifest = json.loads((empty_store.root / "manifests/registry.ollama.ai/alice/tiny/1").read_text())
    assert found.size == sum(part["size"] for part in [manifest["config"], *manifest["layers"]])
    assert not list(empty_store.root.glob("blobs/draft-*"))


def test_a_file_with_another_hash_is_not_put_into_the_store(empty_store: Store, tmp_path: Path):
    source = tmp_path / "some.gguf"
    source.write_bytes(gguf(SMALL))
    with pytest.raises(ValueError, match="has the hash"):
        empty_store.install("tiny", source, sha256="0" * 64)
    assert empty_store.models() == []
    assert not list(empty_store.root.glob("blobs/*"))


def test_two_may_put_the_same_file_at_once(empty_store: Store, tmp_path: Path):
    source = tmp_path / "some.gguf"
    source.write_bytes(gguf(SMALL))
    put: list[StoredModel] = []
    threads = [
        threading.Thread(target=lambda: put.append(Store(empty_store.root).install("tiny", source))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({model.digest for model in put}) == 1
    assert len(put) == 8


def test_details_are_what_show_tells(empty_store: Store):
    put_manifest(
        empty_store,
        "registry.ollama.ai/library/tiny/latest",
        [("model", gguf(SMALL, {"t": (64, 2)})), ("params", b'{"stop": ["a", "b"], "top_k": 3}'), ("license", b"MIT")],
    )
    model = empty_store.find("tiny")
    assert model
    told = details(model)
    assert (
        told.parameters
        == 'stop                           "a"\nstop                           "b"\ntop_k                          3'
    )
    assert told.model_info["llama.context_length"] == 2048
    assert told.model_info["general.parameter_count"] == 128
    assert "tokenizer.chat_template" not in told.model_info
    assert told.tensors[0].name == "t"
    assert told.template == SMALL["tokenizer.chat_template"]
    assert f"FROM {model.weights}" in told.modelfile
    assert "PARAMETER top_k 3" in told.modelfile
    assert told.license == "MIT"


def test_long_lists_are_shown_only_when_asked_for(empty_store: Store):
    put_manifest(
        empty_store,
        "registry.ollama.ai/library/tiny/latest",
        [("model", gguf(SMALL | {"tokenizer.ggml.tokens": ["x"] * 2000}))],
    )
    model = empty_store.find("tiny")
    assert model
    assert details(model).model_info["tokenizer.ggml.tokens"] is None
    assert len(details(model, verbose=True).model_info["tokenizer.ggml.tokens"]) == 2000


@pytest.mark.parametrize(
    ("extra", "able"),
    [
        ({}, {"completion"}),
        ({"tokenizer.chat_template": "{% if tools %}x{% endif %}"}, {"completion", "tools"}),
        ({"tokenizer.chat_template": "{% if enable_thinking %}<think>{% endif %}"}, {"completion", "thinking"}),
        ({"llama.pooling_type": 1}, {"embedding"}),
    ],
)
def test_what_a_model_can_do_is_read_from_its_file(empty_store: Store, extra: dict[str, Any], able: set[str]):
    put_manifest(empty_store, "registry.ollama.ai/library/tiny/latest", [("model", gguf(SMALL | extra))])
    model = empty_store.find("tiny")
    assert model
    assert model.capabilities == able


TOOLS_IN_FILE = {"tokenizer.chat_template": "{% if tools %}x{% endif %}"}
MIDDLE = {f"tokenizer.ggml.{name}_token_id": 1 for name in ("prefix", "fim_suf", "middle")}


@pytest.mark.parametrize(
    ("template", "extra", "able"),
    [
        ("{{ .Prompt }}", TOOLS_IN_FILE, {"completion"}),
        ("{{ .Tools }}{{ .Messages }}", {}, {"completion", "tools"}),
        ("{{ .Prompt }}{{ if .Think }}x{{ end }}", {}, {"completion", "thinking"}),
        ("{{ .Prompt }}{{ .Suffix }}", {}, {"completion", "insert"}),
        (harmony.GO, {}, {"completion", "tools", "thinking"}),
        ("", {"tokenizer.chat_template": harmony.JINJA}, {"completion", "tools", "thinking"}),
        ("{{ .Prompt }}", MIDDLE, {"completion", "insert"}),
        ("", MIDDLE, {"completion", "insert"}),
        ("", {"tokenizer.ggml.prefix_token_id": 1}, {"completion"}),
    ],
)
def test_what_a_model_can_do_is_read_from_its_template(
    empty_store: Store, template: str, extra: dict[str, Any], able: set[str]
):
    layers = [("model", gguf(SMALL | extra)), ("template", template.encode())]
    put_manifest(empty_store, "registry.ollama.ai/library/tiny/latest", layers)
    model = empty_store.find("tiny")
    assert model
    assert model.runs_template == bool(template)
    assert model.capabilities == able


def test_a_template_that_cannot_be_read_leaves_the_one_in_the_file(
    empty_store: Store, caplog: pytest.LogCaptureFixture
):
    layers = [("model", gguf(SMALL | TOOLS_IN_FILE)), ("template", b"\n{{ toUpper . }}")]
    put_manifest(empty_store, "registry.ollama.ai/library/tiny/latest", layers)
    model = empty_store.find("tiny")
    assert model
    assert not model.runs_template
    assert model.capabilities == {"completion", "tools"}
    assert "line 2, column 4: function 'toUpper' is not known" in caplog.text


def test_a_template_that_stands_in_for_a_renderer_is_not_run(empty_store: Store):
    path = put_manifest(
        empty_store,
        "registry.ollama.ai/library/tiny/latest",
        [("model", gguf(SMALL | TOOLS_IN_FILE)), ("template", b"{{ .Prompt }}")],
    )
    manifest = json.loads(path.read_text())
    for config, runs in ((b'{"renderer": "qwen3-coder"}', False), (b'{"renderer": ""}', True), (b"[]", True)):
        manifest["config"] = {"digest": put_blob(empty_store, config), "size": len(config)}
        path.write_text(json.dumps(manifest))
        model = Store(empty_store.root).find("tiny")
        assert model
        assert model.runs_template == runs


def test_a_template_is_read_once_however_many_there_are_and_how_often_they_are_listed(
    empty_store: Store, monkeypatch: pytest.MonkeyPatch
):
    parsed: list[str] = []
    monkeypatch.setattr(go_chat, "parse", lambda source: parsed.append(source) or parse(source))
    for number in range(70):
        layers = [("model", gguf(SMALL)), ("template", b"{{ .Prompt }}{{ .Suffix }}%d" % number)]
        put_manifest(empty_store, f"registry.ollama.ai/library/m{number}/latest", layers)
    for _ in range(3):
        assert [describe(model).capabilities for model in empty_store.models()] == [{"completion", "insert"}] * 70
    assert len(parsed) == len(set(parsed)) == 70


def today() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d")


@pytest.mark.parametrize(
    ("template", "in_file", "is_dated"),
    [
        ("{{ .Prompt }}", "", False),
        ("{{ .Prompt }}{{ currentDate }}", "", True),
        ("{{ .Prompt }}{{ if .System }}{{ yesterdayDate | print }}{{ end }}", "", True),
        ("", "{{ strftime_now('%d %b %Y') }}", True),
        ("{{ .Prompt }}", "{{ strftime_now('%d %b %Y') }}", False),
        ("{{ currentDate }}{{ nobodyKnowsThis }}", "plain", False),
    ],
)
def test_a_model_that_is_told_the_date_is_another_one_tomorrow(
    empty_store: Store, template: str, in_file: str, is_dated: bool
):
    layers = [("model", gguf(SMALL | {"tokenizer.chat_template": in_file})), ("template", template.encode())]
    put_manifest(empty_store, "registry.ollama.ai/library/tiny/latest", layers)
    model = empty_store.find("tiny")
    assert model
    before = today()
    edition = describe(model).edition
    assert model.is_dated == is_dated
    assert edition in ({before, today()} if is_dated else {""})
