"""Prepared trajectories, and the training windows drawn from them."""
