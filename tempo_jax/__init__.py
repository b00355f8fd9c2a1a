"""Generative protein dynamics."""
