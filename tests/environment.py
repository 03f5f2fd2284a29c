"""A data directory of the test run's own; loaded by pytest before Django reads its settings."""

import os
import tempfile

# Short, because the path of a unix socket may have 107 characters at most.
os.environ["ORCHESTRATOR_DATA_DIR"] = tempfile.mkdtemp(prefix="orch-")
os.environ["ORCHESTRATOR_ENV"] = "test"
for name in [name for name in os.environ if name.startswith("OLLAMA_") or name.endswith(("_API_KEY", "_BASE_URL"))]:
    del os.environ[name]
os.environ.pop("REDIS_URL", None)
