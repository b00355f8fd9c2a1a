"""What data a model was trained on, and whether an input lies within."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tempo_jax.protein import protein as protein_lib

# Proteins of so large a part of the residues tell how one moves in the course of time.
_ALIKE = 0.5


def longest(parts: Iterable[Sequence[float]]) -> tuple[tuple[int, float], ...]:
  """The (residues, ns) that no larger protein has one as long as, small proteins first."""
  found: list[tuple[int, float]] = []
  for residues, ns in sorted(map(tuple, parts), reverse=True):
    if not found or ns > found[-1][1]:
      found.append((int(residues), float(ns)))
  return tuple(reversed(found))


def merge(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
  """What a model has seen that was trained on one set of data, then on another."""
  residues = (*one['num_residues'], *other['num_residues'])
  return {
    'temperatures_K': tuple(sorted({*one['temperatures_K'], *other['temperatures_K']})),
    'num_residues': (min(residues), max(residues)) if residues else (),
    'num_chains': max(one['num_chains'], other['num_chains']),
    'longest_ns': longest((*one['longest_ns'], *other['longest_ns'])),
  }


def warnings(
  config: Any,
  protein: protein_lib.Protein,
  temperature_K: float,
  length_ns: float | None = None,
) -> list[str]:
  """What of an input the model has not seen the like of.

  Args:
    config: the model's configuration.
    protein: to be sampled.
    temperature_K: K.
    length_ns: of the trajectory to be sampled; None if that does not matter.

  Returns:
    A line for each; none for a model that was never trained.
  """
  seen, said = config.trained_on, []
  if not seen.temperatures_K:
    return []
  if not seen.temperatures_K[0] <= temperature_K <= seen.temperatures_K[-1]:
    at = _range(seen.temperatures_K[0], seen.temperatures_K[-1], 'K')
    said.append(f'the model was trained at {at}; {temperature_K:g} K is outside')
  least, most = seen.num_residues
  if not least <= protein.num_residues <= most:
    of = _range(least, most, 'residues')
    said.append(f'the model was trained on proteins of {of}; {protein.num_residues} is outside')
  if len(protein.chain_ids) > seen.num_chains:
    chains = 'single chains' if seen.num_chains == 1 else f'up to {seen.num_chains} chains'
    said.append(f'the model was trained on {chains}; it has not seen {len(protein.chain_ids)}')
  # What a peptide does in a long time says little of a protein.
  alike = [ns for n, ns in seen.longest_ns if n >= _ALIKE * protein.num_residues]
  longest = max(alike) if alike else seen.longest_ns[-1][1]
  # The last digits of a sum of time steps do not matter.
  if length_ns is not None and length_ns > 1.001 * longest:
    said.append(
      f'of proteins of such a size the model was trained on no more than {longest:.3g} ns in one '
      f'piece: slower motion, within {length_ns:.3g} ns, is a guess'
    )
  return said


def _range(low: float, high: float, unit: str) -> str:
  return f'{low:g} {unit} only' if low == high else f'{low:g} to {high:g} {unit}'
