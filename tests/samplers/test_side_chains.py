"""Side chains on given backbones: what they depend on, and how they go on from frame to frame."""

import dataclasses

import jax
import numpy as np
import pytest

from tempo_jax.dynamics import molecule, rotamers, side_chain_relief, transition
from tempo_jax.dynamics import state as state_lib
from tempo_jax.errors import InputError
from tempo_jax.models import model as model_lib
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tempo_jax.samplers import side_chains
from tests import builders

LENGTH, FRAMES, BLOCK = 10, 10, 6
CONFIG = builders.generative_config(anchors='both', reference=True, side_chains=True)


def between(a, b):
  """Radians, on the circle."""
  return np.abs(np.angle(np.exp(1j * (np.float64(a) - b))))


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
  monkeypatch.setattr(side_chains, '_BLOCK_FRAMES', BLOCK)


@pytest.fixture(scope='module')
def protein():
  return builders.with_side_chains(builders.helix(LENGTH, chains=2))


@pytest.fixture(scope='module')
def there(protein):
  return side_chain_atoms.chi_mask(protein.residue_type)


@pytest.fixture(scope='module')
def positions(protein):
  """[F, L, 4, 3]: residues that wander."""
  rng = np.random.default_rng(3)
  walk = 0.1 * np.cumsum(rng.normal(size=(FRAMES, LENGTH, 1, 3)), axis=0)
  return (protein.positions + walk).astype(np.float32)


def place(protein, positions, config=CONFIG, params=None, seed=0, spacing_ns=0.1):
  if params is None:
    params = {name: builders.params(config, k) for k, name in enumerate(config.levels)}
  blocks = (positions[k : k + BLOCK] for k in range(0, len(positions), BLOCK))
  rng = jax.random.key(seed)
  placed = side_chains.place(config, params, protein, blocks, spacing_ns, rng, 320.0)
  return np.concatenate(list(placed))


@pytest.fixture(scope='module')
def before(protein, positions):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(side_chains, '_BLOCK_FRAMES', BLOCK)
    return place(protein, positions)


def test_every_torsion_is_there_and_nothing_else(before, there):
  assert before.shape == (FRAMES, LENGTH, 4)
  np.testing.assert_array_equal(before[:, ~there], 0.0)
  assert (before[:, there] != 0.0).all()
  assert np.abs(before).max() <= np.float32(np.pi)


def test_tumbling_changes_nothing(protein, positions, before):
  """Each frame moves as it likes."""
  moved = []
  for k, frame in enumerate(positions):
    rotation, shift = builders.random_motion(k, translation=20.0)
    moved.append(frame @ rotation.T + shift)
  assert between(place(protein, np.float32(moved)), before).max() < 1e-4


def test_the_backbone_that_is_given_is_seen(protein, positions, before, there):
  """At once, by its frame and those after it; those of windows before do not know of it."""
  other = positions.copy()
  other[4:] += 0.5 * np.random.default_rng(0).normal(size=(LENGTH, 1, 3)).astype(np.float32)
  difference = between(place(protein, other), before)[:, there]
  np.testing.assert_array_equal(difference[:4], 0.0)
  assert (difference[4:] > 1e-6).mean() > 0.95


def test_a_mirror_image_is_another_protein(protein, positions, before, there):
  mirrored = dataclasses.replace(protein, chi=-protein.chi)
  after = place(mirrored, positions * np.float32([1.0, -1.0, 1.0]))
  assert between(-after, before)[:, there].max() > 0.05


def test_padding_changes_nothing_and_is_cut_off(protein, positions, before):
  model = model_lib.Model(
    'toy', CONFIG, {name: builders.params(CONFIG, k) for k, name in enumerate(CONFIG.levels)}
  )
  numbers, codes = np.arange(1, LENGTH + 1), ('',) * LENGTH
  whole = protein_lib.Protein('toy', protein, ('A', 'B'), numbers, codes)
  assert len(model_lib.padded(whole).mask) > LENGTH
  found = model.side_chains(whole, positions, 0.1, jax.random.key(0))
  assert found.shape == before.shape
  assert between(found, before).max() < 1e-4
  # What is known of side chains stays.
  some = np.where(np.arange(FRAMES)[:, None, None] % 2 == 0, before, np.nan)
  completed = model.complete_side_chains(whole, positions, some, 0.1, jax.random.key(0), 320.0)
  np.testing.assert_array_equal(completed[::2], before[::2])
  assert np.isfinite(completed).all()
  np.testing.assert_array_equal(
    model.complete_side_chains(whole, positions, before, 0.1, jax.random.key(0), 320.0), before
  )


