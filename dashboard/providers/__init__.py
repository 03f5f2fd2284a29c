"""Providers: how each is, and what may be done about it."""
