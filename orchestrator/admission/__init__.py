"""When more is asked than can be answered: whose turn it is, and who is sent away."""
