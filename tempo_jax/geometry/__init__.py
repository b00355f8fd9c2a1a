"""Rotations, rigid frames, torsions and backbone atoms; float32, lengths in Å."""
