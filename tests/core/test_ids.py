"""Ids that are made up here."""

import re

from orchestrator.core.ids import call_id


def test_the_id_of_a_call_is_fresh_and_looks_as_clients_expect():
    made = {call_id() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch("call_[a-z0-9]{8}", one) for one in made)
