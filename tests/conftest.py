"""A strict session: 8 virtual devices, NaNs and silent rank promotion raise."""

import os
import pathlib
from importlib.metadata import version

os.environ['XLA_FLAGS'] = ' '.join(
  [
    os.environ.get('XLA_FLAGS', ''),
    '--xla_force_host_platform_device_count=8',
    # Tests run for milliseconds what takes seconds to compile: compile it without optimisation.
    '--xla_backend_optimization_level=0',
    # XLA aborts on flags that it does not know, and this one ended with jaxlib 0.10.
    *(['--xla_cpu_use_fusion_emitters=false'] if version('jaxlib').startswith('0.10.') else []),
  ]
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Compiled programs are kept from session to session, and shared by the processes of one.
os.environ.setdefault(
  'JAX_COMPILATION_CACHE_DIR', str(pathlib.Path(__file__).parents[1] / '.pytest_cache/compiled')
)
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.1')

import jax
import numpy as np
import pytest

jax.config.update('jax_debug_nans', True)
jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.fixture(scope='session')
def shared_data() -> pathlib.Path:
  """Real MD and awkward structures; not part of the project."""
  default = pathlib.Path(__file__).parents[1] / '../shared/data'
  path = pathlib.Path(os.environ.get('TEMPO_TEST_DATA', default)).resolve()
  if not path.is_dir():
    pytest.skip(f'no test data at {path}: set TEMPO_TEST_DATA to run this test')
  return path


@pytest.fixture
def np_rng() -> np.random.Generator:
  return np.random.default_rng(20251122)
