"""Means of proteins that a model knows: on disk, and where they go."""

import dataclasses

import jax
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.models import centres
from tempo_jax.models import model as model_lib
from tempo_jax.output import provenance
from tempo_jax.protein import structure_file
from tests import builders, peptides


@pytest.fixture(scope='module')
def protein(tmp_path_factory):
  path = tmp_path_factory.mktemp('proteins') / 'helix.pdb'
  path.write_text(peptides.peptide())
  return structure_file.load_protein(path)


@pytest.fixture(scope='module')
def model(protein):
  config = builders.any_step_config()
  known = {'AC/D': np.ones((3, 3), np.float32), protein.sequence: protein.arrays.positions[:, 1]}
  return model_lib.Model('tuned', config, {'any': builders.params(config)}, known)


def test_chains_are_told_apart():
  found = {centres.key('ACDE', np.array(x)) for x in ([0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 2, 2])}
  assert found == {'ACDE', 'AC/DE', 'A/C/DE'}


def test_they_are_saved_with_the_model(model, tmp_path):
  model.save(tmp_path / 'model')
  again = model_lib.load_model(tmp_path / 'model')
  assert again.centres.keys() == model.centres.keys()
  for name, centre in model.centres.items():
    np.testing.assert_array_equal(again.centres[name], centre)
  assert again.at(0.05).centres is again.centres
  without = dataclasses.replace(model, centres={})
  without.save(tmp_path / 'without')
  assert not (tmp_path / 'without' / centres.NAME).exists()
  assert model_lib.load_model(tmp_path / 'without').centres == {}
  other = dataclasses.replace(model, centres={'AC/D': np.zeros((3, 3), np.float32)})
  assert len({provenance.model_sha256(x) for x in (model, again, without, other)}) == 3


def test_a_damaged_file_is_one_line(model, tmp_path):
  model.save(tmp_path / 'model')
  path = tmp_path / 'model' / centres.NAME
  path.write_bytes(path.read_bytes()[:100])
  with pytest.raises(InputError, match=r'/model is damaged: .*train it again'):
    model_lib.load_model(tmp_path / 'model')


def test_a_protein_that_is_not_known_stays_as_it_is(model, protein):
  about = centres.about(protein, model.centres)
  np.testing.assert_array_equal(about.arrays.centre, protein.arrays.positions[:, 1])
  assert centres.about(protein, {'AC/D': model.centres['AC/D']}) is protein


def test_samples_are_about_it(model, protein):
  """Of a centre that is somewhere else they end elsewhere, whole or in blocks."""
  shifted = protein.arrays.positions[:, 1] * np.float32(1.3)
  other = dataclasses.replace(model, centres={protein.sequence: shifted})

  def ends(model):
    found = model.sample(protein, 8, rng=jax.random.key(1)).positions
    (streamed,) = model.sample_many([protein], 8, rng=jax.random.key(1))
    np.testing.assert_allclose(streamed.positions, found, atol=1e-3)
    return np.asarray(found[0, -1, :, 1], np.float64)

  def size(ca):
    return np.sqrt(np.mean(np.sum((ca - ca.mean(axis=0)) ** 2, axis=-1)))

  assert size(ends(other)) > 1.03 * size(ends(model))
