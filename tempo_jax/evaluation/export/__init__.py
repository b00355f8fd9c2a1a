"""Predictions as the files that public benchmarks take; each module says what its one reads."""
