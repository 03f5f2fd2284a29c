"""Drills: the whole product under faults, with an oracle over every answer. `manage.py prove NAME` runs one.

Each drill is a module here with a `DRILL`. It starts the product (`tests.product`) and a scripted
provider (`provider`) in processes of their own, calls over real sockets (`caller`), and writes what
it saw into a `Run` (`base`). See docs/drills.md.
"""
