"""Rules of routing: read, drafted, told in words, published."""
