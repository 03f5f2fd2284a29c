"""Facts that are not so yet, each in its final form: it becomes a plain fact when its `Differs` is taken away."""

from __future__ import annotations

import pytest

from orchestrator.api.absent import MODELS
from tests.contract.facts import Differs, Fact, Scene, asking, refused

OLLAMA = "differences.md"

IN_PROCESS = [
    *(
        Fact(
            f"a model is managed through {method} {path}",
            asking(method, path, {"model": "tiny", "source": "tiny", "destination": "other", "from": "tiny"}),
            (200, ""),
            Differs(
                (501, {"error": MODELS}),
                OLLAMA,
                "`/api/pull`, `/api/push`, `/api/create`, `/api/copy`, `/api/delete`, `/api/blobs` | 501",
            ),
        )
        for method, path in (("POST", "/api/copy"), ("DELETE", "/api/delete"))
    ),
    Fact(
        "a transcription needs a model",
        refused("/v1/audio/transcriptions", {}),
        (400, "model is required"),
        Differs(
            (501, "Transcriptions are not supported yet; send what was said as text."),
            OLLAMA,
            "`/v1/audio/transcriptions` | 501 that says so",
        ),
    ),
]


@pytest.mark.parametrize("fact", IN_PROCESS, ids=str)
async def test_what_is_not_there_yet_is_as_the_docs_say(fact: Fact, scene: Scene) -> None:
    await fact.check(scene)