def test_blocks_do_not_know_of_what_comes_after_them(protein, positions, before):
  """Nor does the last block of what it is filled up with."""
  np.testing.assert_array_equal(place(protein, positions[:BLOCK]), before[:BLOCK])
  np.testing.assert_array_equal(place(protein, positions[:9])[:8], before[:8])


def staying(config):
  """Parameters of a network that says one thing: wells stay those of the newest state."""
  level = builders.params(config)
  out = jax.tree.map(np.zeros_like, level['head']['out'])
  # After the numbers, of each chi three logits, how much known wells count, those of the newest
  # state first, and known offsets.
  of_wells = out['bias'][12:].reshape(4, 8)
  of_wells[:, 3] = 50.0
  changed = level | {'head': level['head'] | {'out': out}}
  return dict.fromkeys(config.levels, changed)


def test_side_chains_of_the_start_are_carried_along(protein, positions, there, monkeypatch):
  # Nothing but the network, and what it is not: relief of overlaps, and of eclipsed torsions.
  monkeypatch.setattr(molecule, 'relieved_chi', lambda backbone, chi, *_: chi)
  monkeypatch.setattr(rotamers, 'closed', lambda side_chains, residue_type: side_chains)
  params = staying(CONFIG)
  some = there & (np.random.default_rng(0).random(there.shape) < 0.6)
  given = dataclasses.replace(
    protein, chi=np.where(some, protein.chi, 0.0).astype(np.float32), chi_known=some
  )
  found = place(given, positions, CONFIG, params)
  known = np.broadcast_to(there, found.shape)
  types = protein.residue_type
  wells = np.asarray(rotamers.wells(rotamers.SideChains(found, known), types))
  before = np.asarray(rotamers.wells(rotamers.SideChains(given.chi, there), types))
  # A place within a well may lie beyond its border, more than four spreads away or, where nothing
  # is staggered, two.
  assert (wells == before)[:, some & side_chain_atoms.staggered_mask(types)].all()
  assert (wells == before)[:, some].mean() > 0.9
  # The others are anywhere, and go on from there; unlike the first two, whose window knew nothing.
  assert len(set(wells[1, there & ~some])) == 3
  rest = there & ~some & side_chain_atoms.staggered_mask(types)
  assert (wells[1:] == wells[1])[:, rest].all()


def test_the_spring_is_loose_where_backbones_are_given(protein, positions, monkeypatch):
  """And stiff where residues move, too."""
  config = builders.generative_config(
    anchors='both', reference=True, side_chains=True, closure=True
  )
  asked = []

  def relieved(backbone, chi, protein, spring):
    asked.append(spring)
    return chi

  monkeypatch.setattr(molecule, 'relieved_chi', relieved)
  place(protein, positions[:BLOCK], config)
  side_chains._placer.cache_clear()
  assert set(asked) == {side_chain_relief.LOOSE}
  asked.clear()

  def closed(positions):
    state = state_lib.of_model(config, positions, protein, rotamers.of_protein(protein))
    return transition.closed(config, jax.tree.map(lambda x: x[None], state), protein)

  assert jax.eval_shape(closed, protein.positions).side_chains.chi.shape == (1, LENGTH, 4)
  assert asked == 2 * [side_chain_relief.STIFF]


def test_without_a_start_the_first_frame_is_one(protein, positions, there):
  """Where the protein itself stands does not count then."""
  bare = dataclasses.replace(protein, chi=None, chi_known=None)
  elsewhere = builders.with_positions(bare, 3.0 * bare.positions)
  found = place(bare, positions)
  np.testing.assert_array_equal(place(elsewhere, positions), found)
  assert (found[:, there] != 0.0).all()


def test_the_key_and_the_spacing_decide(protein, positions, before):
  assert between(place(protein, positions, seed=1), before).max() > 0.1
  steps = [side_chains.level_for(CONFIG, dt_ns) for dt_ns in (None, 4.0, 0.3, 0.19, 0.01)]
  assert steps == ['coarse', 'coarse', 'coarse', 'fine', 'fine']


def test_models_without_side_chains_are_refused(protein, positions):
  with pytest.raises(InputError, match=r'^this model has no side chains: take one'):
    place(protein, positions, builders.generative_config(), {})
