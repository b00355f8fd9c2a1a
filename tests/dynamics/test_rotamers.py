"""Side chains as wells of rotamers and places within them: phases, images, order."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax.dynamics import rotamer_table, rotamers
from tempo_jax.geometry import ideal
from tempo_jax.geometry import side_chains as geometry
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tests import builders, heavy_atoms

# By three-letter code, how many torsions are free: of the closed ring of PRO, one.
NUM_CHI = {
  **dict.fromkeys(['GLY', 'ALA', 'UNK'], 0),
  **dict.fromkeys(['CYS', 'PRO', 'SER', 'THR', 'VAL'], 1),
  **dict.fromkeys(['ASP', 'PHE', 'HIS', 'ILE', 'LEU', 'ASN', 'TRP', 'TYR'], 2),
  **dict.fromkeys(['GLU', 'MET', 'GLN'], 3),
  **dict.fromkeys(['LYS', 'ARG'], 4),
}
FLIPS = {('PHE', 1), ('TYR', 1), ('ASP', 1), ('GLU', 2)}
TYPES = heavy_atoms.ALL_TYPES
FREE = np.array([np.arange(4) < NUM_CHI[name] for name in protein_lib.RESIDUE_TYPES])
PER_ANGLE = np.array(
  [[1 + ((name, k) in FLIPS) for k in range(4)] for name in protein_lib.RESIDUE_TYPES]
)
STAGGERED = side_chain_atoms.staggered_mask(TYPES)

wells = builders.numpy_jit(rotamers.wells)
offsets = builders.numpy_jit(rotamers.offsets)
placed = builders.numpy_jit(rotamers.placed)
reach = builders.numpy_jit(rotamers.reach)
features = builders.numpy_jit(rotamers.features)


def of_type(name, k, well):
  """From the middle of a well to where a type stands, and its spread, degrees of phase."""
  (line,) = [x for x in rotamer_table.WELLS.splitlines() if x.startswith(f'{name} {k + 1} ')]
  centre, spread = line.split()[2 + 2 * well : 4 + 2 * well]
  return float(centre), float(spread)


# Of every type, chi and well, [21, 4, 3] degrees; 0 and 1 where there is no torsion.
CENTRE, SPREAD = np.zeros((len(TYPES), 4, 3)), np.ones((len(TYPES), 4, 3))
for kind, k in np.argwhere(FREE):
  for well in range(3):
    CENTRE[kind, k, well], SPREAD[kind, k, well] = of_type(protein_lib.RESIDUE_TYPES[kind], k, well)


def circular(a):
  return np.abs(np.angle(np.exp(1j * np.asarray(a, np.float64))))


@pytest.fixture
def known(np_rng):
  """[L] every type, every torsion known."""
  chi = np.where(FREE, np_rng.uniform(-np.pi, np.pi, FREE.shape), 0.0)
  return rotamers.SideChains(chi.astype(np.float32), FREE)


def test_what_is_free():
  np.testing.assert_array_equal(rotamers.free(TYPES), FREE)
  np.testing.assert_array_equal(rotamers.unknown(TYPES).known, False)
  protein = builders.helix(5)
  assert not np.any(rotamers.of_protein(protein).known)
  protein = builders.with_side_chains(protein, known=0.5)
  found = rotamers.of_protein(protein)
  np.testing.assert_array_equal(found.chi, protein.chi)
  np.testing.assert_array_equal(found.known, protein.chi_known)


def test_a_flip_is_no_motion(known):
  """Half a turn of a ring or a carboxylate: the same well, place and features, and atoms."""
  flips = (PER_ANGLE == 2).astype(np.float32)
  flipped = dataclasses.replace(known, chi=known.chi + np.float32(np.pi) * flips)
  np.testing.assert_array_equal(wells(flipped, TYPES), wells(known, TYPES))
  np.testing.assert_allclose(offsets(flipped, TYPES), offsets(known, TYPES), atol=1e-4)
  np.testing.assert_allclose(features(flipped, TYPES), features(known, TYPES), atol=1e-5)
  # Any other half turn is another well.
  other = dataclasses.replace(known, chi=known.chi + np.float32(np.pi) * FREE * (1 - flips))
  same = wells(other, TYPES) == wells(known, TYPES)
  np.testing.assert_array_equal(same, (flips == 1) | ~FREE)
  # Atoms of the same elements are in the same places: the nearest of the same element is there.
  backbone, _ = heavy_atoms.helix(1)
  place = builders.numpy_jit(geometry.heavy_atoms)
  before, after = (place(backbone[0], x.chi, TYPES) for x in (known, flipped))
  for kind, names in enumerate(side_chain_atoms.ATOM_NAMES):
    for i, name in enumerate(names):
      same = [k for k, other in enumerate(names) if other[0] == name[0]]
      gaps = np.linalg.norm(before[kind, same] - after[kind, i], axis=-1)
      assert gaps.min() < 0.1, name


def test_phases_are_seen_where_known(known, np_rng):
  some = FREE & (np_rng.random(FREE.shape) < 0.5)
  seen = rotamers.SideChains(known.chi, some)
  found = features(seen, TYPES)
  phase = PER_ANGLE * np.float64(known.chi)
  np.testing.assert_allclose(found[:, :4], some * np.sin(phase), atol=1e-5)
  np.testing.assert_allclose(found[:, 4:8], some * np.cos(phase), atol=1e-5)
  np.testing.assert_array_equal(found[:, 8:], some)


def test_wells_are_thirds_of_the_circle(known):
  """Every degree but the borders: about 60, 180 and -60; offsets in units of MD of the type."""
  degrees = np.arange(-179.5, 180.0, 1.0)
  phase = np.deg2rad(degrees)[:, None, None] / PER_ANGLE
  chi = np.where(FREE, phase, 0.0).astype(np.float32)
  side_chains = rotamers.SideChains(chi, np.broadcast_to(FREE, chi.shape))
  found, place = wells(side_chains, TYPES), offsets(side_chains, TYPES)
  for well, centre in enumerate((60.0, 180.0, -60.0)):
    off = (degrees - centre + 180.0) % 360.0 - 180.0
    np.testing.assert_array_equal(
      found[:, FREE] == well, np.tile(np.abs(off) < 60.0, (FREE.sum(), 1)).T
    )
    inside = np.abs(off) < 60.0
    expected = (off[inside, None, None] - CENTRE[..., well]) / SPREAD[..., well]
    np.testing.assert_allclose(place[inside][:, FREE], expected[:, FREE], atol=1e-3)
  assert (found[:, ~FREE] == rotamers.HIDDEN).all()
  assert (place[:, ~FREE] == 0.0).all()
  # Nothing is beyond the last third, where a remainder rounds up.
  edge = rotamers.SideChains(np.full_like(known.chi, -1e-9), FREE)
  assert set(wells(edge, TYPES)[FREE]) <= {0, 2}


def test_types_stand_where_rotamer_libraries_have_them():
  """Degrees from staggered, of rotamers that Lovell et al., Proteins 40, 389 (2000), list."""
  for name, k, well, angle in (
    ('LEU', 1, 0, 65.0),  # mt: -65, 175
    ('VAL', 0, 1, 175.0),  # t
    ('THR', 0, 0, 62.0),  # p
    ('ILE', 1, 1, 170.0),  # mt: -65, 170
    ('PHE', 0, 2, -65.0),  # m
    ('LYS', 3, 1, 180.0),  # mttt
    ('ARG', 3, 0, 85.0),  # mtt85
    ('ARG', 3, 2, -85.0),  # mtt-85
    ('PRO', 0, 0, 30.0),  # Cγ endo
    ('PRO', 0, 2, -30.0),  # exo
  ):
    kind = protein_lib.RESIDUE_TYPES.index(name)
    middle = (60.0, 180.0, -60.0)[well]
    near = np.deg2rad(8.0 if name in ('ARG', 'PRO') else 4.5)
    assert circular(np.deg2rad(middle + CENTRE[kind, k, well] - angle)) < near, name
  # Between tetrahedral carbons they spread alike, elsewhere over most of a third.
  assert 9.0 < SPREAD[STAGGERED].min() < SPREAD[STAGGERED].max() < 20.0
  assert SPREAD[protein_lib.RESIDUE_TYPES.index('GLU'), 2].min() > 30.0
  assert SPREAD.max() < 40.0


def test_what_is_not_known_is_in_no_well(known, np_rng):
  some = FREE & (np_rng.random(FREE.shape) < 0.5)
  found = rotamers.SideChains(known.chi, some)
  np.testing.assert_array_equal(wells(found, TYPES) == rotamers.HIDDEN, ~some)
  np.testing.assert_array_equal(offsets(found, TYPES)[~some], 0.0)
  seen = builders.numpy_jit(rotamers.seen_wells)(wells(found, TYPES))
  np.testing.assert_array_equal(seen.sum(axis=-1), some)
  np.testing.assert_array_equal(seen.argmax(axis=-1)[some], wells(found, TYPES)[some])


def test_placed_is_the_inverse_of_wells_and_offsets(known, np_rng):
  """Of three other conformations; what is hidden is not known afterwards."""
  shape = (3, *FREE.shape)
  there = np.broadcast_to(FREE, shape)
  chi = np.where(FREE, np_rng.uniform(-np.pi, np.pi, shape), 0.0).astype(np.float32)
  other = rotamers.SideChains(chi, there)
  before = jax.tree.map(lambda x: x[None], known)
  found, within = wells(other, TYPES), offsets(other, TYPES)
  after = placed(found, within, before, TYPES)
  np.testing.assert_array_equal(after.known, there)
  np.testing.assert_array_equal(after.chi[~there], 0.0)
  assert circular(PER_ANGLE * (after.chi - np.float64(chi)))[there].max() < 1e-4
  # Of the images of a ring the one is written that is nearest to the one before.
  by = circular(after.chi - known.chi)
  assert (by <= np.pi / PER_ANGLE + 1e-5)[there].all()
  hidden = np_rng.random(shape) < 0.5
  partly = placed(np.where(hidden, rotamers.HIDDEN, found), within, before, TYPES)
  np.testing.assert_array_equal(partly.known, there & ~hidden)
  np.testing.assert_array_equal(partly.chi[~partly.known], 0.0)
  np.testing.assert_array_equal(partly.chi[partly.known], after.chi[partly.known])


def test_a_proline_keeps_the_pucker_of_its_well(known):
  """Other torsions go as far as their offsets say."""
  found = np.where(FREE, 2, rotamers.HIDDEN)[None]
  far = np.full((1, *FREE.shape), -11.0, np.float32)
  after = placed(found, far, jax.tree.map(lambda x: x[None], known), TYPES)
  proline = np.equal(TYPES, protein_lib.RESIDUE_TYPES.index('PRO'))
  off = np.deg2rad(-60.0 + CENTRE[..., 2] - 11.0 * SPREAD[..., 2])
  free = FREE & ~proline[:, None]
  assert circular(PER_ANGLE * np.float64(after.chi[0]) - off)[free].max() < 1e-4
  # To the border at -120 degrees, and no farther.
  assert (wells(after, TYPES) == found)[0, proline].all()
  assert abs(after.chi[0, proline, 0] + np.deg2rad(120.0)).max() < np.deg2rad(1)


def test_what_was_not_known_is_placed_all_the_same(known):
  nothing = rotamers.unknown(TYPES)
  np.testing.assert_array_equal(nothing.chi, 0.0)
  drawn = placed(wells(known, TYPES), offsets(known, TYPES), nothing, TYPES)
  np.testing.assert_array_equal(drawn.known, FREE)
  # A flipped ring may come out: the same one.
  assert circular(PER_ANGLE * (drawn.chi - known.chi)).max() < 1e-4


def test_where_side_chains_are(known, np_rng):
  """In the frames of residues, of atoms built in space; zero where a torsion is missing."""
  atoms, _ = heavy_atoms.helix(1)
  kinds = len(TYPES)
  rotation, shift = builders.random_motion(4, translation=20.0)
  ideal_atoms = np.concatenate([ideal.N_CA_C_POSITIONS, np.zeros((1, 3))])
  moved = np.broadcast_to(ideal_atoms @ rotation.T + shift, (kinds, 4, 3)).astype(np.float32)
  atoms = builders.numpy_jit(geometry.heavy_atoms)(moved, known.chi, TYPES)
  local = (atoms.astype(np.float64) - shift) @ rotation / 4.0
  some = FREE & (np_rng.random(FREE.shape) < 0.6)
  found = reach(rotamers.SideChains(known.chi, some), TYPES).reshape(kinds, 3, 3)
  for kind, names in enumerate(side_chain_atoms.ATOM_NAMES):
    expected = np.zeros((3, 3))
    if some[kind, 0]:
      expected[0] = local[kind, 5]
      if some[kind, FREE[kind]].all():
        expected[1] = local[kind, len(names) - 1]
        expected[2] = local[kind, 5 : len(names)].mean(axis=0)
    np.testing.assert_allclose(found[kind], expected, atol=1e-4)


def test_jitter_leaves_the_unknown_alone(known, np_rng):
  some = FREE & (np_rng.random(FREE.shape) < 0.5)
  before = rotamers.SideChains(np.where(some, known.chi, 0.0).astype(np.float32), some)
  phases = np_rng.normal(size=FREE.shape).astype(np.float32)
  after = builders.numpy_jit(rotamers.jittered)(before, phases, TYPES)
  np.testing.assert_array_equal(after.known, some)
  np.testing.assert_array_equal(after.chi[~some], 0.0)
  assert circular(after.chi - before.chi - phases / PER_ANGLE)[some].max() < 1e-5


def test_a_bare_backbone_knows_nothing(known):
  bare, same = known.unless(jnp.array(True)), known.unless(jnp.array(False))
  np.testing.assert_array_equal(bare.chi, 0.0)
  assert not np.any(bare.known)
  np.testing.assert_array_equal(same.chi, known.chi)
  np.testing.assert_array_equal(same.known, known.known)


def test_wells_are_drawn_frame_by_frame_and_chi_by_chi():
  """Of every residue one frame after the other, and chi 1 and 3 of it before chi 2 and 4."""
  order = np.asarray(rotamers.draw_order(jax.random.key(0), 2, 4_000))
  assert order.shape == (2, 4_000, 4)
  quarter = np.floor(4.0 * order).astype(int)
  assert (quarter[..., 0] == quarter[..., 2]).all()
  np.testing.assert_array_equal(quarter[..., 1], quarter[..., 0] + 1)
  np.testing.assert_array_equal(quarter[..., 3], quarter[..., 1])
  # Which frame comes first, each residue says for itself.
  first = quarter[:, :, 0] == 0
  assert (first.sum(axis=0) == 1).all()
  assert first[0].mean() == pytest.approx(0.5, abs=0.05)
  # Evenly over the way.
  assert np.mean(order) == pytest.approx(0.5, abs=0.01)
  assert np.abs(np.histogram(order, np.linspace(0, 1, 9))[0] / order.size - 1 / 8).max() < 0.01


def test_the_order_is_drawn_residue_by_residue():
  short, long = (rotamers.draw_order(jax.random.key(1), 3, length) for length in (5, 9))
  np.testing.assert_array_equal(short, long[:, :5])


# By three-letter code, how many torsions, from the first, are about bonds of tetrahedral carbons.
NUM_STAGGERED = {
  **dict.fromkeys(['GLY', 'ALA', 'UNK', 'PRO'], 0),
  **dict.fromkeys(['CYS', 'SER', 'THR', 'VAL', 'ASP', 'ASN', 'PHE', 'TYR', 'TRP', 'HIS'], 1),
  **dict.fromkeys(['GLU', 'GLN', 'ILE', 'LEU', 'MET'], 2),
  'ARG': 3,
  'LYS': 4,
}


def test_eclipsed_torsions_are_brought_back(known):
  """Every degree of every torsion: what is within 1.7 spreads of where the type stands, stays."""
  run = builders.numpy_jit(rotamers.closed)
  degrees = np.arange(-179.5, 180.0, 1.0)
  chi = np.where(known.known, np.deg2rad(degrees)[:, None, None], 0.0).astype(np.float32)
  there = np.broadcast_to(known.known, chi.shape)
  after = run(rotamers.SideChains(chi, there), TYPES)
  np.testing.assert_array_equal(after.known, there)
  np.testing.assert_array_equal(after.chi[~there], 0.0)
  middles = np.array([60.0, 180.0, -60.0])
  apart = (degrees[:, None] - middles + 180.0) % 360.0 - 180.0
  well = np.abs(apart).argmin(axis=1)
  off = apart[np.arange(len(degrees)), well]
  for kind, name in enumerate(protein_lib.RESIDUE_TYPES):
    for k in range(NUM_CHI[name]):
      moved = np.rad2deg(after.chi[:, kind, k]) - degrees
      if name == 'PRO':
        want = np.clip(degrees, -40.0, 40.0) - degrees
      elif k < NUM_STAGGERED[name]:
        knee, about = 1.7 * SPREAD[kind, k, well], off - CENTRE[kind, k, well]
        want = -0.6 * np.sign(about) * np.maximum(np.abs(about) - knee, 0.0)
      else:
        want = np.zeros(len(degrees))
      np.testing.assert_allclose((moved - want + 180.0) % 360.0 - 180.0, 0.0, atol=1e-3)


def test_closing_is_no_part_of_the_derivative(known):
  def total(chi):
    return jnp.sum(rotamers.closed(rotamers.SideChains(chi, known.known), TYPES).chi)

  chi = jnp.asarray(np.where(known.known, 0.1, 0.0).astype(np.float32))
  gradient = builders.numpy_jit(jax.grad(total))(chi)
  np.testing.assert_allclose(gradient, known.known.astype(np.float32), atol=1e-5)


def test_a_side_chain_of_which_nothing_is_known_stays_so():
  bare = rotamers.unknown(TYPES)
  after = builders.numpy_jit(rotamers.closed)(bare, TYPES)
  np.testing.assert_array_equal(after.chi, 0.0)
  assert not after.known.any()
