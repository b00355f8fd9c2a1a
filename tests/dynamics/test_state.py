import dataclasses

import jax
import mdtraj
import numpy as np
import pytest
from ml_collections import config_dict
from scipy.spatial.transform import Rotation

from tempo_jax import config as config_lib
from tempo_jax.dynamics import rotamers
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import rigid
from tempo_jax.protein import side_chain_atoms
from tests import builders

LENGTH = 12
LEVEL = config_dict.ConfigDict(
  {'noise_translation': 2.0, 'noise_rotation': 0.5, 'noise_torsion': 3.0}
)

from_frames = builders.numpy_jit(state_lib.from_frames)
from_positions = builders.numpy_jit(state_lib.from_positions)
to_positions = builders.numpy_jit(state_lib.to_positions)
from_vector = builders.numpy_jit(state_lib.from_vector)
to_vector = builders.numpy_jit(state_lib.to_vector)
perturb = builders.numpy_jit(lambda s, sigma, p, rng: state_lib.perturb(s, sigma, LEVEL, p, rng))


@pytest.fixture(scope='module')
def protein():
  """Two chains of six residues, and a break inside the first."""
  protein = builders.helix(LENGTH, chains=2)
  protein.bonded[2] = False
  return protein


@pytest.fixture(scope='module')
def state(protein):
  return from_positions(protein.positions, protein.bonded)


def angle_between(a, b):
  return np.abs((a - b + np.pi) % (2 * np.pi) - np.pi)


def assert_close(a, b, atol=1e-5):
  np.testing.assert_allclose(a.frames.rotation, b.frames.rotation, atol=atol)
  np.testing.assert_allclose(a.frames.translation, b.frames.translation, atol=10 * atol)
  assert angle_between(a.torsions, b.torsions).max() < 10 * atol


def test_vector_is_the_papers(state):
  vector = to_vector(state)
  assert vector.shape == (LENGTH, state_lib.NUM_FEATURES) == (LENGTH, 13)
  quaternion = Rotation.from_matrix(state.frames.rotation).as_quat(canonical=True)
  np.testing.assert_allclose(vector[:, :4], np.roll(quaternion, 1, axis=-1), atol=1e-6)
  assert (vector[:, 0] >= 0.0).all()
  np.testing.assert_array_equal(vector[:, 4:7], state.frames.translation)
  np.testing.assert_allclose(vector[:, 7:10], np.sin(state.torsions), atol=1e-6)
  np.testing.assert_allclose(vector[:, 10:], np.cos(state.torsions), atol=1e-6)


def test_vector_round_trip(protein, state):
  # The vector knows nothing of N-CA-C.
  state = from_frames(state.frames, state.psi, protein.bonded)
  vector = to_vector(state)
  assert_close(from_vector(vector, protein.bonded), state)
  # Any numbers are projected: the length of the quaternion and of the circles is free.
  stretched = vector * np.repeat(np.float32([2.0, 1.0, 0.3]), [4, 3, 6])
  assert_close(from_vector(stretched, protein.bonded), state)
  garbage = np.random.default_rng(0).normal(size=(LENGTH, 13)).astype(np.float32)
  projected = from_vector(garbage, protein.bonded)
  gram = np.swapaxes(projected.frames.rotation, -1, -2) @ projected.frames.rotation
  np.testing.assert_allclose(gram, np.broadcast_to(np.eye(3), gram.shape), atol=1e-5)
  assert_close(from_vector(to_vector(projected), protein.bonded), projected)


