"""Encoder and head of a generative step against numpy in float64, written the slow way."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import generator, rotamers, update
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import ideal as ideal_lib
from tempo_jax.protein import protein as protein_lib
from tests import builders
from tests.encoder import reference

LENGTH, REAL, BREAK = 11, 9, 4
CONFIGS = {
  with_side_chains: builders.generative_config(anchors='both', side_chains=with_side_chains)
  for with_side_chains in (False, True)
}
SIGMA, TEMPERATURE = np.float32(0.05), np.float32(340.0)
# Of the backbone, and of the side chains.
TAUS = np.float32(0.7), np.float32(0.4)
# By letter: how many torsions are free, and which one a half turn leaves as it is.
NUM_CHI = dict(zip('ACDEFGHIKLMNPQRSTVWYX', map(int, '012320224232134111220'), strict=True))
HALF_TURN = {'D': 2, 'E': 3, 'F': 2, 'Y': 2}


def chi_table(residue_type):
  """[L, 4]: which torsions are free, and phase per angle."""
  free, per_angle = np.zeros((len(residue_type), 4), bool), np.ones((len(residue_type), 4))
  for i, kind in enumerate(residue_type):
    letter = protein_lib.ONE_LETTER[protein_lib.RESIDUE_TYPES[kind]]
    free[i, : NUM_CHI[letter]] = True
    if letter in HALF_TURN:
      per_angle[i, HALF_TURN[letter] - 1] = 2.0
  return free, per_angle


def chi_features(phase, known):
  """[..., 12]."""
  return np.concatenate([np.where(known, f(phase), 0.0) for f in (np.sin, np.cos)] + [known], -1)


def torsions_by_hand(n, ca, c, psi, bonded):
  """[L, 6] sines and cosines of phi, psi, omega of one conformation."""

  def dihedral(*atoms):
    first, axis, last = np.diff(np.array(atoms), axis=0)
    left, right = np.cross(first, axis), np.cross(axis, last)
    return np.arctan2(np.linalg.norm(axis) * first @ right, left @ right)

  angles = np.zeros((len(ca), 3))
  angles[:, 1] = psi
  for i in range(len(ca)):
    if i and bonded[i - 1]:
      angles[i, 0] = dihedral(c[i - 1], n[i], ca[i], c[i])
    if bonded[i]:
      angles[i, 1] = dihedral(n[i], ca[i], c[i], n[i + 1])
      angles[i, 2] = dihedral(ca[i], c[i], n[i + 1], ca[i + 1])
  return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


def motion(frame, other):
  """Twelve numbers of the motion from one frame (rotation, translation) to another."""
  inverse = frame[0].T
  return np.concatenate([(inverse @ other[0]).ravel(), inverse @ (other[1] - frame[1])])


def head_by_hand(p, config, hidden, newest, numbers, anchor, taus, level, protein):
  """`Generator.end` of one protein, [T, L, 8 or 12]; newest and anchor are states, float64."""
  num_frames, length = numbers.shape[:2]
  bonded, (tau, chi_tau) = protein.bonded, taus
  ideal_n, _, ideal_c = ideal_lib.N_CA_C_POSITIONS
  after = [i + 1 if bonded[i] else None for i in range(length)]
  before = [i - 1 if i and bonded[i - 1] else None for i in range(length)]
  unit = 0.05 + (1.0 - tau) * level.translation_std
  has_chi = newest.side_chains is not None
  phase = np.pi * np.outer(taus if has_chi else [tau], [0.5, 1.0, 2.0, 4.0]).ravel()
  time = reference.dense(p['tau'], np.concatenate([np.sin(phase), np.cos(phase)]))
  context = reference.dense(p['context'], reference.layer_norm(p['context_norm'], hidden))
  if has_chi:
    free, per_angle = chi_table(protein.residue_type)
    started, aim = newest.side_chains, anchor.side_chains

  frames, x = [], np.zeros((num_frames, length, config.channels))
  for t in range(num_frames):
    turn = Rotation.from_rotvec(level.rotation_std * numbers[t, :, 3:6]).as_matrix()
    rotation = newest.frames.rotation @ turn
    shift = level.translation_std * numbers[t, :, :3]
    ca = newest.frames.translation + np.array(
      [r @ s for r, s in zip(newest.frames.rotation, shift, strict=True)]
    )
    # MD's mean and spread of N-CA-C.
    angle = np.deg2rad(112.8 + 3.4 * numbers[t, :, 6])
    bent = np.linalg.norm(ideal_c) * np.stack(
      [np.cos(angle), np.sin(angle), np.zeros(length)], axis=-1
    )
    n, c = rotation @ ideal_n + ca, np.einsum('lij,lj->li', rotation, bent) + ca
    psi = newest.torsions[:, 1] + numbers[t, :, 7]
    torsions = torsions_by_hand(n, ca, c, psi, bonded)
    frames.append((rotation, ca))
    for i in range(length):
      here = rotation[i], ca[i]
      neighbours = np.zeros((2, 12))
      strains = np.zeros((2, 4, 3))
      for side, j in enumerate((after[i], before[i])):
        if j is not None:
          neighbours[side] = motion(here, (rotation[j], ca[j]))
          neighbours[side, 9:] /= 4.0
          first, second = (i, j) if side == 0 else (j, i)
          ends = [(c, n), (ca, n), (c, ca), (ca, ca)]
          for k, ((one, two), ideal) in enumerate(zip(ends, [1.33, 2.43, 2.43, 3.8], strict=True)):
            vector = two[second] - one[first]
            strain = (1.0 - ideal / np.sqrt(vector @ vector + 1e-6)) * vector
            strains[side, k] = np.arcsinh(rotation[i].T @ strain / unit)
      conformation = [torsions[i], numbers[t, i, 6:7]]
      if has_chi:
        turned = per_angle[i] * started.chi[i] + numbers[t, i, 8:]
        conformation.append(chi_features(turned, free[i]))
      ahead = motion(here, (anchor.frames.rotation[i], anchor.frames.translation[i]))
      features = [
        numbers[t, i, :7],
        numbers[:, i, :7].ravel(),
        *conformation,
        neighbours.ravel(),
        strains.ravel(),
        ahead,
      ]
      if has_chi:
        features += [np.sin(numbers[t, i, 8:]), np.cos(numbers[t, i, 8:]), started.known[i]]
        left = per_angle[i] * aim.chi[i] - turned
        features += [np.where(aim.known[i], f(left), 0.0) for f in (np.sin, np.cos)]
      read = reference.dense(p['noised'], np.concatenate(features))
      x[t, i] = read + context[i] + p['order'][t] + time

  centre = frames[-1][1][protein.mask].mean(axis=0)
  for block in range(config.num_blocks):
    b = jax.tree.map(lambda leaf, block=block: leaf[block], p['blocks'])
    for t, (rotation, ca) in enumerate(frames):
      normed = reference.layer_norm(b['norm'], x[t])
      x[t] += reference.ipa(b['ipa'], normed, rotation, ca - centre, protein.mask)
    normed = reference.layer_norm(b['exchange_norm'], x)
    exchanged = x.copy()
    for t in range(num_frames):
      for i in range(length):
        nothing = np.zeros(config.channels)
        others = [nothing if j is None else normed[t, j] for j in (after[i], before[i])]
        others += [normed[t - shift, i] for shift in range(1, num_frames)]
        exchanged[t, i] += reference.dense(b['exchange'], np.concatenate(others))
    x = reference.transition(b['transition'], exchanged)
  out = reference.dense(p['out'], reference.layer_norm(p['out_norm'], x))
  # Karras et al. (2022), Appendix B.6, on a straight line.
  square = tau**2 + (1.0 - tau) ** 2
  ends = [tau / square * numbers[..., :7] + (1.0 - tau) / np.sqrt(square) * out[..., :7]]
  ends.append(numbers[..., 7:8] + (1.0 - tau) * out[..., 7:8])
  if has_chi:
    # Twice the variance of a wrapped normal and, where it hops or nothing is known, a uniform turn.
    anywhere = np.pi**2 / 3.0
    mixture = (1.0 - level.chi_hop) * level.chi_std**2 + level.chi_hop * anywhere
    spread = np.sqrt(2.0 * np.where(started.known, mixture, anywhere))
    ends.append(numbers[..., 8:] + np.where(free, (1.0 - chi_tau) * spread * out[..., 8:], 0.0))
  return np.concatenate(ends, axis=-1)


def with_disulphides(protein):
  """One between neighbours in space, one between residues that are too far apart for the list."""
  partner = np.full(LENGTH, -1, np.int32)
  for i, j in ((2, 5), (0, REAL - 1)):
    partner[i], partner[j] = j, i
  return dataclasses.replace(protein, disulphides=partner)


@pytest.fixture(scope='module')
def inputs():
  """Two conformations, one behind the anchor, of a protein with a break and padding."""
  rng = np.random.default_rng(2)
  protein = builders.pad(builders.helix(REAL), LENGTH)
  bonded = protein.bonded.copy()
  bonded[BREAK] = False
  protein = with_disulphides(dataclasses.replace(protein, bonded=bonded))
  # Types with every number of torsions, all four of period pi among them.
  letters = 'YKDWEPFGR' + 'QF'
  kinds = [protein_lib.RESIDUE_TYPES.index(protein_lib.THREE_LETTER[x]) for x in letters]
  protein = dataclasses.replace(protein, residue_type=np.array(kinds, np.int32))
  shape = (3, *protein.positions.shape)
  positions = protein.positions + 0.3 * rng.normal(size=shape)
  # Padding lies among the residues, where not to read it takes a mask.
  positions[:, REAL:] = positions[:, : LENGTH - REAL] + 5.0
  positions = positions.astype(np.float32)
  states = builders.numpy_jit(state_lib.from_positions)(positions, protein.bonded)
  numbers = rng.normal(size=(2, LENGTH, 12)).astype(np.float32)
  # Nothing turns where nothing can, and two in three torsions are known.
  free, _ = chi_table(protein.residue_type)
  numbers[..., 8:] *= 1.5 * free
  known = free & (rng.random((3, LENGTH, 4)) < 2 / 3)
  chi = np.where(known, rng.uniform(-np.pi, np.pi, known.shape), 0.0).astype(np.float32)
  return states, rotamers.SideChains(chi, known), numbers, protein


def run_of(config):
  @builders.numpy_jit
  def run(params, window, numbers, protein):
    network = generator.Generator(config)
    level = level_lib.Level.of(config, 'fine')
    condition = SIGMA, level.dt_ns, TEMPERATURE
    variables = {'params': params}
    features = update.features(window, protein)
    hidden = network.apply(variables, window, protein, *condition, method='encode')
    end = network.apply(variables, hidden, window, numbers, *TAUS, level, protein, method='end')
    return features, hidden, end

  return run


@pytest.mark.parametrize('with_side_chains', [False, True], ids=['backbone', 'side chains'])
def test_encoder_and_head_are_those_of_the_papers(inputs, with_side_chains):
  states, side_chains, numbers, protein = inputs
  config = CONFIGS[with_side_chains]
  params = builders.params(config)
  if with_side_chains:
    states = dataclasses.replace(states, side_chains=side_chains)
  else:
    numbers = numbers[..., :8]
  anchor = state_lib.Anchor(states[2], anchor_lib.Place(np.int32(anchor_lib.Kind.END), np.int32(3)))
  window = state_lib.Window(states[:2], np.ones(2, bool), anchor)
  features, hidden, end = run_of(config)(params, window, numbers, protein)

  p, slow, level = reference.as_float64((params, window, level_lib.Level.of(config, 'fine')))
  frames = slow.states.frames
  centre = frames.translation[-1][protein.mask].mean(axis=0)
  seen = None
  if with_side_chains:
    _, per_angle = chi_table(protein.residue_type)
    seen = chi_features(per_angle * slow.states.side_chains.chi, side_chains.known[:2])
  expected = reference.encoder(
    p['encoder'],
    config.encoder,
    features.astype(np.float64),
    frames.rotation,
    frames.translation - centre,
    window.known,
    protein,
    (float(SIGMA), float(level.dt_ns), float(TEMPERATURE)),
    seen,
  )[-1]
  real = protein.mask
  assert expected[real].std() > 0.1
  np.testing.assert_allclose(hidden[real], expected[real], rtol=0, atol=1e-4 * expected[real].std())

  expected = head_by_hand(
    p['head'],
    config.head,
    hidden.astype(np.float64),
    slow.states[-1],
    numbers.astype(np.float64),
    slow.anchor.state,
    np.float64(TAUS),
    level,
    protein,
  )[:, real]
  np.testing.assert_allclose(end[:, real], expected, rtol=0, atol=1e-4 * expected.std())
