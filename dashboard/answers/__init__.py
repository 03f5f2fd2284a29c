"""Answers that the cache keeps: which, why there was none, and making it forget."""