def test_torsions_are_those_of_mdtraj(protein, state):
  positions = to_positions(state)
  topology = mdtraj.Topology()
  for chain in (topology.add_chain(), topology.add_chain()):
    for _ in range(LENGTH // 2):
      residue = topology.add_residue('ALA', chain)
      for name in ('N', 'CA', 'C', 'O'):
        topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
  traj = mdtraj.Trajectory(positions.reshape(1, -1, 3) / 10.0, topology)
  # Over the break mdtraj sees a bond.
  at_break = {0: [3], 1: [2], 2: [2]}
  for k, compute in enumerate((mdtraj.compute_phi, mdtraj.compute_psi, mdtraj.compute_omega)):
    atoms, angles = compute(traj)
    residues = atoms[:, 1] // 4
    kept = ~np.isin(residues, at_break[k])
    assert kept.sum() == 9
    ours = state.torsions[residues[kept], k]
    assert angle_between(ours, angles[0, kept]).max() < 1e-3


def test_positions_are_idealised_once(protein, state):
  once = to_positions(state)
  twice = to_positions(from_positions(once, protein.bonded))
  np.testing.assert_allclose(twice, once, atol=1e-4)
  np.testing.assert_array_equal(once[:, 1], protein.positions[:, 1])
  # N and C lie on their rays; O goes where psi says. Atoms were off by 0.1 Å.
  assert 0.01 < np.abs(once - protein.positions).max() < 1.0
  for atom, length in ((0, 1.459), (2, 1.525)):
    ray = protein.positions[:, atom] - protein.positions[:, 1]
    ray = length * ray / np.linalg.norm(ray, axis=-1, keepdims=True)
    np.testing.assert_allclose(once[:, atom] - once[:, 1], ray, atol=1e-4)
  assert_close(from_positions(once, protein.bonded), state)


def test_side_chains_are_of_models_that_have_them(protein):
  positions = np.stack([protein.positions] * 3)
  config = builders.generative_config(side_chains=True)
  state = state_lib.of_model(config, positions, protein)
  assert state.side_chains.chi.shape == state.side_chains.known.shape == (3, LENGTH, 4)
  assert not np.any(state.side_chains.known)
  given = builders.with_side_chains(protein)
  given = rotamers.SideChains(np.stack([given.chi] * 3), np.stack([given.chi_known] * 3))
  state = state_lib.of_model(config, positions, protein, given)
  np.testing.assert_array_equal(state.side_chains.chi, given.chi)
  # Frames and torsions of the backbone leave them alone.
  assert state.with_frames(state.frames).side_chains is state.side_chains
  for without in (builders.generative_config(), builders.small_config()):
    assert state_lib.of_model(without, positions, protein, given).side_chains is None
  # The paper's objective never has them, whatever its configuration says.
  config = config_lib.from_dict(config_lib.to_dict(config))
  config.objective = 'mse'
  assert state_lib.of_model(config, positions, protein, given).side_chains is None


def test_the_papers_numbers_do_not_hold_n_ca_c(protein):
  """In paper mode all windows have the ideal angle, those from MD, too."""
  of = {}
  for rule in ('global', 'local'):
    config = builders.small_config(update_rule=rule)
    of[rule] = builders.numpy_jit(lambda x, config=config: state_lib.of_model(config, x, protein))(
      protein.positions
    )
  np.testing.assert_allclose(of['global'].n_ca_c, np.deg2rad(111.0), atol=1e-6)
  assert np.ptp(of['local'].n_ca_c) > np.deg2rad(2.0)
  again = from_vector(to_vector(of['global']), protein.bonded)
  assert_close(again, of['global'])


@pytest.mark.parametrize('end', [2, 5, 11], ids=['break', 'end of chain', 'end'])
def test_psi_is_free_where_no_bond_follows(protein, state, end):
  turned = from_frames(state.frames, state.psi + 0.7, protein.bonded, state.n_ca_c)
  before = to_positions(state)
  after = to_positions(turned)
  assert np.linalg.norm(after[end, 3] - before[end, 3]) > 0.3
  again = from_positions(after, protein.bonded)
  free = np.isin(np.arange(LENGTH), [2, 5, 11])
  np.testing.assert_allclose(angle_between(again.psi, state.psi)[free], 0.7, atol=1e-4)
  # Elsewhere psi is no second truth: the next N has the last word.
  np.testing.assert_array_equal(after[~free], before[~free])
  assert angle_between(again.psi, state.psi)[~free].max() < 1e-4


@pytest.mark.parametrize('first', [3, 6], ids=['break', 'chain'])
def test_nothing_reaches_across_a_break(protein, state, first):
  moved = protein.positions.copy()
  rotation, shift = builders.random_motion(first, translation=20.0)
  moved[first:] = moved[first:] @ rotation.T + shift
  after = from_positions(moved, protein.bonded)
  assert angle_between(after.torsions, state.torsions).max() < 1e-4
  atoms = to_positions(after)[:first]
  np.testing.assert_array_equal(atoms, to_positions(state)[:first])


def test_start_window_knows_the_newest_frame_only(state):
  window = state_lib.start_window(state, 3)
  np.testing.assert_array_equal(window.known, [False, False, True])
  for t in range(3):
    jax.tree.map(np.testing.assert_array_equal, window.states[t], state)


def test_noise_has_the_spread_of_each_part():
  samples, sigma = 300, 0.1
  protein = builders.helix(20)
  # All psi free, so that its noise shows everywhere.
  bonded = np.zeros(20, bool)
  protein = dataclasses.replace(protein, bonded=bonded)
  state = from_positions(protein.positions, bonded)
  window = state_lib.start_window(state, 2).states
  rngs = jax.random.split(jax.random.key(0), samples)
  noised = builders.numpy_jit(
    jax.vmap(lambda rng: state_lib.perturb(window, sigma, LEVEL, protein, rng))
  )(rngs)
  rotation = state.frames.rotation
  shift = noised.frames.translation - state.frames.translation
  local_shift = np.einsum('lxy,stlx->stly', rotation, shift)
  turn = np.einsum('lxy,stlxz->stlyz', rotation, noised.frames.rotation)
  turn = Rotation.from_matrix(turn.reshape(-1, 3, 3)).as_rotvec().reshape(samples, 2, 20, 3)
  psi = noised.psi - state.psi
  psi = (psi + np.pi) % (2 * np.pi) - np.pi
  eps = np.concatenate(
    [local_shift / 0.2, turn / 0.05, psi[..., None] / 0.3], axis=-1
  )  # [S, T, L, 7] in units of their standard deviation
  # 12,000 draws per part: the standard error is 0.0065 for the spread and 0.009 for the mean.
  np.testing.assert_allclose(eps.std(axis=(0, 1, 2)), 1.0, atol=0.03)
  np.testing.assert_allclose(eps.mean(axis=(0, 1, 2)), 0.0, atol=0.04)
  # Parts, frames and residues are independent of one another.
  flat = eps.transpose(1, 2, 3, 0).reshape(-1, samples)
  correlation = np.corrcoef(flat) - np.eye(len(flat))
  assert np.abs(correlation).max() < 0.35
  np.testing.assert_allclose(np.sqrt(np.mean(correlation**2)), samples**-0.5, rtol=0.05)


def test_noise_of_side_chains_is_that_of_torsions_where_they_are_known():
  """In units of phase: of a ring that flips, half of it."""
  samples, sigma, length = 300, 0.1, 20
  protein = builders.with_side_chains(builders.helix(length), known=0.6)
  state = from_positions(protein.positions, protein.bonded)
  before = rotamers.SideChains(protein.chi, protein.chi_known)
  window = state_lib.start_window(dataclasses.replace(state, side_chains=before), 2).states
  rngs = jax.random.split(jax.random.key(0), samples)
  noised = builders.numpy_jit(
    jax.vmap(lambda rng: state_lib.perturb(window, sigma, LEVEL, protein, rng))
  )(rngs)
  after = noised.side_chains
  known = protein.chi_known
  assert 10 < known.sum() < side_chain_atoms.chi_mask(protein.residue_type).sum()
  np.testing.assert_array_equal(after.known, np.broadcast_to(known, after.known.shape))
  np.testing.assert_array_equal(after.chi[..., ~known], 0.0)
  period = side_chain_atoms.chi_period(protein.residue_type)[known]
  assert np.ptp(period) > 3.0
  turn = np.angle(np.exp(1j * (after.chi - protein.chi)[..., known])) * 2 * np.pi / period / 0.3
  # 600 draws of each: the standard error is 0.03 for the spread and 0.04 for the mean.
  np.testing.assert_allclose(turn.std(axis=(0, 1)), 1.0, atol=0.12)
  np.testing.assert_allclose(turn.mean(axis=(0, 1)), 0.0, atol=0.16)
  # Nothing else takes part in it.
  without = builders.numpy_jit(
    lambda rng: state_lib.perturb(
      dataclasses.replace(window, side_chains=None), 0.0, LEVEL, protein, rng
    )
  )(rngs[0])
  calm = perturb(window, 0.0, protein, rngs[0])
  np.testing.assert_array_equal(calm.frames.translation, without.frames.translation)
  assert angle_between(calm.side_chains.chi, protein.chi).max() < 1e-6


def test_noise_commutes_with_a_global_motion(protein, state):
  window = state_lib.start_window(state, 2).states
  rng = jax.random.key(3)
  noised = perturb(window, 0.3, protein, rng)
  rotation, shift = (x.astype(np.float32) for x in builders.random_motion(1, translation=50.0))
  lead = rigid.Rigid(rotation[None], shift[None])
  moved = state_lib.start_window(state.with_frames(lead @ state.frames), 2).states
  after = perturb(moved, 0.3, protein, rng)
  expected = noised.with_frames(lead[None] @ noised.frames)
  assert_close(after, expected, atol=5e-6)
  assert np.abs(noised.frames.translation - window.frames.translation).max() > 0.5


def test_noise_does_not_depend_on_padding(protein):
  padded = builders.pad(protein, LENGTH + 8)
  results = []
  for p in (protein, padded):
    window = state_lib.start_window(from_positions(p.positions, p.bonded), 2).states
    results.append(perturb(window, 0.3, p, jax.random.key(0)))
  real = jax.tree.map(lambda x: x[:, :LENGTH], results[1])
  assert_close(real, results[0])


def test_no_noise_changes_nothing(protein, state):
  window = state_lib.start_window(state, 2).states
  assert_close(perturb(window, 0.0, protein, jax.random.key(0)), window)
