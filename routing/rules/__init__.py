"""Rules of operators: what a request is like, and what becomes of it then. Cheap, certain, readable."""
