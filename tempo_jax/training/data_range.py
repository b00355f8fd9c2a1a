"""What data a model is trained on."""

from collections.abc import Iterable
from typing import Any

from tempo_jax.models import trained_range
from tempo_jax.store import entry


def measure(
  trajectories: Iterable[entry.Entry], time_block: tuple[float, float] = (0.0, 1.0)
) -> dict[str, Any]:
  """The section `trained_on` of a model's configuration.

  Args:
    trajectories: of a store, at least one.
    time_block: the part of each that was trained on, as fractions of its frames.

  Returns:
    'temperatures_K': each, ascending; 'num_residues': the least and the most; 'num_chains': the
    most; 'longest_ns': (residues, ns) of each part that no larger protein has one as long as, small
    proteins first.
  """
  trajectories = list(trajectories)
  residues = [len(x.residue_type) for x in trajectories]
  share = time_block[1] - time_block[0]
  return {
    'temperatures_K': tuple(sorted({float(x.temperature_K) for x in trajectories})),
    'num_residues': (min(residues), max(residues)),
    'num_chains': max(len(x.chain_ids) for x in trajectories),
    'longest_ns': trained_range.longest(
      (n, share * x.num_frames * float(x.dt_ns))
      for n, x in zip(residues, trajectories, strict=True)
    ),
  }
