"""The API: every dialect's endpoints over one pipeline."""
