"""What is in a store, and what is wrong with it."""
