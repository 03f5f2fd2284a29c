"""Models on disk, in the layout Ollama uses, so that an existing store can be pointed at.

manifests/<host>/<namespace>/<model>/<tag>    JSON: a config and layers, each by its digest
blobs/sha256-<hex>                            what they name
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.modelhost import abilities
from orchestrator.modelhost.gguf import Header, parameter_size, read_header
from orchestrator.modelhost.go_chat import GoChat
from orchestrator.modelhost.gotemplate.syntax import TemplateError
from orchestrator.modelhost.names import Name

log = logging.getLogger(__name__)

LARGEST_MANIFEST, LARGEST_TEXT = 1024**2, 4 * 1024**2  # bytes
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}  # the last: no file can have that name
_KIND = "application/vnd.ollama.image."
_MANIFEST_KIND = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_KIND = "application/vnd.docker.container.image.v1+json"
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A model in the store: its files, what its author set, and what its GGUF file says."""

    name: Name
    digest: str  # of the manifest, 64 hex digits: it changes when anything about the model does
    weights: Path
    size: int  # bytes, of everything the manifest names
    modified_at: float  # seconds since the epoch
    header: Header
    capabilities: frozenset[str] = frozenset({"completion"})  # in Ollama's words
    is_dated: bool = False  # it may be told what day it is
    template: str = ""  # Ollama's own kind, in Go's template language
    runs_template: bool = False  # in place of the one in its file
    system: str | None = None  # goes in front when the caller sends no system message, also when it is empty
    parameters: Mapping[str, Any] = field(default_factory=dict)  # options its author set, by their Ollama names
    licenses: tuple[str, ...] = ()
    messages: tuple[Mapping[str, str], ...] = ()  # turns that go before every conversation

    @property
    def format(self) -> str:
        """Of its file."""
        return self.weights.suffix[1:] or "gguf"  # blobs have no suffix

    @property
    def parameter_size(self) -> str:
        """How many weights there are, as people say it."""
        return parameter_size(self.header.parameter_count)


