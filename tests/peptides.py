"""Ideal peptides and their PDB lines, built with numpy alone."""

import numpy as np

ATOMS = ('N', 'CA', 'C', 'O', 'CB')
SEQUENCE = ('ALA', 'SER', 'TRP', 'LEU', 'LYS', 'ASP', 'VAL', 'GLU')


def _next_atom(a, b, c, length, angle, dihedral):
  """The atom d with |cd| in Å, angle bcd and dihedral abcd in degrees."""
  angle, dihedral = np.deg2rad([angle, dihedral])
  axis = (c - b) / np.linalg.norm(c - b)
  normal = np.cross(b - a, axis)
  normal /= np.linalg.norm(normal)
  local = [-np.cos(angle), np.sin(angle) * np.cos(dihedral), np.sin(angle) * np.sin(dihedral)]
  return c + length * np.stack([axis, np.cross(normal, axis), normal], axis=-1) @ local


def helix(num_residues, phi=-57.0, psi=-47.0):
  """[L, 5, 3] float64 Å: N, CA, C, O, CB of an ideal L-peptide, trans."""
  n, ca = np.array([0.0, 0.0, 0.0]), np.array([1.46, 0.0, 0.0])
  c = _next_atom(np.array([0.0, 1.0, 0.3]), n, ca, 1.525, 111.0, 40.0)
  residues = []
  for _ in range(num_residues):
    o = _next_atom(n, ca, c, 1.231, 120.1, psi + 180.0)
    cb = _next_atom(c, n, ca, 1.53, 110.5, -122.6)
    residues.append([n, ca, c, o, cb])
    next_n = _next_atom(n, ca, c, 1.329, 117.2, psi)
    next_ca = _next_atom(ca, c, next_n, 1.46, 121.7, 180.0)
    n, ca, c = next_n, next_ca, _next_atom(c, next_n, next_ca, 1.525, 111.0, phi)
  return np.array(residues)


def line(
  atom, residue, chain, number, xyz, *, icode='', altloc='', occupancy=1.0, hetero=False, segment=''
):
  """One ATOM record; xyz are three numbers, or strings of 8 characters."""
  record = 'HETATM' if hetero else 'ATOM'
  xyz = ''.join(x if isinstance(x, str) else f'{x:8.3f}' for x in xyz)
  name = f' {atom:<3}' if len(atom) < 4 else atom
  # A residue name of four letters takes the column before the chain id.
  return (
    f'{record:<6}{1:5d} {name}{altloc or " "}{residue:>3}{" " if len(residue) < 4 else ""}'
    f'{chain or " "}{number:>4}{icode or " "}   {xyz}{occupancy:6.2f}{0.0:6.2f}      '
    f'{segment:<4}{atom[0]:>2}\n'
  )


def residue(name, chain, number, xyz, atoms=ATOMS, **columns):
  """The lines of one residue from xyz [5, 3]."""
  return ''.join(
    line(atom, name, chain, number, xyz[ATOMS.index(atom)], **columns) for atom in atoms
  )


def peptide(
  names=SEQUENCE, chain='A', first=1, offset=(0.0, 0.0, 0.0), atoms=ATOMS, xyz=None, **columns
):
  """The lines of a helix, no TER."""
  xyz = (helix(len(names)) if xyz is None else xyz) + np.array(offset)
  return ''.join(
    residue(name, chain, first + i, xyz[i], atoms, **columns) for i, name in enumerate(names)
  )
