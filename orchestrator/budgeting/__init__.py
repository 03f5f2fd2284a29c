"""Budgets: their rows, how they stand, and who is told of it. What a call takes of them is the ledger's."""
