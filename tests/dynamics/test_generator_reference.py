"""Encoder and head of a generative step against numpy in float64, written the slow way."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import generator, rotamer_table, rotamers, update
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import ideal as ideal_lib
from tempo_jax.geometry import side_chains as geometry
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
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


def by_wells(chi, known, per_angle):
  """[..., 4, 3]: one of the thirds of the circle about 60, 180 and -60 degrees, if it is known."""
  third = np.floor(np.mod(chi * per_angle, 2.0 * np.pi) / (2.0 * np.pi / 3.0))
  return known[..., None] * (third[..., None] == np.arange(3))


def wells_table(residue_type):
  """[L, 4, 3] each: from the middle of each well to where its type stands, and spreads, degrees."""
  centre, spread = np.zeros((len(residue_type), 4, 3)), np.ones((len(residue_type), 4, 3))
  for line in rotamer_table.WELLS.strip().splitlines():
    name, chi, *numbers = line.split()
    own = np.equal(residue_type, protein_lib.RESIDUE_TYPES.index(name))
    centre[own, int(chi) - 1] = np.array(numbers[::2], float)
    spread[own, int(chi) - 1] = np.array(numbers[1::2], float)
  return centre, spread


def offsets_by_hand(chi, known, per_angle, table):
  """[..., L, 4, 3]: the offset in the well that a torsion is in; 0 in others."""
  centre, spread = table
  phase = np.rad2deg(chi * per_angle)[..., None]
  off = (phase - np.array([60.0, 180.0, 300.0]) + 180.0) % 360.0 - 180.0
  return by_wells(chi, known, per_angle) * (off - centre) / spread


def reach_by_hand(chi, known, free, residue_type):
  """[L, 9] in units of 4 Å: the first atom beyond CB, the last, and the mean of those beyond CB."""
  backbone = np.concatenate([ideal_lib.N_CA_C_POSITIONS, np.zeros((1, 3))])
  backbone = np.broadcast_to(backbone.astype(np.float32), (len(chi), 4, 3))
  atoms = np.float64(geometry.heavy_atoms(backbone, chi.astype(np.float32), residue_type))
  found = np.zeros((len(chi), 3, 3))
  for i, kind in enumerate(residue_type):
    beyond = range(5, len(side_chain_atoms.ATOM_NAMES[kind]))
    if known[i, 0]:
      found[i, 0] = atoms[i, 5]
    if known[i, 0] and known[i, free[i]].all():
      found[i, 1:] = atoms[i, beyond[-1]], np.mean([atoms[i, a] for a in beyond], axis=0)
  return found.reshape(len(chi), 9) / 4.0


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


def head_by_hand(p, config, hidden, window, step, anchor, taus, level, protein):
  """`Generator.end` of one protein, [T, L, 8 or 12], and logits; states, those of the window
  that are known and the anchor's, are float64."""
  newest = window[-1]
  numbers, wells = step.numbers, step.wells
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
    started = newest.side_chains
    nothing = rotamers.SideChains(np.zeros_like(started.chi), np.zeros_like(started.known))
    aim = anchor.side_chains if anchor else nothing
    shown = wells[..., None] == np.arange(3)
    goes_by = [
      by_wells(started.chi, started.known, per_angle),
      None,
      by_wells(aim.chi, aim.known, per_angle),
    ]
    goes_by = np.stack(
      [
        np.stack([goes_by[0], shown.sum(axis=0) - shown[t], goes_by[2]], axis=1)
        for t in range(num_frames)
      ]
    )  # [T, L, 3, 4, 3]
    centre, spread = table = wells_table(protein.residue_type)
    goes_on = np.zeros((num_frames, 2, length, 4))
    before_and_aim = [[state.side_chains for state in window], [aim]]
    for k, conformations in enumerate(before_and_aim):
      every = [(y.chi, y.known, per_angle) for y in conformations]
      counts = sum(by_wells(*y) for y in every)
      total = sum(offsets_by_hand(*y, table) for y in every)
      mean = np.where(counts > 0, total / np.maximum(counts, 1), 0.0)
      goes_on[:, k] = np.where(shown, mean, 0.0).sum(axis=-1)

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
        there = free[i] & (wells[t, i] >= 0)
        own = np.arange(4), wells[t, i].astype(int)
        off = centre[i][own] + spread[i][own] * numbers[t, i, 8:]
        phase = np.deg2rad(60.0 + 120.0 * wells[t, i] + off)
        conformation.append(chi_features(phase, there))
      ahead = np.zeros(12)
      if anchor:
        ahead = motion(here, (anchor.frames.rotation[i], anchor.frames.translation[i]))
      features = [
        numbers[t, i, :7],
        numbers[:, i, :7].ravel(),
        *conformation,
        neighbours.ravel(),
        strains.ravel(),
        # Expected to stay, as certain as one step of the level is long.
        [0.0, 0.0, 0.0, np.log(level.translation_std)],
        ahead,
      ]
      if has_chi:
        here = phase / per_angle[i], there, free[i], protein.residue_type[i]
        reach = reach_by_hand(*(np.asarray(x)[None] for x in here))
        features += [numbers[t, i, 8:], reach[0], shown[t, i].ravel(), goes_by[t, i].ravel()]
        features.append(goes_on[t, :, i].ravel())
        features.append(chi_features(per_angle[i] * aim.chi[i], aim.known[i]))
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
  if not has_chi:
    return np.concatenate(ends, axis=-1), None
  square = chi_tau**2 + (1.0 - chi_tau) ** 2
  of_chi = out[..., 12:].reshape(*wells.shape, 8)
  place = out[..., 8:12] + np.einsum('tlck,tklc->tlc', of_chi[..., 6:], goes_on)
  place = chi_tau / square * numbers[..., 8:] + (1.0 - chi_tau) / np.sqrt(square) * place
  ends.append(np.where(free, place, 0.0))
  logits = of_chi[..., :3] + np.einsum('tlck,tlkcw->tlcw', of_chi[..., 3:6], goes_by)
  return np.concatenate(ends, axis=-1), logits


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
  solvent = np.int32(protein_lib.SOLVENTS.index('implicit'))
  kinds = np.array(kinds, np.int32)
  protein = dataclasses.replace(protein, residue_type=kinds, solvent=solvent)
  shape = (3, *protein.positions.shape)
  positions = protein.positions + 0.3 * rng.normal(size=shape)
  # Padding lies among the residues, where not to read it takes a mask.
  positions[:, REAL:] = positions[:, : LENGTH - REAL] + 5.0
  positions = positions.astype(np.float32)
  states = builders.numpy_jit(state_lib.from_positions)(positions, protein.bonded)
  numbers = rng.normal(size=(2, LENGTH, 12)).astype(np.float32)
  # Two in three torsions are known, and half of the wells are drawn.
  free, _ = chi_table(protein.residue_type)
  numbers[..., 8:] *= free
  wells = rng.integers(0, 3, (2, LENGTH, 4))
  wells = np.where(free & (rng.random(wells.shape) < 0.5), wells, -1).astype(np.int32)
  known = free & (rng.random((3, LENGTH, 4)) < 2 / 3)
  chi = np.where(known, rng.uniform(-np.pi, np.pi, known.shape), 0.0).astype(np.float32)
  return states, rotamers.SideChains(chi, known), generator.Step(numbers, wells), protein


