"""What a trajectory is worth: pure functions of positions."""
