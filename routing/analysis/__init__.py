"""What a question asks of a model: its kind, its language, and how hard it is, each with its reasons."""
