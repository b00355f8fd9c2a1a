"""What is wrong with a store: the parts of `data_prep.inspect`."""
