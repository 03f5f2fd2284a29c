"""What a model cannot do by itself, done for it: the question is put in another way, and its answer put right."""
