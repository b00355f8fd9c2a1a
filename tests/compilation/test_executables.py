"""Whole executables: found again in another process, and passed over where they do not fit."""

import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import pytest

# Prints the value and what was done: traced or found.
_PROGRAM = textwrap.dedent("""
  import sys
  import jax, jax.numpy as jnp, numpy as np
  from tempo_jax.compilation import cache, executables

  cache.use(sys.argv[1])
  traced = []

  def function(tree):
    traced.append(1)
    # LAPACK, a loop and a tree of results.
    _, values, _ = jnp.linalg.svd(tree['matrix'])
    total = jax.lax.fori_loop(0, 3, lambda _, x: x + values.sum(), 0.0)
    return {'total': total, 'shift': (tree['shift'] + 1,)}

  tree = {'matrix': np.diag([1.0, 2.0]).astype(np.float32), 'shift': np.arange(int(sys.argv[3]))}
  run = executables.compiled(jax.jit(function), sys.argv[2], tree)
  result = run(tree)
  print(float(result['total']), np.asarray(result['shift'][0]).tolist(), bool(traced))
""")


def run(folder, made_from='a', size=2, program=_PROGRAM, **environment):
  done = subprocess.run(
    [sys.executable, '-c', program, str(folder), made_from, str(size)],
    capture_output=True,
    text=True,
    check=False,
    env=os.environ | {'XLA_FLAGS': ''} | environment,
    cwd=pathlib.Path(__file__).parents[2],
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.strip()


def entries(folder):
  return sorted(folder.glob('*.executable'))


@pytest.fixture(scope='module')
def first_run(tmp_path_factory):
  folder = tmp_path_factory.mktemp('cache')
  assert run(folder) == '9.0 [1, 2] True'
  assert len(list(folder.glob('*.executable'))) == 1
  return folder


# Two programs of the same kind: one that JAX's own cache keeps, one that is kept whole.
_KEPT_BY_JAX = textwrap.dedent("""
  import sys
  import jax, jax.numpy as jnp, numpy as np
  from tempo_jax.compilation import ahead_of_time, cache, executables

  cache.use(sys.argv[1])
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)

  def function(x):
    def one(x, k):
      product = jnp.sin(x) @ jnp.cos(x).T
      picked = jnp.where(product > k, product, 0.0).astype(jnp.int32)
      x = x + 0.1 * jnp.take(x, picked[0] % 4, axis=0)
      return x, (x > 0.3).astype(jnp.int32).sum()
    return jax.lax.scan(one, x, jnp.arange(5.0))

  x = np.arange(16.0, dtype=np.float32).reshape(4, 4)
  jitted = jax.jit(function)
  if sys.argv[2] == 'jax':
    run = ahead_of_time.compiled(jitted, x)
  else:
    run = executables.compiled(jitted, sys.argv[2], x)
  print(np.asarray(run(x)[1]).tolist())
""")


def test_what_jax_keeps_is_not_serialised_again(tmp_path):
  """An executable from JAX's cache that is written and read fails when it is called."""
  for made_from in ('jax', 'a', 'a'):
    assert run(tmp_path, made_from, program=_KEPT_BY_JAX) == '[15, 15, 15, 15, 15]'
  assert len(list(tmp_path.glob('*.executable'))) == 1


# One of four devices computes what is not spread, another program takes two of them.
_SPREAD = textwrap.dedent("""
  import sys
  import jax, numpy as np
  from tempo_jax.compilation import cache, executables

  cache.use(sys.argv[1])
  x, traced = np.arange(2.0, dtype=np.float32), []

  def function(x):
    traced.append(1)
    return 2 * x

  if sys.argv[2] == 'spread':
    x = jax.device_put(x, jax.sharding.NamedSharding(
      jax.sharding.Mesh(np.array(jax.local_devices()[:2]), ('x',)), jax.sharding.PartitionSpec('x')
    ))
  result = executables.compiled(jax.jit(function), sys.argv[2], x)(x)
  print(np.asarray(result).tolist(), len(result.sharding.device_set), bool(traced))
""")


@pytest.mark.parametrize(('kind', 'count'), [('one', 1), ('spread', 2)])
def test_a_program_that_is_read_keeps_to_its_devices(tmp_path, kind, count):
  flags = '--xla_force_host_platform_device_count=4'
  for traced in (True, False):
    found = run(tmp_path, kind, program=_SPREAD, XLA_FLAGS=flags)
    assert found == f'[0.0, 2.0] {count} {traced}'


@pytest.fixture
def folder(first_run, tmp_path):
  """The cache after one run."""
  return shutil.copytree(first_run, tmp_path / 'cache')


def test_a_second_process_does_not_trace(folder):
  assert run(folder) == '9.0 [1, 2] False'


@pytest.mark.parametrize(
  'other', [{'made_from': 'b'}, {'size': 3}, {'XLA_FLAGS': '--xla_cpu_enable_fast_math=false'}]
)
def test_another_program_is_another_entry(folder, other):
  assert run(folder, **other).endswith('True')
  assert len(list(folder.glob('*.executable'))) == 2


@pytest.mark.parametrize(
  'damage',
  [
    lambda content: content[: len(content) // 2],
    lambda content: content[:-9] + bytes(9),
    lambda content: b'tempo_jax executable 1\n' + content[23:],
    lambda content: b'',
  ],
  ids=['cut', 'changed', 'of another version', 'empty'],
)
def test_a_wrong_entry_is_passed_over_and_replaced(folder, damage):
  (entry,) = folder.glob('*.executable')
  entry.write_bytes(damage(entry.read_bytes()))
  assert run(folder) == '9.0 [1, 2] True'
  assert run(folder) == '9.0 [1, 2] False'
