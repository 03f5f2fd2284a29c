"""The product's settings, for a run in which pages say how many queries they took: `X-Queries`, in a header."""

from orchestrator.settings import *  # noqa: F403  # all of them
from orchestrator.settings import MIDDLEWARE as _MIDDLEWARE

MIDDLEWARE = ["tests.drills.queries.counted", *_MIDDLEWARE]
