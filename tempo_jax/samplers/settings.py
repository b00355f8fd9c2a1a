"""How much of a sampling run is computed at once, which atoms, and checks of what users give."""

import dataclasses
from typing import Any

from tempo_jax import config as config_lib
from tempo_jax.errors import InputError
from tempo_jax.trajectory import atoms as atoms_lib


def check_at_least_one(**numbers: int | None) -> None:
  """Raises `InputError` that names the number which is below 1; None stands for a default."""
  for name, value in numbers.items():
    if value is not None and value < 1:
      raise InputError(f'{name} = {value}: at least 1 is needed')


def atoms_of(config: Any, asked_for: str | None) -> str:
  """The atoms that a sampler of a model is to give, one of `atoms.CHOICES`.

  Args:
    config: the model's configuration.
    asked_for: by the user; None: all that the model has.

  Raises:
    InputError: no such choice, or the model draws no side chains.
  """
  has_side_chains = config_lib.has_side_chains(config)
  if asked_for is None:
    return atoms_lib.HEAVY if has_side_chains else atoms_lib.BACKBONE
  if asked_for not in atoms_lib.CHOICES:
    raise InputError(f'atoms = {asked_for!r}: give {" or ".join(map(repr, atoms_lib.CHOICES))}')
  if asked_for == atoms_lib.HEAVY and not has_side_chains:
    raise InputError(
      "atoms = 'heavy', but this model draws the backbone alone: leave the choice of atoms out, or "
      'take a model with side chains'
    )
  return asked_for


@dataclasses.dataclass(frozen=True)
class BatchSizes:
  """How much is computed at once on a device: it trades memory for speed, never the result.

  Attributes:
    segments: segments of a level (the users' `segment_batch_size`); None: what suits the device.
    trajectories: trajectories (the users' `replica_batch_size`); None: all.

  Raises:
    InputError: a number is below 1.
  """

  segments: int | None = None
  trajectories: int | None = None

  def __post_init__(self):
    """Checks the numbers, under the names that users know."""
    check_at_least_one(segment_batch_size=self.segments, replica_batch_size=self.trajectories)


DEFAULT = BatchSizes()
