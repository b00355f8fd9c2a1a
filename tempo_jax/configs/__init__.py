"""Experiment files (ml-collections) that come with the package."""
