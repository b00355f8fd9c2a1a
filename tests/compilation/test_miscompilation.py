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
AFFECTED = importlib.metadata.version('jaxlib') == '0.10.2'
FLAG = '--xla_cpu_experimental_ynn_fusion_type='


def run(program, flags=''):
  return subprocess.run(
    [sys.executable, '-c', program],
    capture_output=True,
    text=True,
    check=True,
    env=os.environ | {'XLA_FLAGS': flags},
    cwd=pathlib.Path(__file__).parents[2],
  )


@pytest.fixture
def affected(monkeypatch):
  """The version that needs the flag, in a process that has not used JAX."""
  monkeypatch.setattr(miscompilation, '_jaxlib', lambda: '0.10.2')
  monkeypatch.setattr(miscompilation, '_was_used', lambda: False)
  return monkeypatch


@pytest.mark.parametrize('first', ['', 'import jax\n'])
def test_sums_of_products_are_right_where_the_package_is_imported(first):
  done = run(f'{first}import tempo_jax\n{_PROGRAM}')
  assert float(done.stdout) < 1e-6
  assert 'Warning' not in done.stderr


@pytest.mark.skipif(not AFFECTED, reason='only jaxlib 0.10.2 computes wrong sums')
def test_whoever_used_jax_before_is_warned():
  asks = 'from tempo_jax.compilation import miscompilation\nprint(miscompilation.came_too_late())'
  done = run(f'import jax\njax.devices()\nimport tempo_jax\n{_PROGRAM}\n{asks}')
  error, late = done.stdout.split()
  assert float(error) > 1e-3  # Else there is nothing to avoid any more.
  assert late == 'True'
  assert '<string>:3: RuntimeWarning: jaxlib 0.10.2 can compute wrong sums' in done.stderr
  assert f'Start Python again and import tempo_jax first, or put XLA_FLAGS={FLAG}' in done.stderr


def test_the_flag_is_added_once(affected):
  for flags in ('', '--xla_some=1'):
    affected.setenv('XLA_FLAGS', flags)
    for _ in range(2):
      miscompilation.avoid()
      assert os.environ['XLA_FLAGS'] == f'{flags} {FLAG}'.strip()
  assert not miscompilation.came_too_late()


@pytest.mark.parametrize('version', ['0.10.1', '0.11.0', None])
def test_other_versions_are_left_alone(affected, version):
  affected.setattr(miscompilation, '_jaxlib', lambda: version)
  affected.setenv('XLA_FLAGS', '--xla_some=1')
  miscompilation.avoid()
  assert os.environ['XLA_FLAGS'] == '--xla_some=1'


def test_a_file_of_flags_is_not_touched(affected, tmp_path):
  file = tmp_path / 'flags.txt'
  file.write_text('--xla_some=1\n')
  affected.setenv('XLA_FLAGS', str(file))
  with pytest.warns(RuntimeWarning, match=f'add {FLAG} to {file}, the file that XLA_FLAGS names'):
    miscompilation.avoid()
  # Warnings are errors: whoever has done so is left in peace.
  file.write_text(f'--xla_some=1\n{FLAG}\n')
  miscompilation.avoid()
  assert os.environ['XLA_FLAGS'] == str(file)


def test_a_package_without_metadata_has_no_version(monkeypatch):
  def missing(name):
    raise importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(importlib.metadata, 'version', missing)
  assert miscompilation._jaxlib() is None
