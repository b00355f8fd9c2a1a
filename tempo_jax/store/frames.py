"""Frames on their way into a store: backbones, and the torsions of the side chains beside them."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Frames:
  """Some frames of one trajectory.

  Attributes:
    positions: [F, L, 4, 3] Å, N, CA, C, O.
    chi: [F, L, 4] rad, NaN where there is none or it is not known; None where the source has no
      side chains.
  """

  positions: np.ndarray
  chi: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.positions)

  def __getitem__(self, index: slice) -> 'Frames':
    chi = None if self.chi is None else self.chi[index]
    return Frames(self.positions[index], chi)


def rechunk(blocks: Iterable[np.ndarray | Frames], size: int) -> Iterator[Frames]:
  """Blocks of any number of frames, as blocks of exactly `size`; the last may be shorter.

  Raises:
    ValueError: only some of the blocks have side chains, or not those of every frame.
  """
  pending: list[Frames] = []
  for block in blocks:
    pending.append(block if isinstance(block, Frames) else Frames(np.asarray(block)))
    if sum(map(len, pending)) < size:
      continue
    joined = _joined(pending)
    whole = len(joined) // size * size
    yield from (joined[i : i + size] for i in range(0, whole, size))
    pending = [joined[whole:]]
  if any(map(len, pending)):
    yield _joined(pending)


def _joined(blocks: list[Frames]) -> Frames:
  chi = [block.chi for block in blocks if block.chi is not None]
  positions = np.concatenate([block.positions for block in blocks])
  if chi and (len(chi) < len(blocks) or sum(map(len, chi)) != len(positions)):
    raise ValueError('side chains of some frames only')
  return Frames(positions, np.concatenate(chi) if chi else None)