def run_of(config):
  @builders.numpy_jit
  def run(params, window, step, protein):
    network = generator.Generator(config)
    level = level_lib.Level.of(config, 'fine')
    condition = SIGMA, level.dt_ns, TEMPERATURE
    variables = {'params': params}
    features = update.features(window, protein)
    hidden = network.apply(variables, window, protein, *condition, method='encode')
    expected = expected_lib.still(window.states[-1], level, config.window)
    end = network.apply(variables, hidden, window, step, *TAUS, expected, protein, method='end')
    return features, hidden, end

  return run


@pytest.mark.parametrize(
  ('with_side_chains', 'known', 'ahead'),
  [
    (False, (True, True), 3),
    (True, (True, True), 3),
    (True, (False, True), 3),
    (True, (True, True), 0),
  ],
  ids=['backbone', 'side chains', 'a first window', 'a passed anchor'],
)
def test_encoder_and_head_are_those_of_the_papers(inputs, with_side_chains, known, ahead):
  states, side_chains, step, protein = inputs
  config = CONFIGS[with_side_chains]
  params = builders.params(config)
  if with_side_chains:
    states = dataclasses.replace(states, side_chains=side_chains)
  else:
    step = generator.Step(step.numbers[..., :8])
  anchor = state_lib.Anchor(
    states[2], anchor_lib.Place(np.int32(anchor_lib.Kind.END), np.int32(ahead))
  )
  window = state_lib.Window(states[:2], np.array(known), anchor)
  features, hidden, end = run_of(config)(params, window, step, protein)

  p, slow, level = reference.as_float64((params, window, level_lib.Level.of(config, 'fine')))
  frames = slow.states.frames
  centre = frames.translation[-1][protein.mask].mean(axis=0)
  seen = None
  if with_side_chains:
    free, per_angle = chi_table(protein.residue_type)
    chi, there = slow.states.side_chains.chi, side_chains.known[:2]
    reach = [reach_by_hand(chi[t], there[t], free, protein.residue_type) for t in range(2)]
    seen = np.concatenate([chi_features(per_angle * chi, there), reach], axis=-1)
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

  expected, expected_logits = head_by_hand(
    p['head'],
    config.head,
    hidden.astype(np.float64),
    [slow.states[t] for t in np.flatnonzero(known)],
    reference.as_float64(step) if with_side_chains else step,
    slow.anchor.state if ahead else None,
    np.float64(TAUS),
    level,
    protein,
  )
  found, logits = (None if x is None else x[:, real] for x in end)
  expected = expected[:, real]
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.std())
  assert (logits is None) == (expected_logits is None)
  if with_side_chains:
    expected = expected_logits[:, real]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * expected.std())
