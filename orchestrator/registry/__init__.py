"""Which providers and models there are, as operators say it: kept in the database, read by every process."""
