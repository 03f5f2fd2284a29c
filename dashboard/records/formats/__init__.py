"""How dates are written in the records, by language."""
