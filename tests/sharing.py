"""How tests are shared out among processes: a file to one of them, and what takes longest first.

Loaded by pytest (`-p tests.sharing`). A file stays together, because its tests may share what they start. Left to
pytest-xdist the files with the most tests go first, and those with a few long ones are what one process does at the
end while the others have nothing left.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

# By what a file takes; the rest, a few seconds each, follows by name.
LONGEST = (
    "tests/test_drills.py",
    "tests/dashboard/test_browser_providers.py",
    "tests/test_bench.py",
    "tests/dashboard/test_browser.py",
    "tests/faults/test_faults.py",
    "tests/test_recovery.py",
    "tests/engines/test_llamacpp.py",
    "tests/dashboard/test_accessible.py",
    "tests/dashboard/test_browser_playground.py",
    "tests/dashboard/test_browser_keys.py",
    "tests/dashboard/test_browser_cache.py",
    "tests/dashboard/test_browser_models.py",
    "tests/dashboard/test_hostile.py",
    "tests/rehearsal/test_rehearsal.py",
    "tests/modelhost/test_residents.py",
    "tests/api/test_openapi.py",
    "tests/dashboard/test_browser_people.py",
    "tests/supervisor/test_serve.py",
    "tests/api/test_made_up_requests.py",
    "tests/supervisor/test_doctor.py",
    "tests/dashboard/test_sign_in.py",
    "tests/orchestrator/test_rotation.py",
    "tests/supervisor/test_worker.py",
    "tests/dashboard/test_browser_costs.py",
    "tests/authorization/test_pages.py",
    "tests/faults/test_failover.py",
    "tests/identity/test_docs.py",
    "tests/cache/test_redis_faults.py",
    "tests/test_machines.py",
    "tests/faults/test_cuts.py",
    "tests/test_metrics.py",
    "tests/engines/test_templates.py",
    "tests/dashboard/test_pages.py",
    "tests/test_hostile_input.py",
    "tests/test_registry_everywhere.py",
    "tests/orchestrator/test_replay.py",
    "tests/cache/test_sharing.py",
    "tests/cache/test_feed.py",
    "tests/engines/test_embeddings.py",
    "tests/test_lifelines.py",
    "tests/test_workers_share.py",
)
PLACES = {file: place for place, file in enumerate(LONGEST)}


class Sharing(LoadFileScheduling):
    """Files, in the order in which they were collected."""

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        """Called for each test; forgets a file that is done with, else all its tests are counted after every other."""
        file = self._split_scope(self.registered_collections[node][item_index])
        super().mark_test_complete(node, item_index, duration)
        if all(self.assigned_work[node][file].values()):
            del self.assigned_work[node][file]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing | None:
    """Called by pytest-xdist."""
    if config.option.dist != "loadfile":
        return None
    config.option.loadscopereorder = False
    return Sharing(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Called by pytest: the longest first where several processes share them."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: PLACES.get(item.nodeid.partition("::")[0], len(PLACES)))
