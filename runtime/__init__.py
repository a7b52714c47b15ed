"""A bundle and a frame become a result."""
