"""What a report draws of side chains: distributions of chi, and rotamer populations; plain data."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tempo_jax.metrics import distribution, rotamer_changes, side_chains
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms

NUM_CHI = 2


@dataclasses.dataclass(frozen=True, eq=False)
class SideChainSeries:
  """chi1 and chi2 of both sides; residues are all L of the protein.

  Attributes:
    names: [L] of residues, such as 'LEU 12'.
    periods: [L, 2] radians, after which chi is the same: a whole or half a turn.
    counts: [2, L, 2, 36] of MD and of the prediction, over the period from 0; 0 where a residue
      has no such chi, or it is unknown.
    divergences: [L, 2] bits, `side_chains.chi_jsd`; NaN where there is none.
    half_divergences: [L, 2] bits, of MD's first half and its second; NaN alike.
    populations: [2, L, 2, 3], share of frames in each well (`rotamer_changes.occupancy`) of MD and
      of the prediction; NaN where there are none.
    wells: [L, 2, 3] radians, their middles; NaN where there are fewer.
  """

  names: Sequence[str]
  periods: np.ndarray
  counts: np.ndarray
  divergences: np.ndarray
  half_divergences: np.ndarray
  populations: np.ndarray
  wells: np.ndarray


def of_chi(
  reference: Sequence[np.ndarray],
  prediction: Sequence[np.ndarray],
  rotamers: tuple[np.ndarray, np.ndarray],
  protein: protein_lib.Protein,
) -> SideChainSeries | None:
  """Series of both sides.

  Args:
    reference: [F, L, 4] radians per replica, NaN where a residue has no such chi or it is unknown.
    prediction: the same.
    rotamers: [F, L, 2], from `rotamer_changes.states`, of all replicas of both.
    protein: of L residues.

  Returns:
    None where no residue has a chi that both sides know.
  """
  types = np.asarray(protein.arrays.residue_type)
  there = np.all([side_chains.known(x, types) for x in (*reference, *prediction)], axis=0)
  there = there[:, :NUM_CHI]
  if not there.any():
    return None
  periods = side_chain_atoms.chi_period(types)[:, :NUM_CHI]

  def histograms(replicas: Sequence[np.ndarray]) -> np.ndarray:
    """[L, 2, 36]."""
    found = np.zeros((len(types), NUM_CHI, side_chains.NUM_BINS), np.int64)
    for chi in replicas:
      if len(chi):
        found[there] += side_chains.histograms(chi[:, :, :NUM_CHI][:, there], periods[there])
    return found

  def divergences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[L, 2] bits."""
    found = np.full(there.shape, np.nan)
    if a.any() and b.any():
      found[there] = distribution.jensen_shannon(a[there], b[there])
    return found

  halves = [np.array_split(chi, 2) for chi in reference]
  first, second = (histograms([parts[k] for parts in halves]) for k in range(2))
  predicted = histograms(prediction)
  return SideChainSeries(
    residue_names(protein),
    periods,
    np.stack([first + second, predicted]),
    divergences(first + second, predicted),
    divergences(first, second),
    np.stack([rotamer_changes.occupancy(x) for x in rotamers]),
    rotamer_changes.wells(types),
  )


def residue_names(protein: protein_lib.Protein) -> list[str]:
  """Type and author's number, such as 'LEU 12'; of several chains 'A LEU 12'."""
  arrays = protein.arrays
  several = len(set(np.asarray(arrays.chain_index).tolist())) > 1
  return [
    (f'{chain} ' if several else '') + f'{protein_lib.RESIDUE_TYPES[kind]} {number}{code}'
    for chain, kind, number, code in zip(
      protein.chain_of_residue,
      np.asarray(arrays.residue_type),
      protein.residue_number,
      protein.insertion_code,
      strict=True,
    )
  ]
