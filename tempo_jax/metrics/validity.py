"""Is every frame a sound chain? Lengths across the peptide bonds, and clashes.

Positions are [..., L, 4, 3] Å, N, CA, C, O, without padding; `bonded` [L] bool says which
residues have a peptide bond to the next one. Memory grows as the positions, never as L^2.
"""

import jax
import jax.numpy as jnp

from tempo_jax import residue_selection

_N, _CA, _C = range(3)

# Å. The limits beyond which BioEmu (Lewis et al., 2025) discards a frame: a chain with a longer
# C-N or CA-CA has come apart. CA-CA is 3.8 in a trans peptide, 2.95 in a cis one, and heat moves
# it by 0.06: what is below 2.5 has collapsed.
MAX_C_N = residue_selection.MAX_BOND
MIN_CA_CA = 2.5
MAX_CA_CA = 4.5
# Paper, section 9: the clash ratio counts frames with two atoms nearer than this.
CLASH_DISTANCE = residue_selection.CLASH_DISTANCE


def _to_next(positions: jax.Array, atom: int, next_atom: int) -> jax.Array:
  """Distance [..., L - 1] Å from an atom of each residue to one of the next residue."""
  step = positions[..., 1:, next_atom, :] - positions[..., :-1, atom, :]
  return jnp.sqrt(jnp.sum(step * step, axis=-1))


def ca_ca_range(positions: jax.Array, bonded: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Least and greatest CA-CA distance of bonded neighbours.

  Args:
    positions: [..., L, 4, 3] Å.
    bonded: [L] bool.

  Returns:
    Two arrays [...] in Å; inf and -inf where nothing is bonded.
  """
  distance, bonded = _to_next(positions, _CA, _CA), bonded[:-1]
  return (
    jnp.min(distance, axis=-1, initial=jnp.inf, where=bonded),
    jnp.max(distance, axis=-1, initial=-jnp.inf, where=bonded),
  )


def c_n_max(positions: jax.Array, bonded: jax.Array) -> jax.Array:
  """Greatest C-N distance of bonded neighbours.

  Args:
    positions: [..., L, 4, 3] Å.
    bonded: [L] bool.

  Returns:
    [...] Å; -inf where nothing is bonded.
  """
  return jnp.max(_to_next(positions, _C, _N), axis=-1, initial=-jnp.inf, where=bonded[:-1])


def is_broken(ca_ca_min: jax.Array, ca_ca_max: jax.Array, c_n_max: jax.Array) -> jax.Array:
  """Whether a chain has come apart or collapsed somewhere.

  Args:
    ca_ca_min: [...] Å, from `ca_ca_range`.
    ca_ca_max: [...] Å, from `ca_ca_range`.
    c_n_max: [...] Å, from `c_n_max`.

  Returns:
    [...] bool: CA-CA outside 2.5 to 4.5 Å, or C-N above 2 Å.
  """
  return (ca_ca_min < MIN_CA_CA) | (ca_ca_max > MAX_CA_CA) | (c_n_max > MAX_C_N)


def num_clashes(positions: jax.Array, bonded: jax.Array) -> jax.Array:
  """Pairs of backbone atoms of different residues nearer than 1.2 Å (paper, sections 5 and 9).

  C and N of a peptide bond are no pair.

  Args:
    positions: [..., L, 4, 3] Å.
    bonded: [L] bool.

  Returns:
    [...] int32; each pair counts once.
  """
  length = positions.shape[-3]
  index = jnp.arange(length)

  def near(a, b):
    squared = sum((a[..., k] - b[..., k]) ** 2 for k in range(3))
    return squared < CLASH_DISTANCE**2

  # Residue i against residue i + shift around the ring: half a turn meets every pair once, save
  # that at exactly half the two ends of the first half meet those of the second twice.
  def count_shift(shift, total):
    other = jnp.roll(positions, -shift, axis=-3)
    pairs = near(positions[..., :, :, None, :], other[..., :, None, :, :])  # [..., L, A, A]
    once = (2 * shift < length) | (index < length // 2)
    pairs &= jnp.broadcast_to(once[:, None, None], pairs.shape)
    return total + jnp.sum(pairs, axis=(-3, -2, -1), dtype=jnp.int32)

  total = jax.lax.fori_loop(
    1, length // 2 + 1, count_shift, jnp.zeros(positions.shape[:-3], jnp.int32)
  )
  peptide = near(positions[..., :-1, _C, :], positions[..., 1:, _N, :])
  peptide &= jnp.broadcast_to(bonded[:-1], peptide.shape)
  return total - jnp.sum(peptide, axis=-1, dtype=jnp.int32)
