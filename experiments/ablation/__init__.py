"""Settings trained alike, judged by rollouts against held-out MD."""
