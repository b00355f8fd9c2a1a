"""Where a window's anchor stands: one type from the store to the network."""

import dataclasses
import enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class Kind(enum.IntEnum):
  """What a level keeps in sight besides its latest frames."""

  NONE = 0
  """Nothing: a placeholder stands where the conformation would be."""
  END = 1
  """The next frame of the coarser level, in which the segment ends."""
  REFERENCE = 2
  """The conformation that the trajectory began with; nothing has to end in it."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Place:
  """What an anchor is, and how far ahead in time.

  Attributes:
    kind: [...] int32, a `Kind`.
    frames: [...] int32, frames of the level from now to the end of the segment; of no meaning for
      the other kinds. Now is the first frame in a window of the store, the newest one in a rollout.
  """

  kind: Any = Kind.NONE
  frames: Any = 0

  @property
  def known(self) -> Any:
    """[...] bool, whether there is something to see: an end that has passed is behind."""
    return self.is_reference | ((self.kind == Kind.END) & (self.frames > 0))

  @property
  def is_reference(self) -> Any:
    """[...] bool."""
    return self.kind == Kind.REFERENCE

  def after(self, num_frames: int) -> 'Place':
    """The same seen `num_frames` later."""
    return Place(self.kind, self.frames - num_frames)

  def unless(self, hidden: jax.Array) -> 'Place':
    """The same, or nothing where `hidden` [...] bool is true."""
    return Place(jnp.where(hidden, Kind.NONE, self.kind), self.frames)


def at_end(num_frames: int) -> Place:
  """The end of a segment of that many frames, [] int32 each, in its first frame."""
  return Place(jnp.int32(Kind.END), jnp.int32(num_frames))


def stack(places: list[Place]) -> Place:
  """Fields [B] int32 of as many places."""
  kinds, frames = ([getattr(place, name) for place in places] for name in ('kind', 'frames'))
  return Place(np.array(kinds, np.int32), np.array(frames, np.int32))
