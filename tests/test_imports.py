"""What is imported when, told by processes of their own: start-up time, and a light install."""

import os
import pathlib
import subprocess
import sys

import pytest

from tempo_jax.models import model as model_lib
from tests import builders, peptides

CACHE = 'JAX_COMPILATION_CACHE_DIR'
ROOT = pathlib.Path(__file__).parents[1]
# What takes long to import, or comes with an extra, and has no part in sampling. (openmm is not
# among them: mdtraj imports it where it is installed.)
NOT_FOR_SAMPLING = (
  *('orbax', 'optax', 'tensorstore'),
  *('deeptime', 'ot', 'sklearn', 'threadpoolctl'),
  *('dask', 'distributed', 'h5py', 'requests', 'urllib3'),
  *('tensorboardX', 'matplotlib', 'tables', 'pdbfixer', 'pandas'),
)
LIBRARIES = ('jax', 'jaxlib', 'flax', 'mdtraj', 'gemmi', 'numpy', 'scipy', *NOT_FOR_SAMPLING)


def imported(code, *args):
  """Which of `LIBRARIES` a program of ours imports."""
  program = f'{code}\nimport sys\nprint("imported:", *(x for x in {LIBRARIES} if x in sys.modules))'
  done = subprocess.run(
    [sys.executable, '-c', program, *map(str, args)],
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  first, *names = done.stdout.splitlines()[-1].split(' ')
  assert first == 'imported:'
  return set(names)


def test_the_package_alone_imports_nothing():
  assert not imported('import tempo_jax\ndir(tempo_jax), tempo_jax.InputError')


@pytest.mark.parametrize('arg', ['--help', '--version', 'prepare'])
def test_help_and_version_import_nothing(arg):
  assert not imported('from tempo_jax.cli import main\nmain.run()', arg)


def test_commands_begin_without_what_they_may_need_later():
  """Beside the public names, and with the parameters of the bundled model."""
  found = imported(
    'from tempo_jax.cli import evaluate, export, prepare_simulate, sample, upsample\n'
    'from tempo_jax import *\n'
    'load_model("default")'
  )
  assert {'jax', 'flax', 'mdtraj'} <= found
  assert not found & set(NOT_FOR_SAMPLING)


def test_reading_md_needs_no_network():
  """Preparation writes stores, with tensorstore alone."""
  found = imported('from tempo_jax.cli import prepare_trajectories, prepare_inspect, prepare_split')
  assert found & set(NOT_FOR_SAMPLING) == {'tensorstore'}
  assert 'flax' not in found


@pytest.mark.slow  # Samples in a process of its own.
def test_sampling_needs_nothing_of_training_and_evaluation(tmp_path):
  config = builders.small_config({'only': 0.01})
  model_lib.Model('toy', config, {'only': builders.params(config)}).save(tmp_path / 'model')
  (tmp_path / 'start.pdb').write_text(peptides.peptide())
  found = imported(
    'from tempo_jax.cli import main\ntry:\n  main.run()\nexcept SystemExit:\n  pass',
    *('sample', tmp_path / 'start.pdb', f'--model={tmp_path}/model', '--num_frames=2'),
    *(f'--out={tmp_path}/out', f'--compilation_cache_dir={os.environ[CACHE]}'),
  )
  assert (tmp_path / 'out' / 'trajectory.xtc').exists()
  assert {'jax', 'flax', 'mdtraj'} <= found
  assert not found & set(NOT_FOR_SAMPLING)
