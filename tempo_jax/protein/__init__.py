"""A protein as the model sees it, and the files that it comes from."""
