"""Keys, tenants and budgets as their pages have them: read in few queries, written in words, asked for in forms."""
