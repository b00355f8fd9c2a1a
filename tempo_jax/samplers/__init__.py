"""From one conformation to a trajectory."""
