"""What the ledger says, reckoned again by other means: its file, SQL and fractions, and no code of the product.

A mistake in what writes the ledger would be made twice by a check that shared it.
"""
