import dataclasses
import itertools

import jax
import numpy as np
import pytest

from tempo_jax.encoder import embeddings
from tempo_jax.protein import protein as protein_lib
from tests import builders


@pytest.fixture(scope='module')
def protein():
  return builders.helix(10, chains=2)


def apply(module, *args, seed=0):
  shapes = jax.eval_shape(module.init, jax.random.key(0), *args)
  return builders.numpy_jit(module.apply)(builders.fill(shapes, seed), *args)


@pytest.mark.parametrize('max_distance', [2, 32])
def test_relative_position_classes(protein, max_distance):
  protein = dataclasses.replace(
    protein, residue_index=np.array([0, 1, 2, 40, 41, 0, 1, 2, 3, 4], np.int32)
  )
  classes = np.asarray(embeddings.relative_position(protein, max_distance))
  for i, j in itertools.product(range(10), repeat=2):
    if (i < 5) != (j < 5):
      expected = 2 * max_distance + 1
    else:
      distance = protein.residue_index[j] - protein.residue_index[i]
      expected = max(-max_distance, min(max_distance, distance)) + max_distance
    assert classes[i, j] == expected


def test_bias_is_read_from_the_class(protein):
  module = embeddings.RelativePositionBias(num_heads=3)
  np.testing.assert_array_equal(jax.jit(module.init_with_output)(jax.random.key(0), protein)[0], 0)
  bias = apply(module, protein)
  classes = embeddings.relative_position(protein)
  assert bias.shape == (3, 10, 10)
  # One value per class and head, another in every class.
  for head in bias:
    values = {int(c): float(head[classes == c][0]) for c in np.unique(classes)}
    np.testing.assert_array_equal(head, np.vectorize(values.get)(classes))
    assert len(set(values.values())) == len(values)


def test_residue_embedding_sees_type_and_free_ends(protein):
  module = embeddings.ResidueEmbedding(channels=6)
  same_type = dataclasses.replace(protein, residue_type=np.full(10, 4, np.int32))
  out = apply(module, same_type)
  # Free before, free after, bonded on both sides; the first residue has nothing before it.
  kinds = np.array([0, 1, 1, 1, 2, 0, 1, 1, 1, 2])
  for i, j in itertools.product(range(10), repeat=2):
    assert np.allclose(out[i], out[j]) == (kinds[i] == kinds[j])
  other = apply(module, dataclasses.replace(protein, residue_type=np.full(10, 20, np.int32)))
  assert (np.abs(other - out).max(axis=-1) > 0.1).all()


def test_a_cysteine_in_a_disulphide_is_another_one(protein):
  """By nothing at first; and without disulphides it is the module that does not know of them."""
  partner = np.full(10, -1, np.int32)
  partner[[3, 8]] = 8, 3
  joined = dataclasses.replace(protein, disulphides=partner)
  module = embeddings.ResidueEmbedding(channels=6, disulphides=True)
  blind = embeddings.ResidueEmbedding(channels=6)
  fresh = jax.jit(module.init)(jax.random.key(0), protein)['params']
  np.testing.assert_array_equal(fresh['disulphide'], 0.0)
  run = builders.numpy_jit(lambda params, protein: module.apply({'params': params}, protein))
  np.testing.assert_array_equal(run(fresh, joined), run(fresh, protein))

  params = builders.fill(fresh, 0)
  plain = run(params, protein)
  difference = run(params, joined) - plain
  np.testing.assert_allclose(difference[[3, 8]], [params['disulphide']] * 2, atol=1e-6)
  assert np.abs(params['disulphide']).max() > 0.1
  np.testing.assert_array_equal(difference[partner < 0], 0.0)
  nothing = dataclasses.replace(protein, disulphides=np.full(10, -1, np.int32))
  np.testing.assert_array_equal(run(params, nothing), plain)
  del params['disulphide']
  np.testing.assert_array_equal(builders.numpy_jit(blind.apply)({'params': params}, joined), plain)


def test_condition_embedding_tells_conditions_apart():
  module = embeddings.ConditionEmbedding(channels=16)
  sigma = [0.0, 0.01, 0.05, 5.0]
  dt_ns = [1e-3, 0.01, 0.2, 1.0, 20.0, 1000.0]
  temperature = [279.0, 300.0, 320.0, 348.0, 450.0]
  grid = np.array(list(itertools.product(sigma, dt_ns, temperature)), np.float32)
  protein = builders.helix(3)
  shapes = jax.eval_shape(module.init, jax.random.key(0), *grid[0], protein)
  run = builders.numpy_jit(jax.vmap(lambda p, x: module.apply(p, *x, protein), in_axes=(None, 0)))
  out = run(builders.fill(shapes, 0), grid)
  distance = np.linalg.norm(out[:, None] - out[None], axis=-1)
  assert distance[~np.eye(len(grid), dtype=bool)].min() > 0.05
  # Temperature acts smoothly, so that a model can be asked between those that it was trained at:
  # 20 K off is a small step beside 150 K.
  same = grid[:, None, :2] == grid[None, :, :2]
  kelvin = np.abs(grid[:, None, 2] - grid[None, :, 2])
  near, far = (distance[same.all(-1) & (kelvin == step)].mean() for step in (20.0, 150.0))
  assert near < far / 4
  assert np.abs(out).max() < 10.0


def test_condition_embedding_tells_solvents_apart():
  """By nothing before training; what says nothing is in water; the paper's does not look."""
  sees, blind = (embeddings.ConditionEmbedding(channels=16, solvent=x) for x in (True, False))
  condition = np.float32(0.05), np.float32(0.2), np.float32(310.0)
  protein = builders.helix(3)
  assert protein.solvent is None
  found = [
    dataclasses.replace(protein, solvent=np.int32(protein_lib.SOLVENTS.index(name)))
    for name in ('unknown', 'explicit', 'implicit')
  ]
  run = builders.numpy_jit(sees.apply)
  params = builders.numpy_jit(sees.init)(jax.random.key(0), *condition, protein)['params']
  assert params['solvent'].shape == (3, 16)
  before = run({'params': params}, *condition, found[0])
  for other in found[1:]:
    np.testing.assert_array_equal(run({'params': params}, *condition, other), before)
  params['solvent'] = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
  after = [run({'params': params}, *condition, x) for x in found]
  for x, row in zip(found, after, strict=True):
    np.testing.assert_allclose(row - before, params['solvent'][x.solvent], atol=1e-6)
  np.testing.assert_array_equal(run({'params': params}, *condition, protein), after[1])
  del params['solvent']
  assert set(blind.init(jax.random.key(0), *condition, protein)['params']) == set(params)
  for other in found:
    without = blind.apply({'params': params}, *condition, other)
    np.testing.assert_allclose(without, before, atol=1e-6)
