"""State of a protein, the learned drift, and one step of the SDE."""
