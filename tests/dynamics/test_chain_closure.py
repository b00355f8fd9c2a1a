"""Closed by numpy's and mdtraj's measure, near the minimum that scipy finds, and differentiable."""

import dataclasses
from typing import Any

import e3nn_jax
import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest
from scipy import optimize
from scipy.spatial.transform import Rotation

from tempo_jax.dynamics import chain_closure, steric
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import backbone
from tempo_jax.geometry.rigid import Rigid
from tests import builders, peptides
from tests.geometry import gradients

_close = builders.numpy_jit(chain_closure.close_chains)
cis_peptides = builders.numpy_jit(chain_closure.cis_peptides)

# C-N, Å; CA-C-N, C-N-CA (CA-CA, Å, in cis), omega and N-CA-C, radians.
BANDS = np.array(
  [
    [1.305, 1.377],
    *np.deg2rad([[117.7 - 4.6, 117.7 + 4.6], [124.2 - 5.5, 124.2 + 5.5], [-22.0, 22.0]]),
  ]
)
N_CA_C = np.deg2rad([112.8 - 6.2, 112.8 + 6.2])
CIS_CA_CA = (2.83, 3.07)
ANGLE = np.deg2rad(111.0)
N_CA, CA_C = 1.459, 1.525


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Residues:
  """Frames and N-CA-C angles [..., L]."""

  frames: Rigid
  angle: Any

  @property
  def rotation(self):
    return self.frames.rotation

  @property
  def translation(self):
    return self.frames.translation

  def __getitem__(self, index):
    return jax.tree.map(lambda x: x[index], self)

  @classmethod
  def of(cls, xyz):
    """Of N, CA, C (and O) [..., L, 3 or 4, 3]."""
    return jax.tree.map(
      np.asarray, cls(backbone.frames_from_atoms(xyz), backbone.n_ca_c_angles(xyz))
    )


def close(residues, bonded, cis, is_proline=False):
  return Residues(*_close(residues.frames, residues.angle, bonded, cis, is_proline))


def close_as_a_step(residues, bonded, cis, is_proline=False):
  """Three times, as overlaps are removed."""
  for _ in range(steric._NUM_ROUNDS):
    residues = close(residues, bonded, cis, is_proline)
  return residues


def atoms(residues):
  """[..., L, 3, 3] float64: N, CA, C."""
  rotation, ca = np.float64(residues.rotation), np.float64(residues.translation)
  angle = np.float64(residues.angle)
  zero = np.zeros_like(angle)
  n = np.stack([zero + N_CA, zero, zero], axis=-1)
  c = CA_C * np.stack([np.cos(angle), np.sin(angle), zero], axis=-1)
  turned = [np.einsum('...ij,...j->...i', rotation, x) + ca for x in (n, np.zeros_like(n), c)]
  return np.stack(turned, axis=-2)


def omegas(xyz):
  """omega [F, L - 1] of atoms [F, L, 3, 3], by mdtraj."""
  count, length = xyz.shape[:2]
  topology = mdtraj.Topology()
  chain = topology.add_chain()
  for _ in range(length):
    residue = topology.add_residue('ALA', chain)
    for name in ('N', 'CA', 'C'):
      topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
  first = 3 * np.arange(length - 1)[:, None]
  # In the middle, so that mdtraj's float32 loses nothing.
  centred = xyz - xyz.mean((1, 2), keepdims=True)
  trajectory = mdtraj.Trajectory(centred.reshape(count, -1, 3) / 10.0, topology)
  return mdtraj.compute_dihedrals(trajectory, first + np.array([1, 2, 3, 4]))


def bond_angle(a, b, c):
  u, v = a - b, c - b
  across = np.linalg.norm(np.cross(u, v), axis=-1)
  return np.arctan2(across, np.sum(u * v, axis=-1))


def first_order(bond, angle, across, c_n):
  """The angle between a bond and C-N by the distance across, as if C-N were 1.341 Å.

  Derivatives by differences, of the law of cosines.
  """

  def side(angle, c_n):
    return np.sqrt(bond**2 + c_n**2 - 2.0 * bond * c_n * np.cos(angle))

  step = 1e-5
  by_angle = (side(angle + step, 1.341) - side(angle - step, 1.341)) / (2 * step)
  by_c_n = (side(angle, 1.341 + step) - side(angle, 1.341 - step)) / (2 * step)
  return angle + (across - side(angle, 1.341) - by_c_n * (c_n - 1.341)) / by_angle


