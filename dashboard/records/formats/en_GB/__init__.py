"""British English, with times that sort."""
