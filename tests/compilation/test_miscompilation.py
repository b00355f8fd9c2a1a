import importlib.metadata
import os
import pathlib
import subprocess
import sys

import pytest

from tempo_jax.compilation import miscompilation

# What jaxlib 0.10.2 gets wrong: the last of 32,769 rows (jax-ml/jax#39103).
_PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
numbers = np.arange(32769, dtype=np.float32)
rows = np.stack([numbers, 0 * numbers, 0 * numbers], axis=1)
found = jax.jit(jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2)))(rows)
print(np.max(np.abs(np.asarray(found)[1:] / numbers[1:] ** 2 - 1.0)))
"""
needs_it = importlib.metadata.version('jaxlib') == '0.10.2'


def run(program):
  return subprocess.run(
    [sys.executable, '-c', program],
    capture_output=True,
    text=True,
    check=True,
    env=os.environ | {'XLA_FLAGS': ''},
    cwd=pathlib.Path(__file__).parents[2],
  )


@pytest.mark.parametrize('first', ['', 'import jax\n'])
def test_sums_of_products_are_right_where_the_package_is_imported(first):
  done = run(f'{first}import tempo_jax\n{_PROGRAM}')
  assert float(done.stdout) < 1e-6
  assert 'Warning' not in done.stderr


@pytest.mark.skipif(not needs_it, reason='only jaxlib 0.10.2 computes wrong sums')
def test_whoever_used_jax_before_is_warned():
  # Else there is nothing to avoid any more.
  done = run(f'import jax\njax.devices()\nimport tempo_jax\n{_PROGRAM}')
  assert float(done.stdout) > 1e-3
  assert '<string>:3: RuntimeWarning: JAX was used before tempo_jax was imported' in done.stderr


def test_only_the_version_that_needs_it_gets_the_flag(monkeypatch):
  monkeypatch.setattr(miscompilation, '_computes_on_cpu', lambda: False)
  monkeypatch.setenv('XLA_FLAGS', '--xla_some=1')
  miscompilation.avoid()
  expected = '--xla_some=1'
  if needs_it:
    expected += ' --xla_cpu_experimental_ynn_fusion_type='
  assert os.environ['XLA_FLAGS'] == expected
  miscompilation.avoid()
  assert os.environ['XLA_FLAGS'] == expected
