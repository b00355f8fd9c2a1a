"""ml-collections experiment files."""
