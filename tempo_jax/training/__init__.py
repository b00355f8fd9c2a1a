"""The training objective and everything that optimises it."""
