"""Numbers of calibration beside scipy, mdtraj and known answers."""

import dataclasses
import math

import mdtraj
import numpy as np
import pytest
from scipy.spatial import distance
from scipy.spatial.transform import Rotation

from tempo_jax.metrics import calibration, flexibility
from tests import peptides

LENGTH = 9
BONDED = np.arange(LENGTH) < LENGTH - 1
DT_NS = 0.01


def helix(length=LENGTH):
  return peptides.helix(length)[:, :4]


def md(num_frames, seed=0, size=0.1, memory=0.9):
  """[F, L, 4, 3] Å: residues of a helix that swing about their places, and tumble."""
  rng = np.random.default_rng(seed)
  swing = np.zeros((num_frames, LENGTH, 1, 3))
  swing[0] = rng.normal(size=(LENGTH, 1, 3))
  for t in range(1, num_frames):
    kick = rng.normal(size=(LENGTH, 1, 3))
    swing[t] = memory * swing[t - 1] + np.sqrt(1.0 - memory**2) * kick
  return tumbling(helix() + size * swing, rng)


def tumbling(frames, rng):
  rotation = Rotation.random(len(frames), rng=rng).as_matrix()
  return np.einsum('fxy,flay->flax', rotation, frames) + rng.normal(size=(len(frames), 1, 1, 3))


def rmsd(a, b):
  """CA-RMSD, from scipy."""
  a, b = (x[:, 1] - x[:, 1].mean(axis=0) for x in (a, b))
  return Rotation.align_vectors(a, b)[1] / np.sqrt(len(a))


def measure(predicted, reference, **options):
  return calibration.measure(predicted, reference, BONDED, reference[0][0], DT_NS, **options)


def test_md_beside_itself():
  frames = md(400)
  found = measure([frames], [frames[1:]], ratio=20, lag_ns=0.05)
  assert (found.num_frames, found.num_reference, found.num_compared) == (399, 399, 399)
  assert found.ca_jsd == pytest.approx(0.0, abs=1e-12)
  assert found.ramachandran_jsd == pytest.approx(0.0, abs=1e-12)
  assert found.diverged == 0.0
  for name in ('spread_ratio', 'rmsf_r', 'rmsf_ratio', 'pairwise_rmsd_ratio'):
    assert getattr(found, name) == pytest.approx(1.0, rel=1e-9), name
  # With the start there is one step more.
  assert found.step_ratio == pytest.approx(1.0, rel=0.01)
  assert found.tica_ratio == pytest.approx(1.0, rel=0.05)
  assert measure([frames], [frames]).rmsd_error == pytest.approx(0.0, abs=1e-12)


def test_scaled_fluctuations_give_that_ratio():
  """Small ones, about one structure: everything but the time scale is linear."""
  truth = md(300, size=0.01)
  half = md(300, size=0.005)  # The same random numbers.
  found = measure([half], [truth])
  for name in ('spread_ratio', 'step_ratio', 'rmsf_ratio', 'pairwise_rmsd_ratio'):
    assert getattr(found, name) == pytest.approx(0.5, rel=0.02), name
  assert found.rmsf_r == pytest.approx(1.0, abs=0.01)
  assert found.ca_jsd > 0.02


def test_spread_and_step_are_those_of_scipy():
  predicted, reference = [md(21, seed, 0.2) for seed in (1, 2, 3)], [md(30, 4), md(12, 5)]
  found = measure(predicted, reference)

  def spread(series):
    return np.std([distance.pdist(x[:, 1]) for x in np.concatenate(series)], axis=0).mean()

  def step(series):
    return np.mean([rmsd(a, b) for x in series for a, b in zip(x[1:], x[:-1], strict=True)])

  absolute = flexibility.ca_distance_spread(np.concatenate(reference))
  assert absolute == pytest.approx(spread(reference), rel=1e-9)
  expected = spread([x[1:] for x in predicted]) / spread(reference)
  assert found.spread_ratio == pytest.approx(expected, rel=1e-9)
  # No step from one replica to the next.
  assert found.step_ratio == pytest.approx(step(predicted) / step(reference), rel=1e-6)
  native = reference[0][0]
  errors = []
  for ours in predicted:
    for theirs in reference:
      count = min(len(ours), len(theirs))
      pairs = zip(ours[:count], theirs[:count], strict=True)
      errors.append(np.mean([abs(rmsd(a, native) - rmsd(b, native)) for a, b in pairs]))
  assert found.rmsd_error == pytest.approx(np.mean(errors), rel=1e-6)

  def gyration(series):
    atoms = np.concatenate([x.reshape(len(x), -1, 3) for x in series])
    return np.sqrt(np.var(atoms, axis=1).sum(axis=-1)).mean()

  expected = gyration([x[1:] for x in predicted]) / gyration(reference)
  assert found.rg_ratio == pytest.approx(expected, rel=1e-9)


