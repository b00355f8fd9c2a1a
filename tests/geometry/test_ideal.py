"""Ideal peptide geometry: of a crystal structure, of itself, and as mdtraj measures it."""

import mdtraj
import numpy as np
import pytest

from tempo_jax.geometry import ideal
from tests.geometry.measured import CA, C, N, O, as_mdtraj, within


def test_ideal_values_lie_near_a_crystal_structure(two_chains):
  """Means over a crystal structure: within 0.02 Å and 2 degrees of Engh & Huber."""
  _, positions, bonded = two_chains
  measured = as_mdtraj(positions)
  length = positions.shape[1]
  across = within(length, C, 4 + N)[bonded]
  for pairs, expected in (
    (within(length, N, CA), ideal.N_CA),
    (within(length, CA, C), ideal.CA_C),
    (within(length, C, O), ideal.C_O),
    (across, ideal.C_N),
  ):
    mean = 10 * mdtraj.compute_distances(measured, pairs, periodic=False).mean()
    assert mean == pytest.approx(expected, abs=0.02)
  for triples, expected in (
    (within(length, N, CA, C), ideal.N_CA_C),
    (within(length, CA, C, O), ideal.CA_C_O),
    (within(length, CA, C, 4 + N)[bonded], ideal.CA_C_N),
    (within(length, C, 4 + N, 4 + CA)[bonded], ideal.C_N_CA),
  ):
    mean = mdtraj.compute_angles(measured, triples, periodic=False).mean()
    assert np.rad2deg(mean) == pytest.approx(np.rad2deg(expected), abs=2)


def test_ideal_trans_peptide_spans_3_80_angstrom():
  """CA-CA from the constants of the peptide plane alone, a check on their consistency."""
  c = ideal.CA_C * np.array([1.0, 0])
  to_n = np.pi - ideal.CA_C_N
  n = c + ideal.C_N * np.array([np.cos(to_n), np.sin(to_n)])
  to_ca = to_n - (np.pi - ideal.C_N_CA)
  ca = n + ideal.N_CA * np.array([np.cos(to_ca), np.sin(to_ca)])
  assert np.linalg.norm(ca) == pytest.approx(ideal.CA_CA_TRANS, abs=0.03)


def test_a_cis_peptide_spans_2_95_angstrom():
  """Planar like the trans one; its crowded angles are wider, 119 and 127 degrees."""
  ca, c = np.zeros(3), np.array([ideal.CA_C, 0.0, 0.0])
  ca_c_n, c_n_ca = np.deg2rad([119.0, 127.0])
  n = ideal.place_atom(np.array([0.0, 1.0, 0.0]), ca, c, ideal.C_N, ca_c_n, 1.0)
  following = ideal.place_atom(ca, c, n, ideal.N_CA, c_n_ca, 0.0)
  assert np.linalg.norm(following - ca) == pytest.approx(ideal.CA_CA_CIS, abs=0.05)


@pytest.mark.parametrize('dihedral', [-170.0, -60.0, 0.0, 45.0, 180.0])
def test_a_placed_atom_is_where_it_was_said_to_be(np_rng, dihedral):
  a, b, c = np_rng.normal(scale=2.0, size=(3, 3))
  d = ideal.place_atom(a, b, c, 1.4, np.deg2rad(115.0), np.deg2rad(dihedral))
  measured = as_mdtraj(np.stack([a, b, c, d])[None, None])
  atoms = within(1, N, CA, C, O)
  length = 10.0 * mdtraj.compute_distances(measured, atoms[:, 2:], periodic=False)
  assert length == pytest.approx(1.4, abs=1e-5)
  angle = mdtraj.compute_angles(measured, atoms[:, 1:], periodic=False)
  assert np.rad2deg(angle) == pytest.approx(115.0, abs=1e-2)
  found = mdtraj.compute_dihedrals(measured, atoms, periodic=False)
  np.testing.assert_allclose(np.exp(1j * found), np.exp(1j * np.deg2rad(dihedral)), atol=1e-4)
