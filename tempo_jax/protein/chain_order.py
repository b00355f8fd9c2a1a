"""Residues of a chain in the order of their bonds, whatever the order of the file."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tempo_jax.geometry import limits
from tempo_jax.protein import candidate as candidate_lib
from tempo_jax.protein.candidate import Candidate


def one_chain_after_another(candidates: Sequence[Candidate]) -> list[Candidate]:
  """Brings the parts of a chain together, e.g. modified residues listed at the end."""
  by_chain: dict[str, list[Candidate]] = {}
  for candidate in candidates:
    by_chain.setdefault(candidate.chain, []).append(candidate)
  return [candidate for part in by_chain.values() for candidate in part]


def in_their_places(candidates: Sequence[Candidate], coordinates: np.ndarray) -> list[Candidate]:
  """Modified residues that a file lists after their chain, put where they are bonded."""
  # Residues that follow one another with a bond; what is no amino acid stands for itself.
  runs: list[list[Candidate]] = []
  for candidate in candidates:
    if runs and _are_bonded(runs[-1][-1], candidate, coordinates):
      runs[-1].append(candidate)
    else:
      runs.append([candidate])
  moved = True
  while moved:  # Strays that found each other look for their chain together.
    moved = False
    for run in [
      run for run in runs if all(c.is_hetero and candidate_lib.is_amino_acid(c) for c in run)
    ]:
      at = next((i for i, other in enumerate(runs) if other is run), None)
      neighbour = None if at is None else _bonded_run(runs, run, coordinates)
      if at is None or neighbour is None:
        continue
      other, comes_after = runs[neighbour], _are_bonded(runs[neighbour][-1], run[0], coordinates)
      here = [dataclasses.replace(c, segment=other[0].segment) for c in run]
      # The strays among its neighbours go on from where they are.
      runs[neighbour] = [*other, *here] if comes_after else [*here, *other]
      del runs[at]
      moved = True
  return [candidate for run in runs for candidate in run]


def _bonded_run(
  runs: Sequence[Sequence[Candidate]], run: Sequence[Candidate], coordinates: np.ndarray
) -> int | None:
  """The run to which one is bonded, at either end."""
  nowhere = np.full(3, np.nan)

  def place(candidate: Candidate, atom: str) -> np.ndarray:
    row = candidate.atoms.get(atom)
    return nowhere if row is None or candidate.chain != run[0].chain else coordinates[row]

  ends = np.array([place(other[-1], 'C') for other in runs]) - place(run[0], 'N')
  starts = np.array([place(other[0], 'N') for other in runs]) - place(run[-1], 'C')
  near = (np.linalg.norm(ends, axis=-1) < limits.MAX_BOND) | (
    np.linalg.norm(starts, axis=-1) < limits.MAX_BOND
  )
  return next((i for i in np.flatnonzero(near).tolist() if runs[i] is not run), None)


def _are_bonded(before: Candidate, after: Candidate, coordinates: np.ndarray) -> bool:
  c, n = before.atoms.get('C'), after.atoms.get('N')
  if c is None or n is None or before.chain != after.chain:
    return False
  return bool(np.linalg.norm(coordinates[n] - coordinates[c]) < limits.MAX_BOND)
