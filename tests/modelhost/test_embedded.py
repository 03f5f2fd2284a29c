"""The model that is always there."""

import threading
from pathlib import Path

import pytest

from orchestrator.core.errors import ModelLoadFailed
from orchestrator.modelhost import embedded
from orchestrator.modelhost import store as store_module
from orchestrator.modelhost.embedded import NAME, SHA256, install_embedded
from orchestrator.modelhost.store import Store


def test_the_embedded_model_is_put_into_an_empty_store(store: Store):
    model = store.find(NAME)
    assert model
    assert model.weights.name == f"sha256-{SHA256}"
    assert model.system == ""  # not None: an empty system message goes in front
    assert "Apache License" in model.licenses[0]
    assert "<|im_end|>" in model.parameters["stop"]
    assert model.capabilities == {"completion"}


def test_a_second_start_does_not_hash_it_again(store: Store, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise AssertionError("hashed again")

    monkeypatch.setattr(store_module.hashlib, "file_digest", refuse)
    assert install_embedded(Store(store.root)) == store.find(NAME)


def test_two_may_start_at_once(tmp_path: Path):
    digests: list[str] = []
    threads = [
        threading.Thread(target=lambda: digests.append(install_embedded(Store(tmp_path)).digest)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 3
    assert len(set(digests)) == 1


def test_a_missing_package_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded, "_PACKAGE", "no_such_package")
    with pytest.raises(ModelLoadFailed, match="make install"):
        install_embedded(Store(tmp_path))


def test_another_file_in_its_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded, "SHA256", "0" * 64)
    with pytest.raises(ModelLoadFailed, match=r"damaged.*make install"):
        install_embedded(Store(tmp_path))
    assert Store(tmp_path).models() == []
