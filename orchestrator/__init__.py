"""An AI orchestrator: one Ollama-compatible address in front of every model."""

import contextlib
import sys

__version__ = "0.1.0"

# SQLite before 3.51.3 can corrupt a database when its write-ahead log is reset, and distributions
# still ship older ones. This must happen before Django first imports sqlite3.
with contextlib.suppress(ImportError):
    import pysqlite3

    sys.modules["sqlite3"] = pysqlite3
    sys.modules["sqlite3.dbapi2"] = pysqlite3.dbapi2
