"""The files that a sampled trajectory is written into."""
