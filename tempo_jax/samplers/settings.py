"""How much of a sampling run is computed at once, and the check of numbers that users give."""

import dataclasses

from tempo_jax.errors import InputError


def check_at_least_one(**numbers: int | None) -> None:
  """Raises `InputError` that names the number which is below 1; None stands for a default."""
  for name, value in numbers.items():
    if value is not None and value < 1:
      raise InputError(f'{name} = {value}: at least 1 is needed')


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
