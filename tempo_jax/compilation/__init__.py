"""Compiled programs: how they are made, and how they are kept."""
