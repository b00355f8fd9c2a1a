"""Structure -> molecular dynamics, by OpenMM."""
