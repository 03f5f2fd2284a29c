"""Who may ask: keys, what they may do, and who changed that."""
