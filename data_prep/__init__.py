"""Command lines that turn raw MD into a store; run from a clone with `python -m data_prep.NAME`."""