class Store:
    """Reads the store in `root`, and puts files into it. Safe to use from several threads and processes."""

    def __init__(self, root: Path, built_in: Sequence[StoredModel] = ()) -> None:
        """`built_in` are models that lie elsewhere, and come before others of their name."""
        self.root = root
        self._built_in = {model.name.folded: model for model in built_in}
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[tuple[int, int], StoredModel | None]] = {}  # None: it was broken
        self._is_unreadable = False  # and that was logged

    def models(self) -> list[StoredModel]:
        """Every sound model, newest first. A broken one is left out and logged once."""
        found = [
            model
            for path, name in self._manifests()
            if name.folded not in self._built_in and (model := self._read(path, name))
        ]
        found += self._built_in.values()
        return sorted(found, key=lambda model: (-model.modified_at, str(model.name)))

    def find(self, text: str) -> StoredModel | None:
        """The model a caller's name means, whatever its case; None when it is not here.

        Raises ValueError when `text` is not a model's name.
        """
        name = Name.parse(text)
        if built_in := self._built_in.get(name.folded):
            return built_in
        exact = self._read(self.root.joinpath("manifests", *name.parts), name)
        if exact:
            return exact
        for path, stored in self._manifests():
            if stored.folded == name.folded and (model := self._read(path, stored)):
                return model
        return None

    def blob(self, digest: str) -> Path:
        """Where the content with this digest lies. Raises ValueError when it is not a digest."""
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise ValueError("invalid digest format")
        return self.root / "blobs" / f"sha256-{match[1]}"

    def install(
        self,
        text: str,
        weights: Path,
        *,
        sha256: str = "",
        system: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        license: str = "",
    ) -> StoredModel:
        """Put a GGUF file into the store under a name; hard links where the file system allows.

        Raises ValueError when the file is not sound or its hash is not `sha256` (64 hex digits), OSError
        when it cannot be stored. Nothing appears under the name until everything is in place.
        """
        name = Name.parse(text)
        header = read_header(weights)
        layers = [self._put_file(weights, "model", sha256)]
        if system is not None:
            layers.append(self._put_bytes(system.encode(), "system"))
        if parameters:
            layers.append(self._put_bytes(json.dumps(parameters, sort_keys=True).encode(), "params"))
        if license:
            layers.append(self._put_bytes(license.encode(), "license"))
        config = {
            "model_format": "gguf",
            "model_family": header.architecture,
            "model_families": [header.architecture],
            "model_type": parameter_size(header.parameter_count),
            "file_type": header.quantization,
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
        put = self._put_bytes(json.dumps(config).encode(), "config")
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST_KIND,
            "config": put | {"mediaType": _CONFIG_KIND},
            "layers": layers,
        }
        path = self.root.joinpath("manifests", *name.parts)
        self._write(path, json.dumps(manifest).encode())
        model = self._read(path, name)
        if model is None:
            raise OSError(f"{path} cannot be read back; see the log")
        return model

    def _manifests(self) -> Iterator[tuple[Path, Name]]:
        for path in sorted(self.root.glob("manifests/*/*/*/*")):
            host, namespace, model, tag = path.parts[-4:]
            with contextlib.suppress(ValueError):  # such as an editor's leavings: nothing a caller could name
                yield path, Name.parse(f"{host}/{namespace}/{model}:{tag}")

    def _read(self, path: Path, name: Name) -> StoredModel | None:
        try:
            status = path.stat()
        except OSError as error:
            self._note_unreadable(path, error)
            return None
        version = (status.st_mtime_ns, status.st_size)
        with self._lock:
            known = self._known.get(path)
        if known and known[0] == version and (known[1] is None or known[1].weights.exists()):
            return known[1]
        try:
            model = self._parse(path, name, status.st_mtime)
        except (ValueError, OSError, KeyError, TypeError, AttributeError, RecursionError) as error:
            model = None
            log.warning("The model %s is left out: %s (%s)", name, str(error) or type(error).__name__, path)
        with self._lock:
            self._known[path] = (version, model)
        return model

    def _note_unreadable(self, path: Path, error: OSError) -> None:
        """Nothing lies at `path`, or nothing that can be got at. The latter is said once: callers choose the names."""
        if error.errno in _ABSENT or self._is_unreadable:
            return
        self._is_unreadable = True
        log.warning("A model's manifest cannot be read (%s): %s", error.strerror, path)

    def _parse(self, path: Path, name: Name, modified_at: float) -> StoredModel:
        data = _bounded(path, LARGEST_MANIFEST)
        manifest = json.loads(data)
        layers = manifest["layers"]
        texts: dict[str, list[str]] = {}
        weights: list[Path] = []
        for layer in layers:
            kind = layer["mediaType"].removeprefix(_KIND)
            blob = self.blob(layer["digest"])
            if kind == "model":
                if blob.stat().st_size != layer["size"]:
                    raise ValueError(f"{blob.name} is incomplete; fetch the model again")
                weights.append(blob)
            elif kind in {"template", "system", "params", "license", "messages"}:
                texts.setdefault(kind, []).append(_bounded(blob, LARGEST_TEXT).decode())
            elif kind == "adapter":
                raise ValueError("it has an adapter layer, which is not supported")
        if len(weights) != 1:
            raise ValueError(f"it has {len(weights)} files of weights; one is supported")
        parameters = json.loads(texts["params"][-1]) if "params" in texts else {}
        messages = json.loads(texts["messages"][-1]) if "messages" in texts else []
        if not isinstance(parameters, dict):
            raise ValueError("its parameters are not an object")
        template = texts.get("template", [""])[-1]
        header = read_header(weights[0])
        form = self._form(name, template, manifest.get("config"))
        return StoredModel(
            name=name,
            digest=hashlib.sha256(data).hexdigest(),
            weights=weights[0],
            size=sum(int(part["size"]) for part in [*layers, manifest.get("config") or {"size": 0}]),
            modified_at=modified_at,
            header=header,
            capabilities=abilities.capabilities(header, form),
            is_dated=abilities.is_dated(header, form),
            template=template,
            runs_template=form is not None,
            system=texts["system"][-1] if "system" in texts else None,
            parameters=parameters,
            licenses=tuple(texts.get("license", ())),
            messages=tuple({"role": str(turn["role"]), "content": str(turn["content"])} for turn in messages),
        )

    def _form(self, name: Name, template: str, config: Mapping[str, Any] | None) -> GoChat | None:
        """The template, where it is what makes the prompts; that it cannot be read is logged.

        It is large once it is read, so only what is to be known of it is kept.

        Some models only have a stand-in for one: they name a renderer that is built into Ollama. The Jinja in
        their file says the same.
        """
        if not template or self._has_renderer(config):
            return None
        try:
            return GoChat(template)
        except TemplateError as error:
            log.warning("The template of %s cannot be read, so the one in its file is used: %s", name, error)
            return None

    def _has_renderer(self, config: Mapping[str, Any] | None) -> bool:
        try:
            said = json.loads(_bounded(self.blob(config["digest"]), LARGEST_MANIFEST)) if config else {}
            return bool(said.get("renderer"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False  # nothing else is read from there

    def _put_file(self, source: Path, kind: str, expected: str) -> dict[str, Any]:
        draft = self._draft()
        try:
            try:
                os.link(source.resolve(), draft)
            except OSError:  # another file system, or one without hard links
                shutil.copyfile(source, draft)
            with draft.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if expected and found != expected:
                raise ValueError(f"{source.name} has the hash {found}, not {expected}")
            blob = self.blob(f"sha256:{found}")
            size = draft.stat().st_size
            if not blob.exists() or blob.stat().st_size != size:
                draft.replace(blob)
        finally:
            draft.unlink(missing_ok=True)
        return {"mediaType": _KIND + kind, "digest": f"sha256:{found}", "size": size}

    def _put_bytes(self, content: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blob = self.blob(f"sha256:{digest}")
        if not blob.exists() or blob.stat().st_size != len(content):
            self._write(blob, content)
        return {"mediaType": _KIND + kind, "digest": f"sha256:{digest}", "size": len(content)}

    def _write(self, path: Path, content: bytes) -> None:
        draft = self._draft()
        try:
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def _draft(self) -> Path:
        folder = self.root / "blobs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"draft-{uuid.uuid4().hex}"


def _bounded(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path.name} is longer than {most} bytes")
    return content
