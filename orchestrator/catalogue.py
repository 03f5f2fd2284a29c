"""Every model by every name: what is registered, what providers list, what is here."""
