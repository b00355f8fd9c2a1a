"""Coiled coils that starts are built as: what crystallographers measure of them."""

import numpy as np
import pytest

from data_prep import training_systems
from tempo_jax.protein import structure_file

SEQUENCE = 'RMKQLEDKVEELLSKNYHLENEVARLKKLVGER'  # GCN4


@pytest.fixture(scope='module')
def chains():
  """[2, L, 4, 3] Å."""
  built = training_systems.build_coiled_coil([SEQUENCE] * 2, first_a=1)[0]
  return np.array([[[a.pos.tolist() for a in residue] for residue in chain] for chain in built])


def axis(chain):
  """[L - 6, 3]: means over heptads."""
  return np.array([chain[k : k + 7, 1].mean(axis=0) for k in range(len(chain) - 6)])


def test_residues_a_and_d_face_each_other(chains):
  """In GCN4 (2ZTA) CA of a and of d are 6.0 to 6.4 Å apart, those of others 8 to 15 Å."""
  apart = np.linalg.norm(chains[0][:, 1] - chains[1][:, 1], axis=-1)
  heptad = (np.arange(len(SEQUENCE)) - 1) % 7
  core = np.isin(heptad, (0, 3))
  assert apart[core] == pytest.approx(6.2, abs=0.4)
  assert apart[~core].min() > 8.0
  closest = np.linalg.norm(chains[0].reshape(-1, 1, 3) - chains[1].reshape(1, -1, 3), axis=-1)
  assert closest.min() > 4.5


def test_helices_keep_their_bonds(chains):
  for n, ca, c, o in np.moveaxis(chains, 2, 1):
    for x, y, length in ((n, ca, 1.458), (ca, c, 1.525), (c, o, 1.231), (c[:-1], n[1:], 1.329)):
      assert np.linalg.norm(y - x, axis=-1) == pytest.approx(length, abs=0.03)
    assert np.linalg.norm(np.diff(ca, axis=0), axis=-1) == pytest.approx(3.8, abs=0.05)


def test_superhelix_is_left_handed(chains):
  """About 23 degrees across each other, 9.8 Å apart, as in GCN4."""
  one, other = axis(chains[0]), axis(chains[1])
  across = other - one
  # Means over heptads are not quite on the axes.
  assert np.linalg.norm(across, axis=-1) == pytest.approx(9.7, abs=0.3)
  # Over a heptad, after which a helix repeats.
  u, v = one[7:] - one[:-7], other[7:] - other[:-7]
  u, v = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (u, v))
  assert np.degrees(np.arccos(np.sum(u * v, axis=-1))) == pytest.approx(23.0, abs=4.0)
  # Of a left-handed one, (R, 0, -z) going on to (R, -y, 0), against (-R, 0, -z) to (-R, y, 0).
  assert (np.sum(np.cross(u, v) * across[:-7], axis=-1) > 0.0).all()


def test_start_of_two_chains(tmp_path):
  (system,) = (x for x in training_systems.SYSTEMS if x.name == 'gcn4')
  training_systems.write_start(system, tmp_path / 'gcn4.pdb', [], tmp_path)
  protein = structure_file.load_protein(tmp_path / 'gcn4.pdb')
  assert (protein.num_chains, protein.sequence) == (2, ''.join(system.chains))
  assert system.num_residues == protein.num_residues == 2 * len(SEQUENCE)
