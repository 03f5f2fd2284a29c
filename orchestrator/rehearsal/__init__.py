"""A replayed day through the product itself, in process: its rules, choice, cache and ledger, with scripted models."""