def test_fluctuations_are_those_of_mdtraj():
  predicted, reference = md(50, 1, 0.3), md(60, 2, 0.15)
  found = measure([predicted], [reference])
  top = mdtraj.Topology()
  chain = top.add_chain()
  for _ in range(LENGTH):
    top.add_atom('CA', mdtraj.element.carbon, top.add_residue('ALA', chain))
  native = mdtraj.Trajectory(reference[:1, :, 1] / 10, top)

  def superposed(frames):
    return mdtraj.Trajectory(frames[:, :, 1] / 10, top).superpose(native)

  def rmsf(frames):
    # With no reference, about the mean; it has been superposed already.
    xyz = superposed(frames).xyz
    return np.sqrt(np.mean(np.sum((xyz - xyz.mean(axis=0)) ** 2, axis=-1), axis=0))

  def pairwise(frames):
    xyz = superposed(frames).xyz
    difference = xyz[:, None] - xyz[None]
    return np.mean(np.sqrt(np.mean(np.sum(difference**2, axis=-1), axis=-1)))

  ours, theirs = rmsf(predicted[1:]), rmsf(reference)
  assert found.rmsf_r == pytest.approx(np.corrcoef(ours, theirs)[0, 1], abs=1e-4)
  assert found.rmsf_ratio == pytest.approx(ours.mean() / theirs.mean(), rel=1e-4)
  ratio = pairwise(predicted[1:]) / pairwise(reference)
  assert found.pairwise_rmsd_ratio == pytest.approx(ratio, rel=1e-4)


def base2_jsd(p, q):
  p, q = p / p.sum(), q / q.sum()
  return distance.jensenshannon(p.ravel(), q.ravel(), base=2) ** 2


def test_divergences_of_equally_many_frames():
  predicted, reference = md(120, 1, 0.3), md(80, 2, 0.2)
  found = measure([predicted], [reference], count=60)
  assert found.num_compared == 60
  ours = predicted[1:][np.linspace(0, 118, 60).round().astype(int)]
  theirs = reference[np.linspace(0, 79, 60).round().astype(int)]
  divergences = []
  pairs = [np.array([distance.pdist(x[:, 1]) for x in frames]).T for frames in (ours, theirs)]
  for a, b in zip(*pairs, strict=True):
    edges = np.linspace(min(a.min(), b.min()), max(a.max(), b.max()), 41)
    divergences.append(base2_jsd(np.histogram(a, edges)[0], np.histogram(b, edges)[0]))
  # Distances on an edge of a bin, in float32.
  assert found.ca_jsd == pytest.approx(np.mean(divergences), abs=2e-3)

  divergences = []
  angles = [calibration.phi_psi(frames, BONDED) for frames in (ours, theirs)]
  edges = np.linspace(-np.pi, np.pi, 37)
  for residue in range(1, LENGTH - 1):  # The second to the last but one.
    counts = [np.histogram2d(*x[:, residue].T, bins=(edges, edges))[0] for x in angles]
    divergences.append(base2_jsd(*counts))
  assert found.ramachandran_jsd == pytest.approx(np.mean(divergences), abs=1e-9)
  # More frames differ less.
  assert measure([predicted], [reference]).ca_jsd < found.ca_jsd


def test_evenly():
  np.testing.assert_array_equal(calibration.evenly(np.arange(10), 4), [0, 3, 6, 9])
  np.testing.assert_array_equal(calibration.evenly(np.arange(3), 5), [0, 1, 2])


def test_a_chain_pulled_apart_is_counted():
  frames = np.repeat(helix()[None], 10, axis=0)
  sound = calibration.chain(frames, BONDED)
  assert (sound.outside_ca_ca, sound.outside_c_n) == (0.0, 0.0)
  assert sound.min_ca_ca == pytest.approx(3.8, abs=0.05)
  c_n = frames[0, 5, 0] - frames[0, 4, 2]
  length = np.linalg.norm(c_n)
  assert sound.max_c_n == pytest.approx(length)
  for index in (1, 4, 6):
    frames[index, 5:] += (1.75 - length) * c_n / length
  frames[9, 2:] += 1.0 * (frames[9, 2, 1] - frames[9, 1, 1])  # CA-CA to twice its length
  found = calibration.chain(frames, BONDED)
  assert found.max_ca_ca == pytest.approx(2 * 3.8, abs=0.1)
  assert found.outside_ca_ca >= 0.1
  assert found.outside_c_n == pytest.approx(0.4)
  # Where there is no bond there is nothing to break.
  apart = BONDED & ~np.isin(np.arange(LENGTH), (1, 4))
  found = calibration.chain(frames, apart)
  assert (found.outside_ca_ca, found.outside_c_n) == (0.0, 0.0)
  frames[0, 3] = np.nan
  assert calibration.chain(frames, apart).outside_c_n == pytest.approx(0.1)


