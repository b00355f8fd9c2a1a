"""Frames of a trajectory -> minimised structures with hydrogens, from which MD may start."""
