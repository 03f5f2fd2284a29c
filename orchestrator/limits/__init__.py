"""How much a caller may ask: rates, tokens, calls at a time."""