def quantities(residues, cis=False):
  """C-N, CA-C-N, C-N-CA (CA-CA where cis), omega off planarity [4, F, L - 1]; and CA-CA.

  The angles are those of `first_order`.
  """
  xyz = atoms(residues)
  n, ca, c = np.moveaxis(xyz, -2, 0)
  next_n, next_ca = n[..., 1:, :], ca[..., 1:, :]
  ca_ca = np.linalg.norm(next_ca - ca[..., :-1, :], axis=-1)
  turn = omegas(xyz) + np.where(cis, 0.0, np.pi)
  turn = (turn + np.pi) % (2 * np.pi) - np.pi
  c_n = np.linalg.norm(next_n - c[..., :-1, :], axis=-1)
  first, third = angles_of(ca[..., :-1, :], c[..., :-1, :], next_n, next_ca)
  third = np.where(cis, ca_ca, third)
  return np.stack([c_n, first, third, turn]), ca_ca


def angles_of(ca, c, next_n, next_ca):
  """CA-C-N and C-N-CA to first order."""
  c_n = np.linalg.norm(next_n - c, axis=-1)
  return (
    first_order(CA_C, np.deg2rad(117.7), np.linalg.norm(next_n - ca, axis=-1), c_n),
    first_order(N_CA, np.deg2rad(124.2), np.linalg.norm(next_ca - c, axis=-1), c_n),
  )


def excess(residues, cis=False):
  """How far the four quantities are outside of their bands, [4, F, L - 1]."""
  bands = np.broadcast_to(BANDS[:, None], (4, np.size(cis), 2)).copy()
  bands[2, np.broadcast_to(cis, np.size(cis))] = CIS_CA_CA
  values, _ = quantities(residues, cis)
  return np.abs(values - np.clip(values, bands[:, None, :, 0], bands[:, None, :, 1]))


def bent_too_far(residues):
  return np.abs(residues.angle - np.clip(residues.angle, *N_CA_C)).max()


