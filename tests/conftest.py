"""A strict session: 8 virtual devices, NaNs and silent rank promotion raise.

Tests run for milliseconds what takes seconds to compile: programs are compiled without optimisation
and kept in .pytest_cache/compiled (or JAX_COMPILATION_CACHE_DIR) for the next session. With
TEMPO_TEST_OPTIMISED=1 they are what users run: optimised, on one device.
"""

import os
import pathlib
from importlib.metadata import version

ROOT = pathlib.Path(__file__).parents[1]
_QUICK_TO_COMPILE = [
  '--xla_cpu_use_fusion_emitters=false',
  '--xla_cpu_parallel_codegen_split_count=1',
]
OPTIMISED = os.environ.get('TEMPO_TEST_OPTIMISED') == '1'

if not OPTIMISED:
  os.environ['XLA_FLAGS'] = ' '.join(
    [
      os.environ.get('XLA_FLAGS', ''),
      '--xla_force_host_platform_device_count=8',
      '--xla_backend_optimization_level=0',
      # XLA aborts on flags that it does not know, and the first of these ended with jaxlib 0.10.
      *(_QUICK_TO_COMPILE if version('jaxlib').startswith('0.10.') else []),
    ]
  )
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(ROOT / '.pytest_cache' / 'compiled'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')

import jax  # noqa: E402  (after its environment is set; so is all that follows)
import numpy as np  # noqa: E402
import pytest  # noqa: E402

import tempo_jax  # noqa: E402, F401  (switches off what the compiler gets wrong)

jax.config.update('jax_debug_nans', True)
jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
  """One process per core, up to four, where pytest-xdist is installed; -n 0 is one process."""
  if not config.pluginmanager.hasplugin('xdist') or config.option.numprocesses is not None:
    return
  # Not in a worker, whose number of processes is unset, too: each would start more.
  if 'PYTEST_XDIST_WORKER' in os.environ or hasattr(config, 'workerinput'):
    return
  if config.option.usepdb or config.option.collectonly:
    return
  config.option.numprocesses = min(os.cpu_count() or 1, 4)
  # Whole files: module fixtures hold what took long to compile.
  config.option.dist = 'loadfile'


@pytest.fixture(scope='session')
def shared_data() -> pathlib.Path:
  """Real MD and awkward structures; not part of the project."""
  default = ROOT / '../shared/data'
  path = pathlib.Path(os.environ.get('TEMPO_TEST_DATA', default)).resolve()
  if not path.is_dir():
    pytest.skip(f'no test data at {path}: set TEMPO_TEST_DATA to run this test')
  return path


@pytest.fixture
def np_rng() -> np.random.Generator:
  return np.random.default_rng(20251122)
