"""Models: which there are, what each does, and what may be done with them."""
