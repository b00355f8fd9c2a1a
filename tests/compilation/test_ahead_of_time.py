import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.compilation import ahead_of_time


def test_compiles_with_and_without_the_option(monkeypatch):
  """Versions of the compiler come and go that know it."""
  monkeypatch.setattr(ahead_of_time, '_CPU', {'xla_cpu_no_such_option': False})
  ahead_of_time.known_options.cache_clear()
  assert ahead_of_time.options() is None
  x = np.arange(3.0, dtype=np.float32)
  np.testing.assert_array_equal(ahead_of_time.compiled(jax.jit(jnp.square), x)(x), x**2)

  monkeypatch.undo()
  ahead_of_time.known_options.cache_clear()
  np.testing.assert_array_equal(ahead_of_time.compiled(jax.jit(jnp.square), x)(x), x**2)


def test_effort_is_the_optimisation_level_unless_a_flag_says_it(monkeypatch):
  level = 'xla_backend_optimization_level'
  efforts = ahead_of_time.Effort.ONCE, ahead_of_time.Effort.LITTLE, ahead_of_time.Effort.FULL

  def levels():
    return [(ahead_of_time.options(effort) or {}).get(level) for effort in efforts]

  monkeypatch.setenv('XLA_FLAGS', '')
  assert levels() == [0, 1, None]
  x = np.arange(3.0, dtype=np.float32)
  for effort in efforts:
    run = ahead_of_time.compiled(jax.jit(jnp.square), x, effort=effort)
    np.testing.assert_array_equal(run(x), x**2)
  monkeypatch.setenv('XLA_FLAGS', f'--{level}=2')
  assert levels() == [None, None, None]
