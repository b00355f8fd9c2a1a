import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax.benchmark import kernels

X = np.ones((32, 32), np.float32)


def size(function, *args):
  return kernels.size(jax.jit(function).lower(*args).compile().as_text())


def test_kernels_by_hand():
  """Products are not fused with one another."""
  assert size(lambda x: x, X).kernels <= 1  # a copy
  one, two, three = (size(lambda x, n=n: jnp.linalg.matrix_power(x, 2**n), X) for n in (1, 2, 3))
  assert two.kernels - one.kernels == three.kernels - two.kernels == 1
  assert one.lines < two.lines < three.lines


def test_a_loop_counts_as_often_as_it_turns():
  def loop(x, turns):
    return jax.lax.fori_loop(0, turns, lambda _, x: jnp.sin(x) @ x, x)

  counts = [size(lambda x, n=n: loop(x, n), X).kernels for n in (50, 100, 150)]
  assert counts[2] - counts[1] == counts[1] - counts[0] >= 100
  # The program itself does not grow.
  assert size(lambda x: loop(x, 50), X).fusions == size(lambda x: loop(x, 100), X).fusions


def test_unknown_number_of_turns_is_refused():
  with pytest.raises(ValueError, match='without a known number of turns'):
    size(lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x @ x, x), X)
