"""A provider's own account of what was used, read in and compared with what was charged here."""
