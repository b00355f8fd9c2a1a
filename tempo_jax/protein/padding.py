"""Padding of proteins to one of a few lengths, so that shapes recur."""

from collections.abc import Sequence

import jax
import numpy as np

from tempo_jax.geometry import ideal
from tempo_jax.protein.protein import ProteinArrays

BUCKETS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Padded lengths, in residues.

A step is by a third or a half: of more than 16 residues at most a third is padding, and a run
compiles at most thirteen times. All are multiples of 8, the tile of an accelerator.
"""

SAMPLING_LENGTHS = (
  *range(16, 128, 8),
  *range(128, 256, 16),
  *range(256, 512, 32),
  *range(512, 1024, 64),
  *range(1024, 4097, 128),
)
"""Padded lengths for sampling: finer, since each is compiled only where a protein has it.

Proteins of similar length share a program; at most a ninth of 64 residues and more is padding.
"""
_BEYOND = 512


def sampling_length(length: int) -> int:
  """The next of `SAMPLING_LENGTHS`; beyond them, the next multiple of 512."""
  if length > SAMPLING_LENGTHS[-1]:
    return -(-length // _BEYOND) * _BEYOND
  return bucket(length, SAMPLING_LENGTHS)


def bucket(length: int, buckets: Sequence[int] = BUCKETS) -> int:
  """The padded length of a protein in training: the least bucket that holds it.

  Beyond the last bucket, the next multiple of half of it.
  """
  for size in buckets:
    if length <= size:
      return size
  half = buckets[-1] // 2
  return -(-length // half) * half


def pad_positions(positions: np.ndarray, length: int) -> np.ndarray:
  """Pads [..., L, 4, 3] Å to [..., length, 4, 3].

  Padding repeats the last residue, each time 3.8 Å further along x: frames, torsions and
  distances of it are finite, and so are their gradients.
  """
  extra = length - positions.shape[-3]
  shift = np.zeros((extra, 1, 3), positions.dtype)
  # Padding looks like one more residue of the chain.
  shift[:, 0, 0] = ideal.CA_CA_TRANS * np.arange(1, extra + 1)
  return np.concatenate([positions, positions[..., -1:, :, :] + shift], axis=-3)


def pad_with_zeros(field: np.ndarray, length: int, axis: int = 0) -> np.ndarray:
  """Pads the axis of residues to `length`, with zeros or False."""
  width = [(0, 0)] * field.ndim
  width[axis] = 0, length - field.shape[axis]
  return np.pad(field, width)


def pad(arrays: ProteinArrays, length: int) -> ProteinArrays:
  """Pads a protein of L residues to `length`; in padding `mask` and `bonded` are False.

  Raises:
    ValueError: the protein is longer than that.
  """
  extra = length - len(arrays.mask)
  if extra < 0:
    raise ValueError(f'{len(arrays.mask)} residues do not fit into {length}')

  def with_minus_one(field: jax.Array | np.ndarray | None) -> np.ndarray | None:
    return None if field is None else np.pad(np.asarray(field), (0, extra), constant_values=-1)

  def with_zeros(field: jax.Array | np.ndarray) -> np.ndarray:
    return pad_with_zeros(np.asarray(field), length)

  def optional_with_zeros(field: jax.Array | np.ndarray | None) -> np.ndarray | None:
    return None if field is None else with_zeros(field)

  return ProteinArrays(
    residue_type=with_zeros(arrays.residue_type),
    residue_index=with_zeros(arrays.residue_index),
    chain_index=with_zeros(arrays.chain_index),
    bonded=with_zeros(arrays.bonded),
    mask=with_zeros(arrays.mask),
    positions=pad_positions(np.asarray(arrays.positions), length),
    ring=with_minus_one(arrays.ring),
    disulphides=with_minus_one(arrays.disulphides),
    chi=optional_with_zeros(arrays.chi),
    chi_known=optional_with_zeros(arrays.chi_known),
    solvent=arrays.solvent,
    mirrored=optional_with_zeros(arrays.mirrored),
    centre=optional_with_zeros(arrays.centre),
  )
