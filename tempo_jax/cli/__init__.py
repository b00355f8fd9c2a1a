"""The command lines: flags and wiring. Nothing else reads flags."""