def perturbed(residues, translation, rotation, seed=0):
  """Each residue moved at random, sd `translation` Å and `rotation` rad per direction."""
  rng = np.random.default_rng(seed)
  shift = translation * rng.normal(size=residues.translation.shape)
  turn = Rotation.from_rotvec(rotation * rng.normal(size=(shift.size // 3, 3))).as_matrix()
  bend = 0.2 * rotation * rng.normal(size=residues.angle.shape)
  frames = Rigid(
    np.float32(residues.rotation @ turn.reshape(residues.rotation.shape)),
    np.float32(residues.translation + shift),
  )
  return Residues(frames, np.float32(residues.angle + bend))


def chain(length, phi=-57.0, psi=-47.0):
  """An ideal peptide [1, L]."""
  return Residues.of(np.float32(peptides.helix(length, phi, psi)[None, :, :4]))


def cis_chain(length, seed=0):
  """Residues [1, L] with every second peptide bond cis, and these bonds; built by numpy."""
  rng = np.random.default_rng(seed)
  cis = np.arange(length) % 2 == 1
  cis[-1] = False
  xyz = [peptides.helix(1)[0, :3]]
  for i in range(length - 1):
    n, ca, c = xyz[-1]
    phi, psi = rng.uniform([-150.0, 100.0], [-60.0, 170.0])
    next_n = peptides._next_atom(n, ca, c, 1.329, 117.2, psi)
    next_ca = peptides._next_atom(ca, c, next_n, 1.459, 123.0, 0.0 if cis[i] else 180.0)
    xyz.append([next_n, next_ca, peptides._next_atom(c, next_n, next_ca, 1.525, 111.0, phi)])
  return Residues.of(np.float32(xyz)[None]), cis


def bonds(length):
  return np.arange(length) < length - 1


def move_cost(before, after):
  """Squared movement, Å^2: 1 rad of a rotation, or of bending, counts as 1.5 Å."""
  turn = Rotation.from_matrix(
    np.float64(after.rotation @ np.swapaxes(before.rotation, -1, -2)).reshape(-1, 3, 3)
  ).as_rotvec()
  bend = np.float64(after.angle) - before.angle
  turned = 2.25 * (np.sum(turn**2) + np.sum(bend**2))
  return np.sum((np.float64(after.translation) - before.translation) ** 2) + turned


@pytest.fixture(scope='module')
def md_frames(shared_data):
  """BPTI [50, 58], from MD."""
  folder = shared_data / 'trajectories' / 'bpti_5ns'
  trajectory = mdtraj.load(folder / 'bpti.xtc', top=folder / 'bpti.pdb', stride=10)
  columns = [trajectory.topology.select(f'name {name}') for name in ('N', 'CA', 'C', 'O')]
  xyz = 10.0 * trajectory.xyz[:, np.stack(columns, axis=-1)[:58]]
  return Residues.of(xyz)


@pytest.mark.parametrize(
  ('translation', 'rotation', 'usual', 'worst'),
  [(0.1, 0.1, 0.001, 0.002), (0.3, 0.3, 0.005, 0.02), (1.0, 0.7, 0.25, None)],
)
def test_md_is_closed_after_random_motions(md_frames, translation, rotation, usual, worst):
  before = perturbed(md_frames, translation, rotation)
  after = close_as_a_step(before, bonds(58), np.zeros(58, bool))
  values, ca_ca = quantities(after)
  assert excess(before)[0].max() > 2 * translation
  assert np.quantile(excess(after)[:3], 0.999) < usual
  assert worst is None or excess(after)[:3].max() < worst
  assert bent_too_far(after) < 1e-6
  n, ca, c = np.moveaxis(atoms(after), -2, 0)
  for angles, band in (
    (bond_angle(ca[:, :-1], c[:, :-1], n[:, 1:]), BANDS[1]),
    (bond_angle(c[:, :-1], n[:, 1:], ca[:, 1:]), BANDS[2]),
  ):
    beyond = np.abs(angles - np.clip(angles, *band))
    assert translation > 0.5 or beyond.max() < np.deg2rad(1.5)
    assert np.quantile(beyond, 0.99) < np.deg2rad(0.5 if translation < 0.5 else 3.0)
  assert ca_ca.min() > 2.8
  assert ca_ca.max() < 4.2
  assert values[0].max() < 1.8
  gram = np.swapaxes(after.rotation, -1, -2) @ after.rotation
  np.testing.assert_allclose(gram, np.broadcast_to(np.eye(3), gram.shape), atol=5e-6)


def test_md_is_hardly_moved(md_frames):
  after = close(md_frames, bonds(58), np.zeros(58, bool))
  assert excess(after).max() < 1e-3
  moved = np.linalg.norm(after.translation - md_frames.translation, axis=-1)
  assert np.sqrt(np.mean(moved**2)) < 0.02
  # The network's own fluctuations survive, as far as MD has them: the bands are of 1.6 sd.
  before, after = quantities(md_frames)[1].std(), quantities(after)[1].std()
  assert 0.9 < after / before < 1.1


def test_closed_chains_stay_as_they_are():
  frames = perturbed(chain(20), 0.005, 0.005)
  assert excess(frames).max() == 0.0
  after = close(frames, bonds(20), np.zeros(20, bool))
  np.testing.assert_array_equal(after.rotation, frames.rotation)
  np.testing.assert_array_equal(after.translation, frames.translation)
  np.testing.assert_array_equal(after.angle, frames.angle)


def test_cis_peptides_stay_cis():
  frames, cis = cis_chain(20)
  xyz = np.float32(atoms(frames))
  found = cis_peptides(np.concatenate([xyz, xyz[..., 2:, :]], axis=-2), bonds(20))
  np.testing.assert_array_equal(found[0], cis)
  before = perturbed(jax.tree.map(lambda x: np.repeat(x, 20, axis=0), frames), 0.2, 0.2)
  after = close_as_a_step(before, bonds(20), cis)
  assert excess(after, cis[:-1]).max() < 0.02
  _, ca_ca = quantities(after, cis[:-1])
  assert ca_ca[:, cis[:-1]].max() < 3.1
  assert ca_ca.min() > 2.8
  assert np.abs(omegas(atoms(after)))[:, cis[:-1]].max() < 0.5


def test_cis_needs_a_bond():
  frames, cis = cis_chain(6)
  xyz = np.float32(atoms(frames))
  bonded = bonds(6) & ~cis
  found = cis_peptides(np.concatenate([xyz, xyz[..., 2:, :]], axis=-2), bonded)
  assert not found.any()


def test_nothing_crosses_a_break():
  frames = perturbed(chain(24), 0.3, 0.3)
  bonded = bonds(24)
  bonded[9] = False
  cis = np.zeros(24, bool)
  shift = 40.0 * (np.arange(24) > 9)[None, :, None]
  far = Residues(Rigid(frames.rotation, frames.translation + shift), frames.angle)
  after, apart = close(frames, bonded, cis), close(far, bonded, cis)
  left = close(frames[:, :10], bonds(10), cis[:10])
  # Also padding: what follows residue 9 is nothing to it.
  np.testing.assert_array_equal(after.translation[:, :10], apart.translation[:, :10])
  np.testing.assert_allclose(left.translation, after.translation[:, :10], atol=2e-6)
  np.testing.assert_allclose(left.rotation, after.rotation[:, :10], atol=2e-6)
  within = np.delete(np.arange(23), 9)
  assert excess(close_as_a_step(frames, bonded, cis))[:, :, within].max() < 0.02
  frames = dataclasses.replace(frames, angle=np.clip(frames.angle, *N_CA_C))
  alone = close(frames, np.zeros(24, bool), cis)
  np.testing.assert_array_equal(alone.translation, frames.translation)
  np.testing.assert_array_equal(alone.rotation, frames.rotation)


def test_bands_before_a_proline():
  """119.7 +- 4.2 and 122.1 +- 3.2 degrees, and those of the other bonds as ever."""
  frames = perturbed(jax.tree.map(lambda x: np.repeat(x, 8, axis=0), chain(20)), 0.25, 0.25)
  is_proline = np.arange(20) % 3 == 2
  arguments = bonds(20), np.zeros(20, bool)
  values, _ = quantities(close_as_a_step(frames, *arguments, is_proline))
  first, second = np.rad2deg(values[1:3, :, is_proline[1:]])
  assert np.abs(first - 119.7).max() < 4.2 + 0.5
  assert np.abs(second - 122.1).max() < 3.2 + 0.5
  others = BANDS[:, None, None]
  off = np.abs(values - np.clip(values, others[..., 0], others[..., 1]))
  assert off[:, :, ~is_proline[1:]].max() < 0.02
  # Which they would not be as other bonds are.
  values, _ = quantities(close_as_a_step(frames, *arguments))
  first, second = np.rad2deg(values[1:3, :, is_proline[1:]])
  assert first.min() < 115.0
  assert second.max() > 128.0


def test_batches_change_nothing():
  frames = perturbed(jax.tree.map(lambda x: np.repeat(x, 6, axis=0), chain(16)), 0.3, 0.3)
  arguments = bonds(16), np.zeros(16, bool)
  together = close(frames, *arguments)
  nested = builders.numpy_jit(
    jax.vmap(chain_closure.close_chains, in_axes=(0, 0, None, None)),
  )(
    *jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), (frames.frames, frames.angle)),
    *arguments,
  )
  nested = Residues(*nested)
  np.testing.assert_allclose(nested.translation.reshape(6, 16, 3), together.translation, atol=2e-5)
  last = close(frames[5:], *arguments)
  np.testing.assert_allclose(last.translation[0], together.translation[5], atol=2e-5)


def test_a_global_motion_moves_the_result_along():
  frames = perturbed(chain(30, -120.0, 130.0), 0.1, 0.1)
  arguments = bonds(30), np.zeros(30, bool)
  turn = np.asarray(e3nn_jax.rand_matrix(jax.random.key(3), ()))
  shift = np.float32([40.0, -30.0, 20.0])
  moved = Rigid(turn @ frames.rotation, frames.translation @ turn.T + shift)
  moved = Residues(moved, frames.angle)
  expected, after = close(frames, *arguments), close(moved, *arguments)
  np.testing.assert_allclose(after.rotation, turn @ expected.rotation, atol=5e-5)
  np.testing.assert_allclose(after.translation, expected.translation @ turn.T + shift, atol=1e-4)


@pytest.mark.parametrize('scale', [0.9, 1.1])
def test_long_chains_too_short_or_too_long_are_closed(scale):
  """The error is the same everywhere: passes from bond to bond would need L^2 of them."""
  frames = chain(256, -120.0, 130.0)
  before = Rigid(frames.rotation, np.float32(scale) * frames.translation)
  before = Residues(before, frames.angle)
  after = close(before, bonds(256), np.zeros(256, bool))
  assert excess(before)[0].min() > 0.1
  assert excess(after).max() < 0.03


def minimum(before, cis):
  """Least squared movement that closes the chain, by SLSQP in float64."""
  length = before.translation.shape[1]
  bands = np.repeat(BANDS[:, None], length - 1, axis=1)
  bands[2, cis] = CIS_CA_CA

  def residues(x):
    x = x.reshape(length, 7)
    turn = Rotation.from_rotvec(x[:, 3:6] / 1.5).as_matrix()
    frames = Rigid((turn @ before.rotation[0])[None], before.translation + x[None, :, :3])
    return Residues(frames, before.angle + x[None, :, 6] / 1.5)

  def inside(x):
    moved = residues(x)
    n, ca, c = np.moveaxis(atoms(moved)[0], -2, 0)
    first, axis, last = c[:-1] - ca[:-1], n[1:] - c[:-1], ca[1:] - n[1:]
    left, right = np.cross(first, axis), np.cross(axis, last)
    sine = np.linalg.norm(axis, axis=-1) * np.sum(first * right, axis=-1)
    sign = np.where(cis, 1.0, -1.0)
    turn = np.arctan2(sign * sine, sign * np.sum(left * right, axis=-1))
    ca_ca = np.linalg.norm(ca[1:] - ca[:-1], axis=-1)
    first_angle, second_angle = angles_of(ca[:-1], c[:-1], n[1:], ca[1:])
    third = np.where(cis, ca_ca, second_angle)
    values = np.stack([np.linalg.norm(axis, axis=-1), first_angle, third, turn])
    sides = [(values - bands[..., 0]).ravel(), (bands[..., 1] - values).ravel()]
    return np.concatenate([*sides, moved.angle[0] - N_CA_C[0], N_CA_C[1] - moved.angle[0]])

  found = optimize.minimize(
    lambda x: np.sum(x * x),
    np.zeros(7 * length),
    jac=lambda x: 2 * x,
    method='SLSQP',
    constraints={'type': 'ineq', 'fun': inside},
    options={'maxiter': 300, 'ftol': 1e-9},
  )
  assert found.success
  return found.fun


def test_movement_is_near_the_least_possible():
  # Damped steps do not retrace what earlier ones overshot: 1.0 would be the projection itself.
  ratios = []
  for seed in range(8):
    frames, cis = cis_chain(5, seed)
    size = (0.15, 0.25)[seed % 2]
    before = jax.tree.map(np.float64, perturbed(frames, size, size, seed))
    with jax.enable_x64(True):
      after = close_as_a_step(before, bonds(5), cis)
    assert excess(after, cis[:-1]).max() < 1e-3
    least = minimum(before, cis[:-1])
    assert least > 0.005
    ratios.append(move_cost(before, after) / least)
  assert min(ratios) > 0.98
  assert np.median(ratios) < 1.2
  assert max(ratios) < 1.8


def test_derivatives_are_those_of_differences():
  frames, cis = cis_chain(6)
  residues = jax.tree.map(lambda x: np.float64(x[0]), perturbed(frames, 0.1, 0.1))

  def closed(shift, turn, bend):
    moved = residues.frames @ Rigid.exp(shift, turn)
    after, angle = chain_closure.close_chains(moved, residues.angle + bend, bonds(6), cis)
    return after.rotation, after.translation, angle

  zeros = np.zeros((6, 3)), np.zeros((6, 3)), np.zeros(6)
  gradients.assert_derivatives(closed, *zeros, atol=1e-6)


def test_gradients_stay_finite_over_repeated_use():
  length = 256
  frames = jax.tree.map(lambda x: x[0], perturbed(chain(length), 0.3, 0.3))
  kicks = 0.1 * np.random.default_rng(1).normal(size=(2, 4, length, 3)).astype(np.float32)
  weights = np.random.default_rng(2).normal(size=(length, 3)).astype(np.float32)

  @jax.jit
  @jax.grad
  def gradient(kicks):
    def step(carry, kick):
      moved, angle = carry[0] @ Rigid.exp(*kick), carry[1]
      return chain_closure.close_chains(moved, angle, bonds(length), np.zeros(length, bool)), None

    start = jax.tree.map(jnp.asarray, (frames.frames, frames.angle))
    (last, _), _ = jax.lax.scan(step, start, (kicks[0], kicks[1]))
    return jnp.sum(weights * last.translation)

  result = np.asarray(gradient(kicks))
  assert np.isfinite(result).all()
  assert 0.01 < np.abs(result).max() < 1e4
  # The first kick still counts.
  assert np.abs(result[0, 0]).mean() > 0.01


def test_corrections_may_be_constants():
  """The same frames; the derivative is that of a residue with its correction nailed to it."""
  frames, cis = cis_chain(6)
  frames = jax.tree.map(lambda x: np.float32(x[0]), perturbed(frames, 0.3, 0.3))
  expected = close(frames, bonds(6), cis)
  assert np.abs(expected.translation - frames.translation).max() > 0.05

  def moved(motion):
    """All residues turned and shifted as one."""
    shift, turn = (jnp.broadcast_to(x, (6, 3)) for x in (motion[:3], motion[3:]))
    there = Rigid.exp(shift, turn) @ frames.frames
    return Residues(*chain_closure.closed_by_constants(there, frames.angle, bonds(6), cis))

  value, derivative = builders.numpy_jit(lambda x: (moved(x), jax.jacrev(moved)(x)))(
    np.zeros(6, np.float32)
  )
  np.testing.assert_allclose(value.translation, expected.translation, atol=1e-5)
  np.testing.assert_allclose(value.rotation, expected.rotation, atol=1e-5)
  # d(x + turn x r) at zero: the result moves along with the protein.
  shifted = np.broadcast_to(np.eye(3), (6, 3, 3))
  turned = -np.cross(expected.translation[:, None], np.eye(3)[None]).swapaxes(-1, -2)
  np.testing.assert_allclose(derivative.translation[..., :3], shifted, atol=1e-4)
  np.testing.assert_allclose(derivative.translation[..., 3:], turned, atol=1e-3)


N, C = np.array([N_CA, 0.0, 0.0]), CA_C * np.array([np.cos(ANGLE), np.sin(ANGLE), 0.0])


def degenerate(kind, length):
  frames = jax.tree.map(np.asarray, Rigid.identity((length,)))
  if kind == 'C on N':
    # N of each residue is where C of the one before is: no C-N axis, no omega.
    step = np.float32(C - N)
    return Rigid(frames.rotation, np.arange(length)[:, None].astype(np.float32) * step)
  if kind == 'in a row':
    # CA, C, N and the next CA on one line: no omega either.
    axis = C / np.linalg.norm(C)
    y = np.cross([0.0, 0.0, 1.0], axis)
    back = np.stack([-axis, -y, [0.0, 0.0, 1.0]], axis=-1)
    rotation = np.where((np.arange(length) % 2 == 1)[:, None, None], back, np.eye(3))
    return Rigid(np.float32(rotation), np.float32(4.3 * np.arange(length)[:, None] * axis))
  return frames


@pytest.mark.parametrize('kind', ['stacked', 'C on N', 'in a row'])
def test_degenerate_geometry_has_finite_values_and_gradients(kind):
  frames = degenerate(kind, 4)

  def total(shift):
    moved = Rigid(frames.rotation, frames.translation + shift)
    angle = jnp.full(4, ANGLE, jnp.float32)
    after, _ = chain_closure.close_chains(moved, angle, bonds(4), np.zeros(4, bool))
    return jnp.sum(after.translation**2) + jnp.sum(after.rotation[..., 0])

  value, gradient = jax.jit(jax.value_and_grad(total))(np.zeros((4, 3), np.float32))
  assert np.isfinite(value)
  assert np.isfinite(gradient).all()


@pytest.mark.parametrize('length', [1, 2, 3])
def test_short_chains(length):
  before = perturbed(chain(length), 0.2, 0.2)
  after = close_as_a_step(before, np.ones(length, bool), np.zeros(length, bool))
  assert after.translation.shape == (1, length, 3)
  if length == 1:
    np.testing.assert_array_equal(after.translation, before.translation)
  else:
    assert excess(after).max() < 0.01


def test_states_of_closed_frames_are_planar():
  """Together with the state: its torsions say what mdtraj says."""
  frames = perturbed(chain(12), 0.2, 0.2)
  after = close(frames, bonds(12), np.zeros(12, bool))
  state = builders.numpy_jit(state_lib.from_frames)(
    after.frames, np.zeros((1, 12), np.float32), bonds(12), after.angle
  )
  assert np.abs(state.torsions[0, :-1, 2]).min() > np.pi - 0.4
