import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.compilation import ahead_of_time


def test_compiles_with_and_without_the_option(monkeypatch):
  """Versions of the compiler come and go that know it."""
  monkeypatch.setattr(ahead_of_time, '_CPU', {'xla_cpu_no_such_option': False})
  ahead_of_time.options.cache_clear()
  assert ahead_of_time.options() is None
  x = np.arange(3.0, dtype=np.float32)
  np.testing.assert_array_equal(ahead_of_time.compiled(jax.jit(jnp.square), x)(x), x**2)

  monkeypatch.undo()
  ahead_of_time.options.cache_clear()
  np.testing.assert_array_equal(ahead_of_time.compiled(jax.jit(jnp.square), x)(x), x**2)
