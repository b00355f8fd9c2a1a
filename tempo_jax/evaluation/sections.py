"""Parts of an ensemble that are nearly independent of each other, for error bars."""

import dataclasses
import itertools

import numpy as np

from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.metrics import distribution, uncertainty
from tempo_jax.metrics.kinetics import Found

MIN_PARTS = 4
"""Of which an error is itself uncertain by two fifths; of whole replicas three are enough."""
MAX_PARTS = 5
"""Of three replicas six. More parts are shorter, and each costs a comparison with the reference."""
_MIN_REPLICAS = 3
_MIN_FRAMES = 10  # of a part
_LONG = 2.5  # Statistical inefficiencies of a part, from which on its error is 10 % too small.

Cuts = tuple[tuple[int, slice], ...]
"""Numbers of replicas, and which of their frames."""


@dataclasses.dataclass(frozen=True)
class Sections:
  """Parts of an ensemble.

  Attributes:
    parts: of nearly equal length, each contiguous in time, or one or more whole replicas.
    inefficiency: statistical inefficiency g of the slowest of RMSD, PC1 and PC2, frames.
  """

  parts: tuple[Cuts, ...]
  inefficiency: float

  def masks(self, ensemble: Ensemble) -> list[list[np.ndarray]]:
    """For each part, which frames are left without it: [F] bool per replica."""
    found = []
    for part in self.parts:
      masks = [np.ones(replica.num_frames, bool) for replica in ensemble.replicas]
      for k, frames in part:
        masks[k][frames] = False
      found.append(masks)
    return found

  def without(self, ensemble: Ensemble) -> list[Cuts]:
    """For each part, the stretches of frames that are left without it."""
    return [
      tuple((k, frames) for k, mask in enumerate(masks) for frames in _stretches(mask))
      for masks in self.masks(ensemble)
    ]


def _stretches(mask: np.ndarray) -> list[slice]:
  """Where a mask [F] is true."""
  edges = np.flatnonzero(np.diff(mask, prepend=False, append=False)).tolist()
  return [slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def inefficiency(ensemble: Ensemble, pca: distribution.Pca) -> float:
  """Statistical inefficiency g, frames: of the slowest of CA-RMSD and two principal components.

  Frames count in the order in which they stand in the file, also where it has no times: of
  independent samples, g is about 1. It is too low where an ensemble has not seen all there is.
  """
  scores = pca.project(ensemble.ca)[:, :2]
  series = (ensemble.rmsd, *scores.T)
  found = (uncertainty.statistical_inefficiency(ensemble.split(x))[0] for x in series)
  return max((g for g in found if g is not None), default=1.0)


def cut(ensemble: Ensemble, pca: distribution.Pca) -> Found[Sections]:
  """Cuts an ensemble into parts that are as independent as its length allows.

  Four to six parts of at least ten frames, 2.5 g long if possible, but at least g. Replicas are
  independent of each other: no part holds frames of two unless they are whole, and three or more
  whole replicas are parts, however large g. Those shorter than half a part are left out.

  Args:
    ensemble: of one or more replicas.
    pca: of the reference.

  Returns:
    The parts and None; or None and the reason.
  """
  g = inefficiency(ensemble, pca)
  lengths = [replica.num_frames for replica in ensemble.replicas]
  if len(lengths) > MAX_PARTS:
    # As equal as can be: largest over smallest.
    num = min(range(MIN_PARTS, 7), key=lambda n: -(-len(lengths) // n) / (len(lengths) // n))
    groups = np.array_split(np.arange(len(lengths)), num)
    return Sections(tuple(tuple((int(k), slice(None)) for k in x) for x in groups), g), None
  total = sum(lengths)
  wanted = int(total // max(_MIN_FRAMES, _LONG * g))
  length = total / min(MAX_PARTS, max(MIN_PARTS, wanted))
  parts: list[Cuts] = []
  for k, num_frames in enumerate(lengths):
    # A half is rounded down: six parts of four replicas are four.
    num = int(num_frames / length + 0.49)
    num = min(num, max(1, int(num_frames // max(_MIN_FRAMES, g))))
    bounds = np.linspace(0, num_frames, num + 1).round().astype(int).tolist() if num else []
    parts += [((k, slice(a, b)),) for a, b in itertools.pairwise(bounds)]
  whole = all(frames == slice(0, lengths[k]) for ((k, frames),) in parts)
  if len(parts) >= (_MIN_REPLICAS if whole else MIN_PARTS):
    return Sections(tuple(parts), g), None
  worth = f', which are worth {total / g:.1f} independent ones,' if g > 1.0 else ''
  return None, f'{total} frames{worth} are too few for an error'
