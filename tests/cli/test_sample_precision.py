"""`tempo-jax sample --precision=bfloat16`."""

import functools
import json

import jax
import mdtraj
import numpy as np
import pytest

from tempo_jax.cli import sample
from tempo_jax.errors import InputError
from tempo_jax.metrics import validity
from tempo_jax.models import model as model_lib
from tempo_jax.protein import structure_file
from tests import builders, peptides
from tests.cli import commands

PRECISIONS = ('float32', 'bfloat16')
NUM_FRAMES = 4
# Of coordinates; a network has none of these to compute.
GEOMETRY = ('sin', 'cos', 'atan2', 'sqrt', 'rsqrt', 'reduce_max', 'top_k', 'argmin')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A small model that draws closed frames, and a peptide."""
  folder = tmp_path_factory.mktemp('precision')
  config = builders.generative_config({'only': 0.01}, closure=True, passes=1)
  model_lib.Model('toy', config, {'only': builders.params(config)}).save(folder / 'model')
  (folder / 'start.pdb').write_text(peptides.peptide())
  return folder


@pytest.fixture(scope='module')
def sampled(folder):
  """The output directory of each precision, and of none."""

  @functools.cache
  def run(precision):
    out = folder / f'out_{precision}'
    flags = [f'--structure={folder}/start.pdb', f'--model={folder}/model', f'--out={out}']
    flags += [f'--num_frames={NUM_FRAMES}', '--format=h5', '--seed=5']
    flags += [f'--precision={precision}'] if precision else []
    return sample.sample(commands.parse(sample, *flags))

  return run


def positions(out):
  traj = mdtraj.load(out / 'trajectory.h5')
  assert traj.n_frames == NUM_FRAMES
  return 10.0 * traj.xyz.reshape(NUM_FRAMES, -1, 4, 3)


@pytest.mark.slow  # Compiles two samplers.
def test_frames_are_near_those_of_float32(sampled, folder):
  """The same noise is drawn, so that the network's rounding is the only difference."""
  exact, rounded = (positions(sampled(precision)) for precision in PRECISIONS)
  start = structure_file.load_protein(folder / 'start.pdb').arrays.positions
  moved = np.sqrt(np.mean((exact - start) ** 2))
  assert moved > 0.1
  error = np.sqrt(np.mean((rounded - exact) ** 2))
  assert 1e-5 < error < 0.1 * moved


@pytest.mark.slow  # Compiles two samplers.
@pytest.mark.parametrize('precision', PRECISIONS)
def test_chains_stay_closed(sampled, precision):
  """Geometry is float32: bonds are as good as ever."""
  x, bonded = positions(sampled(precision)), np.ones(len(peptides.SEQUENCE) - 1, bool)
  assert np.isfinite(x).all()
  c_n = np.linalg.norm(x[:, 1:, 0] - x[:, :-1, 2], axis=-1)
  assert np.abs(c_n - 1.33).max() < 0.12  # What closure allows.
  n_ca = np.linalg.norm(x[:, :, 1] - x[:, :, 0], axis=-1)
  assert np.ptp(n_ca) < 1e-3
  low_high = validity.ca_ca_range(x, np.append(bonded, False))
  assert not validity.is_broken(*low_high, validity.c_n_max(x, np.append(bonded, False))).any()


@pytest.mark.slow  # Compiles a sampler.
def test_what_is_written_is_float32_and_says_how_it_was_computed(sampled):
  out = sampled('bfloat16')
  with mdtraj.open(str(out / 'trajectory.h5')) as file:
    coordinates = file.read().coordinates
  assert coordinates.dtype == np.float32
  # Not rounded to 8 bits.
  assert np.any(coordinates.astype(jax.numpy.bfloat16).astype(np.float32) != coordinates)
  metadata = {p: json.loads((sampled(p) / 'metadata.json').read_text()) for p in PRECISIONS}
  for precision, data in metadata.items():
    assert data['flags']['precision'] == precision
    assert data['broken_chain_percent'] == 0.0
  # The parameters are the same ones.
  assert len({data['model_sha256'] for data in metadata.values()}) == 1


@pytest.mark.slow  # Traces a sampler.
def test_the_program_multiplies_matrices_in_bfloat16_and_nothing_else(folder):
  model = model_lib.load_model(folder / 'model')
  protein = model_lib.padded(structure_file.load_protein(folder / 'start.pdb'))
  sampler = model.with_precision('bfloat16').sampler(NUM_FRAMES)
  jaxpr = jax.make_jaxpr(sampler)(model.params, protein, jax.random.key(0), 320.0)
  assert {x.dtype for x in jaxpr.out_avals} == {np.dtype(np.float32)}
  lines = str(jaxpr).splitlines()
  assert sum('dot_general' in line and ':bf16' in line for line in lines) > 10
  for name in GEOMETRY:
    used = [line for line in lines if f' = {name} ' in line or f' = {name}[' in line]
    assert not any(':bf16' in line for line in used), used


def test_without_the_flag_it_is_that_of_the_model(folder):
  for stored in PRECISIONS:
    model_lib.load_model(folder / 'model').with_precision(stored).save(folder / f'in_{stored}')
    found = model_lib.load_model(folder / f'in_{stored}')
    assert found.config.precision == stored
    for asked in PRECISIONS:
      assert found.with_precision(asked).config.precision == asked
  with pytest.raises(InputError, match=r"precision = 'float16': choose one of float32, bfloat16"):
    found.with_precision('float16')
