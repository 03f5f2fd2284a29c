"""The ledger: one record per request, and what they add up to."""
