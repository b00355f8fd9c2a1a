"""Trained models: on disk, in memory, and what they have seen."""
