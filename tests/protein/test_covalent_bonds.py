"""Bonds of all heavy atoms against mdtraj's table, and their distances in bonds against scipy."""

import mdtraj
import numpy as np
import pytest
from scipy import sparse
from scipy.sparse import csgraph

from tempo_jax.protein import covalent_bonds, side_chain_atoms
from tempo_jax.protein import protein as protein_lib


def chain(types, ring=False, disulphide=None):
  length = len(types)
  last = np.full(length, -1, np.int32)
  last[-1] = 0
  partner = np.full(length, -1, np.int32)
  if disulphide:
    partner[list(disulphide)] = disulphide[::-1]
  return protein_lib.ProteinArrays(
    residue_type=np.asarray(types, np.int32),
    residue_index=np.arange(length, dtype=np.int32),
    chain_index=np.zeros(length, np.int32),
    bonded=np.arange(length) < length - 1,
    mask=np.ones(length, bool),
    positions=np.zeros((length, 4, 3), np.float32),
    ring=last if ring else None,
    disulphides=partner if disulphide else None,
  )


def types(names):
  return [protein_lib.RESIDUE_TYPES.index(name) for name in names.split()]


@pytest.mark.parametrize('name', protein_lib.RESIDUE_TYPES)
def test_bonds_within_a_residue_are_those_of_mdtraj(name):
  kind = protein_lib.RESIDUE_TYPES.index(name)
  topology = mdtraj.Topology()
  residue = topology.add_residue('GLY' if name == 'UNK' else name, topology.add_chain())
  for atom in side_chain_atoms.ATOM_NAMES[kind]:
    topology.add_atom(atom, mdtraj.element.get_by_symbol(atom[0]), residue)
  topology.create_standard_bonds()
  expected = {frozenset((a.index, b.index)) for a, b in topology.bonds}
  found = [frozenset(bond) for bond in covalent_bonds.within_residue(kind).tolist()]
  assert len(found) == len(set(found))
  assert set(found) == expected


def test_chains_rings_and_disulphides_are_bonded():
  protein = chain(types('CYS GLY PRO CYS'), ring=True, disulphide=(0, 3))
  within = sum(len(covalent_bonds.within_residue(kind)) for kind in protein.residue_type)
  found = {frozenset(bond) for bond in covalent_bonds.between_atoms(protein).tolist()}
  assert len(found) == within + 5
  peptides = [(2, 14), (14 + 2, 28), (28 + 2, 42), (42 + 2, 0)]
  assert found >= {frozenset(bond) for bond in [*peptides, (5, 42 + 5)]}
  plain = covalent_bonds.between_atoms(chain(types('CYS GLY PRO CYS')))
  assert len(plain) == within + 3


@pytest.mark.parametrize('num_bonds', [1, 2, 3, 4])
def test_pairs_within_some_bonds_are_those_of_shortest_paths(num_bonds):
  protein = chain(types('CYS TRP PRO GLY CYS HIS'), ring=True, disulphide=(0, 4))
  a, b = covalent_bonds.between_atoms(protein).T
  size = 14 * 6
  graph = sparse.coo_array((np.ones(len(a)), (a, b)), shape=(size, size))
  distance = csgraph.shortest_path(graph, directed=False, unweighted=True)
  first, second = np.nonzero(np.triu((distance <= num_bonds) & (distance > 0)))
  np.testing.assert_array_equal(
    covalent_bonds.pairs_within(protein, num_bonds), first * size + second
  )
