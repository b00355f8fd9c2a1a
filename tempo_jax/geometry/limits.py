"""How near two atoms of different residues are if they are bonded, and how near they may not be."""

# Å. A peptide bond is 1.33 Å and heat stretches it by a tenth; without a bond C and N
# do not come nearer than 2.7 Å (van der Waals). N-CA is 1.46, CA-C 1.53, C-O 1.23 Å.
MAX_BOND = 2.0
# Å, within a residue, whose bonds are idealised anyway: poor but real entries stretch them so far.
MAX_INNER_BOND = 2.5
# Å, between residues (paper, sections 5 and 9): nearer is a clash.
CLASH_DISTANCE = 1.2
