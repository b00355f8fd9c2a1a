"""How fast it is: times, memory and operations."""
