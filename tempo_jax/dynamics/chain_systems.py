"""Block tridiagonal systems along chains, cyclic for rings, by block cyclic reduction.

Blocks are 4 x 4, one per residue and one between neighbours (Hockney & Jesshope, 1981). Arrays have
their components in front and residues last, so that every operation runs over long vectors; no
LAPACK and no matmul, so float32 everywhere.
"""

import dataclasses
import functools
import operator
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.geometry import bonds as bonds_lib

# Three levels of cyclic reduction reach eight bonds along the chain. On BPTI what a violation does
# has died out there by 1000; a fourth level changes derivatives by 1e-4 (0.1 Å) to 1e-3 (0.3 Å).
_STRIDES = np.array([1, 2, 4], np.int32)


def total(terms: Iterable[jax.Array]) -> jax.Array:
  """The sum, without a zero to begin with."""
  return functools.reduce(operator.add, terms)


@dataclasses.dataclass(frozen=True)
class Neighbours:
  """Values [..., L] of other residues of the chain; zero beyond its ends.

  Attributes:
    steps: ([3, ...], [3, ...]), for each of `_STRIDES` back and ahead: residues to go, or, where
      there are rings, [L] the index of the residue to arrive at, which is L beyond an end.
  """

  steps: tuple[jax.Array | np.ndarray, jax.Array | np.ndarray]

  @classmethod
  def of(cls, bonds: bonds_lib.Bonds, length: int) -> 'Neighbours':
    """Of L residues."""
    if bonds.ring is None:
      return cls((-_STRIDES, _STRIDES))
    bonds = bonds.broadcast((length,))

    def powers(near: jax.Array, there: jax.Array) -> jax.Array:
      near = jnp.append(jnp.where(there, near, length), length)
      found = [near]
      for _ in _STRIDES[1:]:
        found.append(found[-1][found[-1]])  # The strides are powers of two.
      return jnp.stack(found)[:, :length]

    return cls((powers(bonds.preceding, bonds.to_previous), powers(bonds.following, bonds.to_next)))

  def after(self, x: jax.Array) -> jax.Array:
    """X of the next residue."""
    if isinstance(self.steps[1], np.ndarray):
      return jnp.concatenate([x[..., 1:], jnp.zeros_like(x[..., :1])], axis=-1)
    return _shifted(x, self.steps[1][0])

  def before(self, x: jax.Array) -> jax.Array:
    """X of the residue before."""
    if isinstance(self.steps[0], np.ndarray):
      return jnp.concatenate([jnp.zeros_like(x[..., :1]), x[..., :-1]], axis=-1)
    return _shifted(x, self.steps[0][0])


def _shifted(x: jax.Array, step: jax.Array) -> jax.Array:
  """X of the residues that a step of `Neighbours`, which is traced, leads to."""
  if step.ndim:
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, 1)])
    return jnp.take(padded, step, axis=-1)
  room = int(_STRIDES.max())
  padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(room, room)])
  return jax.lax.dynamic_slice_in_dim(padded, room + step, x.shape[-1], axis=-1)


def solve(
  diagonal: jax.Array, upper: jax.Array, right: jax.Array, neighbours: Neighbours
) -> jax.Array:
  """Solution [4, ..., L] of a symmetric block tridiagonal system, positive definite.

  Args:
    diagonal: [4, 4, ..., L] blocks.
    upper: [4, 4, ..., L] blocks between a bond (rows) and the next one (columns).
    right: [4, ..., L].
    neighbours: of the bonds, which are those of the residues that they begin in.
  """
  # Derivatives come from the same solver, not from differentiating it.
  return jax.lax.custom_linear_solve(
    lambda x: _product(diagonal, upper, x, neighbours),
    right,
    lambda _, x: _cyclic_reduction(diagonal, upper, x, neighbours),
    symmetric=True,
  )


def _product(
  diagonal: jax.Array, upper: jax.Array, x: jax.Array, neighbours: Neighbours
) -> jax.Array:
  after = neighbours.after(x)
  lower = neighbours.before(total(upper[k] * x[k, None] for k in range(4)))
  return total(diagonal[:, k] * x[k, None] + upper[:, k] * after[k, None] for k in range(4)) + lower


def _cyclic_reduction(
  diagonal: jax.Array, upper: jax.Array, right: jax.Array, neighbours: Neighbours
) -> jax.Array:
  """Eliminates the neighbours of all bonds, then the neighbours twice as far, and so on."""

  def eliminated(system, steps):
    back, ahead = steps
    diagonal, upper, right = system
    lower = _shifted(jnp.swapaxes(upper, 0, 1), back)
    rows = _forward_substitution(diagonal, jnp.concatenate([lower, upper, right], axis=1))
    rows = [row[-9:] for row in rows]
    # lower^T D^-1 [lower, upper, right], and upper^T D^-1 [upper, right].
    backward = _shifted(total(row[:4, None] * row[None] for row in rows), ahead)
    forward = _shifted(total(row[4:8, None] * row[None, 4:] for row in rows), back)
    diagonal = diagonal - backward[:, :4] - forward[:, :4]
    right = right - backward[:, 8:] - forward[:, 4:]
    return (diagonal, -backward[:, 4:8], right), None

  # A loop: compiled once, whatever the number of levels.
  system = diagonal, upper, right[:, None]
  (diagonal, _, right), _ = jax.lax.scan(eliminated, system, neighbours.steps)
  rows = _forward_substitution(diagonal, right)
  solution: list[jax.Array] = []
  for k in reversed(range(4)):
    value = rows[k][-1] - sum(rows[k][1 + m] * x for m, x in enumerate(solution))
    solution.insert(0, value / rows[k][0])
  return jnp.stack(solution)


def _forward_substitution(diagonal: jax.Array, right: jax.Array) -> list[jax.Array]:
  """C^-1 [C C^T, right], where C C^T is Cholesky's factorisation of `diagonal`.

  Returns:
    The four rows; the first one [4 + n, ..., L], the others without their leading zeros.
  """
  rows: list[jax.Array] = []
  for k in range(4):
    row = jnp.concatenate([diagonal[k, k:], right[k]], axis=0)
    for m, above in enumerate(rows):
      row = row - above[k - m, None] * above[k - m :]
    rows.append(row / jnp.sqrt(row[:1]))
  return rows
