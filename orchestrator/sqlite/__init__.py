"""Django's SQLite, in a file that many processes write: they take turns."""
