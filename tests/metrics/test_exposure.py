import mdtraj
import numpy as np
import pytest
from scipy import stats

from tempo_jax.metrics import exposure
from tempo_jax.protein import protein as protein_lib
from tests import heavy_trajectories


@pytest.fixture(scope='module')
def peptide(shared_data):
  """Ten frames of trp-cage, without hydrogens: as mdtraj, heavy atoms, and residue types."""
  folder = shared_data / 'openmm_implicit/2jof'
  traj = mdtraj.load(str(folder / '2jof_R1.xtc'), top=str(folder / '2jof.pdb'))[::20]
  heavy = [a.index for a in traj.top.atoms if a.element.symbol != 'H' and a.name != 'OXT']
  traj = traj.atom_slice(heavy)
  types = np.array([protein_lib.RESIDUE_TYPES.index(r.name) for r in traj.top.residues])
  return traj, heavy_trajectories.slots_of(traj), types


def test_areas_are_those_of_alphaflow(peptide):
  traj, heavy_atoms, types = peptide
  found, reason = exposure.side_chain_areas(heavy_atoms, types)
  assert reason is None
  areas = 100.0 * mdtraj.shrake_rupley(traj, probe_radius=0.28)
  for i, residue in enumerate(traj.top.residues):
    side = [a.index for a in residue.atoms if a.name not in ('N', 'CA', 'C', 'O', 'OXT')]
    np.testing.assert_allclose(found[:, i], areas[:, side].sum(axis=1), rtol=1e-4, atol=1e-3)
    assert side or not found[:, i].any()
  assert 0.1 < np.mean(found > exposure.EXPOSED) < 0.99


def test_area_of_an_atom_alone():
  """A sphere: radius of carbon, 1.7 Å, and the probe's."""
  heavy_atoms = np.zeros((1, 1, 14, 3), np.float32)
  heavy_atoms[..., :4, 1] = np.arange(4.0)
  heavy_atoms[..., 4:, 0] = 50.0  # CB, far from all else; the other slots are empty.
  types = np.array([protein_lib.RESIDUE_TYPES.index('ALA')])
  found, _ = exposure.side_chain_areas(heavy_atoms, types)
  assert found[0, 0] == pytest.approx(4.0 * np.pi * (1.7 + 2.8) ** 2, rel=1e-4)


def test_atoms_without_an_area(peptide):
  """Of the second kind, mdtraj ends the process."""
  _, heavy_atoms, types = peptide
  broken = heavy_atoms[:3].copy()
  broken[1, 5, 2] = np.nan
  found, reason = exposure.side_chain_areas(broken, types)
  assert found is None
  assert reason == 'frame 1 has positions that are not numbers'
  broken = heavy_atoms[:3].copy()
  broken[2, 5, 2] = broken[2, 9, 1]
  found, reason = exposure.side_chain_areas(broken, types)
  assert found is None
  assert reason == 'two atoms of frame 2 are in the same place'


def _information(a, b):
  """Of two bool series, by contingency table."""
  table = np.array([[np.mean((a == x) & (b == y)) for y in (0, 1)] for x in (0, 1)])
  apart = np.outer(table.sum(axis=1), table.sum(axis=0))
  there = table > 0.0
  return np.sum(table[there] * np.log(table[there] / apart[there]))


def test_mutual_information(np_rng):
  exposed = np_rng.random((60, 5)) < 0.4
  exposed[:, 1] = exposed[:, 0]  # They know all of each other.
  exposed[:, 2] = False
  exposed[:, 3] = True
  found = exposure.mutual_information(np.where(exposed, 9.0, 1.0))
  for i in range(5):
    for j in range(5):
      wanted = 0.0 if i == j else _information(exposed[:, i], exposed[:, j])
      assert found[i, j] == pytest.approx(wanted, abs=1e-12)
  share = exposed[:, 0].mean()
  assert found[0, 1] == pytest.approx(-share * np.log(share) - (1 - share) * np.log(1 - share))
  assert not found[2:4].any()


def test_correlation_of_information(np_rng):
  a, b = 4.0 * np_rng.random((2, 80, 6))
  value, reason = exposure.information_correlation(a, b)
  assert reason is None
  matrices = [exposure.mutual_information(x).ravel() for x in (a, b)]
  assert value == pytest.approx(stats.spearmanr(*matrices)[0])
  assert exposure.information_correlation(a, a)[0] == pytest.approx(1.0)


def test_exposed_jaccard():
  native = np.array([0.0, 1.0, 5.0, 1.0, 0.0])
  shares = np.array([[0.2, 0.1, 0.9, 0.5, 0.0], [0.3, 0.4, 0.9, 0.9, 0.1]])
  prediction, reference = (
    np.where(np.arange(10)[:, None] < np.round(10 * x), 3.0, 1.0) for x in shares
  )
  # Predicted: residues 0 and 3, since 10 % is not more than 10 %; of the reference: 0, 1 and 3.
  value, reason = exposure.exposed_jaccard(prediction, reference, native)
  assert reason is None
  assert value == pytest.approx(2.0 / 3.0)
  assert exposure.exposed_jaccard(reference, reference, native)[0] == 1.0


def test_reasons():
  buried, exposed = np.zeros((9, 3)), np.full((9, 3), 9.0)
  value, reason = exposure.exposed_jaccard(buried, buried, buried[0])
  assert value is None
  assert 'comes to the surface' in reason
  value, reason = exposure.exposed_jaccard(exposed, exposed, exposed[0])
  assert value is None
  value, reason = exposure.exposed_jaccard(exposed[:0], exposed, exposed[0])
  assert value is None
  assert 'no frames' in reason
  moves = np.tile([[0.0], [9.0], [0.0]], (3, 3))
  value, reason = exposure.information_correlation(buried, moves)
  assert value is None
  assert 'prediction: exposure' in reason
  value, reason = exposure.information_correlation(moves, moves[:1])
  assert value is None
  assert '1 frames of the reference' in reason
  # A single residue tells nothing of another.
  value, _ = exposure.information_correlation(moves[:, :1], moves[:, :1])
  assert value is None
