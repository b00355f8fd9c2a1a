"""Encoder and head of a generative step against numpy in float64, written the slow way."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import generator, update
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import ideal as ideal_lib
from tests import builders
from tests.encoder import reference

LENGTH, REAL, BREAK = 11, 9, 4
CONFIG = builders.generative_config(anchors='both')
SIGMA, TEMPERATURE, TAU = (np.float32(x) for x in (0.05, 340.0, 0.7))


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


def head_by_hand(p, config, hidden, newest, numbers, anchor, tau, level, protein):
  """`Generator.end` of one protein, [T, L, 7]; newest and anchor are states, float64."""
  num_frames, length = numbers.shape[:2]
  bonded = protein.bonded
  ideal_n, _, ideal_c = ideal_lib.N_CA_C_POSITIONS
  after = [i + 1 if bonded[i] else None for i in range(length)]
  before = [i - 1 if i and bonded[i - 1] else None for i in range(length)]
  unit = 0.05 + (1.0 - tau) * level.translation_std
  phase = np.pi * tau * np.array([0.5, 1.0, 2.0, 4.0])
  time = reference.dense(p['tau'], np.concatenate([np.sin(phase), np.cos(phase)]))
  context = reference.dense(p['context'], reference.layer_norm(p['context_norm'], hidden))

  frames, x = [], np.zeros((num_frames, length, config.channels))
  for t in range(num_frames):
    turn = Rotation.from_rotvec(level.rotation_std * numbers[t, :, 3:6]).as_matrix()
    rotation = newest.frames.rotation @ turn
    shift = level.translation_std * numbers[t, :, :3]
    ca = newest.frames.translation + np.array(
      [r @ s for r, s in zip(newest.frames.rotation, shift, strict=True)]
    )
    n, c = rotation @ ideal_n + ca, rotation @ ideal_c + ca
    # Torsions are those of the atoms; strain that of ideal residues.
    bent = np.linalg.norm(ideal_c) * np.stack(
      [np.cos(newest.n_ca_c), np.sin(newest.n_ca_c), 0.0 * newest.n_ca_c], axis=-1
    )
    true_c = np.einsum('lij,lj->li', rotation, bent) + ca
    psi = newest.torsions[:, 1] + numbers[t, :, 6]
    torsions = torsions_by_hand(n, ca, true_c, psi, bonded)
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
      ahead = motion(here, (anchor.frames.rotation[i], anchor.frames.translation[i]))
      features = [
        numbers[t, i, :6],
        numbers[:, i, :6].ravel(),
        torsions[i],
        neighbours.ravel(),
        strains.ravel(),
        ahead,
      ]
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
  motions = tau / square * numbers[..., :6] + (1.0 - tau) / np.sqrt(square) * out[..., :6]
  return np.concatenate([motions, numbers[..., 6:] + (1.0 - tau) * out[..., 6:]], axis=-1)


@pytest.fixture(scope='module')
def inputs():
  """Two conformations, one behind the anchor, of a protein with a break and padding."""
  rng = np.random.default_rng(2)
  protein = builders.pad(builders.helix(REAL), LENGTH)
  bonded = protein.bonded.copy()
  bonded[BREAK] = False
  protein = dataclasses.replace(protein, bonded=bonded)
  shape = (3, *protein.positions.shape)
  positions = protein.positions + 0.3 * rng.normal(size=shape)
  # Padding lies among the residues, where not to read it takes a mask.
  positions[:, REAL:] = positions[:, : LENGTH - REAL] + 5.0
  positions = positions.astype(np.float32)
  states = builders.numpy_jit(state_lib.from_positions)(positions, protein.bonded)
  anchor = state_lib.Anchor(states[2], anchor_lib.Place(np.int32(anchor_lib.Kind.END), np.int32(3)))
  window = state_lib.Window(states[:2], np.ones(2, bool), anchor)
  numbers = rng.normal(size=(2, LENGTH, 7)).astype(np.float32)
  return window, numbers, protein


@pytest.fixture(scope='module')
def params():
  return builders.params(CONFIG)


@builders.numpy_jit
def run(params, window, numbers, protein):
  network = generator.Generator(CONFIG)
  level = level_lib.Level.of(CONFIG, 'fine')
  condition = SIGMA, level.dt_ns, TEMPERATURE
  variables = {'params': params}
  features = update.features(window)
  hidden = network.apply(variables, window, protein, *condition, method='encode')
  end = network.apply(variables, hidden, window, numbers, TAU, level, protein, method='end')
  return features, hidden, end


def test_encoder_and_head_are_those_of_the_papers(inputs, params):
  window, numbers, protein = inputs
  features, hidden, end = run(params, window, numbers, protein)

  p, slow, level = reference.as_float64((params, window, level_lib.Level.of(CONFIG, 'fine')))
  frames = slow.states.frames
  centre = frames.translation[-1][protein.mask].mean(axis=0)
  expected = reference.encoder(
    p['encoder'],
    CONFIG.encoder,
    features.astype(np.float64),
    frames.rotation,
    frames.translation - centre,
    window.known,
    protein,
    (float(SIGMA), float(level.dt_ns), float(TEMPERATURE)),
  )[-1]
  real = protein.mask
  assert expected[real].std() > 0.1
  np.testing.assert_allclose(hidden[real], expected[real], rtol=0, atol=1e-4 * expected[real].std())

  newest = slow.states[-1]
  expected = head_by_hand(
    p['head'],
    CONFIG.head,
    hidden.astype(np.float64),
    newest,
    numbers.astype(np.float64),
    slow.anchor.state,
    float(TAU),
    level,
    protein,
  )[:, real]
  np.testing.assert_allclose(end[:, real], expected, rtol=0, atol=1e-4 * expected.std())
