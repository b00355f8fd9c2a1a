"""ATLAS -> store."""
