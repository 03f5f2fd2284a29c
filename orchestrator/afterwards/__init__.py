"""What is asked once a caller has their answer: of another model the same, of a judge how good it was. Nobody waits."""