def test_jumps_at_segment_ends():
  """Steps of known length: the shape alternates by as much as a step is to move."""
  ratio, num_frames = 5, 41
  lengths = np.full(num_frames - 1, 0.1)
  lengths[0] = 7.0  # Out of the start: counts nowhere.
  for step in range(1, num_frames - 1):
    if (step + 1) % ratio == 0:
      lengths[step] = 0.2
    elif step % ratio == 0:
      lengths[step] = 0.3
  # One CA moves to and fro along x, slightly, so that superposition takes the same share of all.
  path = np.concatenate([[0.0], np.cumsum(1e-3 * lengths * (-1.0) ** np.arange(num_frames - 1))])
  frames = np.repeat(helix()[None], num_frames, axis=0)
  frames[:, 4, :, 0] += path[:, None]
  reach, leave = calibration.jump_ratios([frames, frames], ratio)
  assert reach == pytest.approx(2.0, rel=0.01)
  assert leave == pytest.approx(3.0, rel=0.01)
  found = measure([frames], [frames], ratio=ratio)
  assert (found.jump_reach, found.jump_leave) == pytest.approx((reach, leave))
  assert measure([frames], [frames]).jump_reach is None
  assert measure([frames], [frames], ratio=2).jump_reach is None  # Nothing is inside.


def hopping(num_frames, stay, seed=0):
  """[F, L, 4, 3] Å: a chain that hops between two values of psi, as a Markov chain."""
  rng = np.random.default_rng(seed)
  shapes = np.stack([peptides.helix(LENGTH, -60.0, psi)[:, :4] for psi in (-40.0, 20.0)])
  hops = rng.random(num_frames) > stay
  return shapes[np.cumsum(hops) % 2] + 1e-3 * rng.normal(size=(num_frames, LENGTH, 4, 3))


def test_slowest_time_scale():
  """Of two states that are left with probability q: -1 / ln(1 - 2 q) frames."""
  for stay, lag_ns in ((0.95, 0.02), (0.9, 0.05)):
    series = [hopping(1500, stay, seed) for seed in (1, 2)]
    found = calibration.slowest_time_scale(series, BONDED, DT_NS, lag_ns)
    assert found == pytest.approx(-DT_NS / math.log(2.0 * stay - 1.0), rel=0.15)
  ratio = measure([hopping(1500, 0.9)], [hopping(1500, 0.95)], lag_ns=0.02).tica_ratio
  assert ratio == pytest.approx(math.log(0.9) / math.log(0.8), rel=0.25)
  assert calibration.slowest_time_scale([hopping(8, 0.9)], BONDED, DT_NS, 0.02) is None
  assert calibration.slowest_time_scale([hopping(80, 0.9)], BONDED, DT_NS, 0.001) is None
  assert measure([hopping(8, 0.9)], [hopping(80, 0.9)]).tica_ratio is None


@pytest.mark.parametrize('bad', [np.nan, np.inf, 1e30])
def test_only_the_chain_of_a_rollout_that_diverged_is_judged(bad):
  predicted = md(20).astype(np.float32)
  predicted[15:, 3, 1, 0] = bad
  found = measure([predicted], [md(30)], ratio=5)
  assert found.diverged == pytest.approx(5 / 19)
  assert found.outside_ca_ca == pytest.approx(5 / 19)
  assert found.ca_jsd is None
  assert found.jump_reach is None


def test_mean_over_proteins():
  one, other = measure([md(20)], [md(30)]), measure([md(20, 1, 0.3)], [md(30)])
  other = dataclasses.replace(other, tica_ratio=2.0)
  assert calibration.mean([one]) is one
  both = calibration.mean([one, other])
  assert both.spread_ratio == pytest.approx((one.spread_ratio + other.spread_ratio) / 2)
  assert one.tica_ratio is None
  assert both.tica_ratio == 2.0
  assert both.min_ca_ca == min(one.min_ca_ca, other.min_ca_ca)
  assert both.num_frames == 38
