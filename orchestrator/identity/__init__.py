"""Who asks: an API key, or its absence, becomes a Caller; people are let in by a link that works once."""
