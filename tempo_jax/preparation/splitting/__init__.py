"""Training, validation and test sets by sequence identity."""
