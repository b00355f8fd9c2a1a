import importlib.metadata
import os
import pathlib
import subprocess
import sys

from tempo_jax.compilation import miscompilation

# What jaxlib 0.10.2 gets wrong: the last of 32,769 rows (jax-ml/jax#39103).
_PROGRAM = """
import sys
from tempo_jax.compilation import miscompilation
if sys.argv[1] == 'avoid':
  miscompilation.avoid()
import jax, jax.numpy as jnp, numpy as np
numbers = np.arange(32769, dtype=np.float32)
rows = np.stack([numbers, 0 * numbers, 0 * numbers], axis=1)
found = jax.jit(jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2)))(rows)
print(np.max(np.abs(np.asarray(found)[1:] / numbers[1:] ** 2 - 1.0)))
"""


def error(what, flags=''):
  done = subprocess.run(
    [sys.executable, '-c', _PROGRAM, what],
    capture_output=True,
    text=True,
    check=True,
    env=os.environ | {'XLA_FLAGS': flags},
    cwd=pathlib.Path(__file__).parents[2],
  )
  return float(done.stdout)


def test_sums_of_products_are_right():
  assert error('avoid') < 1e-6
  if importlib.metadata.version('jaxlib') == '0.10.2':
    assert error('leave') > 1e-3  # Else there is nothing to avoid any more.


def test_only_the_version_that_needs_it_gets_the_flag(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--xla_some=1')
  miscompilation.avoid()
  expected = '--xla_some=1'
  if importlib.metadata.version('jaxlib') == '0.10.2':
    expected += ' --xla_cpu_experimental_ynn_fusion_type='
  assert os.environ['XLA_FLAGS'] == expected
  miscompilation.avoid()
  assert os.environ['XLA_FLAGS'] == expected
