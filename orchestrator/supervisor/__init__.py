"""Starts the product's processes and keeps them running: `manage.py serve`.

The order of the story: `command` prepares the data directory, binds the address and says what to
run; `supervise` keeps it running and stops it in order; `child` looks after one process.
"""
