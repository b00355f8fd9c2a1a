"""How good is a predicted ensemble? From files to the numbers of the paper's table."""
