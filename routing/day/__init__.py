"""A replayed day: what it costs, and how many of its answers are right, beside simpler ways."""
