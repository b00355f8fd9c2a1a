"""How long motion is remembered: one correlation in time for all residues, and what follows from
the frames that are known.

Displacements from the centre are a Gaussian process whose covariance is a product of one in space
(`elastic_network`) and one in time, a sum of decaying exponentials: positive definite at any
spacing of frames, so that one formula serves every time step, frames between two that are known,
and frames after one.
"""

import dataclasses

import jax
import jax.numpy as jnp

# Of a variance: what is known is known that well.
_JITTER = 1e-4


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Memory:
  """A sum of decaying exponentials.

  Attributes:
    variances: [K] of each; their sum is the variance of one frame.
    times_ns: [K] over which each decays, ns.
  """

  variances: jax.Array
  times_ns: jax.Array

  @property
  def variance(self) -> jax.Array:
    """[] of one frame."""
    return jnp.sum(self.variances)

  def covariance(self, lag_ns: jax.Array) -> jax.Array:
    """Of two frames that are lags [...] ns apart."""
    shape = (*lag_ns.shape, self.times_ns.shape[0])
    times, variances = (jnp.broadcast_to(x, shape) for x in (self.times_ns, self.variances))
    return jnp.sum(variances * jnp.exp(-jnp.abs(lag_ns)[..., None] / times), axis=-1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Conditional:
  """Frames given others: a Gaussian.

  Attributes:
    weights: [T, K] of the known frames in the mean of each new one; 0 of those that are not known.
    spread: [T] standard deviations.
    root: [T, T] lower triangular, of the correlation between the new frames.
  """

  weights: jax.Array
  spread: jax.Array
  root: jax.Array


def conditional(
  memory: Memory, new_ns: jax.Array, known_ns: jax.Array, known: jax.Array
) -> Conditional:
  """Of new frames, given the displacements of those that are known.

  Args:
    memory: of the displacements.
    new_ns: [T] times, ns.
    known_ns: [K] times, ns.
    known: [K] bool; the others are placeholders.
  """
  jitter = _JITTER * memory.variance

  def between(a: jax.Array, b: jax.Array) -> jax.Array:
    return memory.covariance(a[:, None] - b[None])

  both = known[:, None] & known[None]
  among = jnp.where(both, between(known_ns, known_ns), 0.0)
  among = among + jnp.diag(jnp.where(known, jitter, memory.variance))
  across = jnp.where(known[None], between(new_ns, known_ns), 0.0)
  lower = _cholesky(among)
  weights = jnp.stack([_solved(lower, row) for row in across])
  left = between(new_ns, new_ns) - jnp.matmul(weights, across.T, precision='highest')
  left = left + jitter * jnp.eye(new_ns.shape[0])
  spread = jnp.sqrt(jnp.maximum(jnp.diag(left), jitter))
  correlation = left / (spread[:, None] * spread[None])
  root = jnp.stack([jnp.stack(row) for row in _cholesky(correlation)])
  return Conditional(weights, spread, root)


def mean_of(memory: Memory, times_ns: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The centre of displacements as frames of these times tell it (generalised least squares).

  Args:
    memory: of the displacements.
    times_ns: [S] ns; some may be the same.

  Returns:
    [S] weights, of sum 1, and [] the variance of the mean that they make.
  """
  among = memory.covariance(times_ns[:, None] - times_ns[None])
  among = among + _JITTER * memory.variance * jnp.eye(times_ns.shape[0])
  solved = jnp.linalg.solve(among, jnp.ones(times_ns.shape[0]))
  total = jnp.sum(solved)
  return solved / total, 1.0 / total


# Of a few numbers each: written out, they are elementwise in a batch of segments, and compile in no
# time; a batch of calls of LAPACK does not.


def _cholesky(matrix: jax.Array) -> list[list[jax.Array]]:
  """Rows of the lower triangular root of a positive definite matrix [N, N]."""
  size, zero = matrix.shape[0], jnp.zeros((), matrix.dtype)
  rows: list[list[jax.Array]] = [[zero] * size for _ in range(size)]
  for i in range(size):
    for j in range(i + 1):
      left = matrix[i, j] - sum((rows[i][k] * rows[j][k] for k in range(j)), zero)
      rows[i][j] = jnp.sqrt(left) if i == j else left / rows[j][j]
  return rows


def _solved(lower: list[list[jax.Array]], right: jax.Array) -> jax.Array:
  """[N]: x with L L^T x = right [N]."""
  size, zero = len(lower), jnp.zeros((), right.dtype)
  half: list[jax.Array] = []
  for i in range(size):
    left = right[i] - sum((lower[i][k] * half[k] for k in range(i)), zero)
    half.append(left / lower[i][i])
  found = [zero] * size
  for i in reversed(range(size)):
    left = half[i] - sum((lower[k][i] * found[k] for k in range(i + 1, size)), zero)
    found[i] = left / lower[i][i]
  return jnp.stack(found)
