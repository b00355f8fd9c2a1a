"""Command lines: flags and wiring; run from a clone with `python -m experiments.NAME`."""
