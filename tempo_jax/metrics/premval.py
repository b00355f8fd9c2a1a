"""The panel of PREMVAL 1.0.0 (github.com/jsilter/premval), number by number. Plain numpy.

AlphaFlow's metrics on CA alone. What differs from the table of `tempo-jax evaluate`: atoms, the
structure that frames are superposed on (the first frame of MD's first replica, which also defines
the contacts), and draws of reference frames. Its board takes 250 frames per protein.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tempo_jax.metrics import contacts, distribution, flexibility, superposition
from tempo_jax.metrics.kinetics import Found

SEED = 137
REFERENCE_FRAMES = 1000
"""Of the Gaussians and of the contacts, drawn without replacement."""
_STILL = 1e-6  # Å: rounding.


@dataclasses.dataclass(frozen=True)
class Panel:
  """Names are PREMVAL's; None where a number is not defined (there, NaN).

  Attributes:
    rmsf_pearson: over CA.
    emd_mean_rms: Å, translation part of the root mean W2.
    emd_var_rms: Å, its variance part.
    rmwd: Å, root mean W2.
    md_pca_w2: Å, on two principal components of all reference frames, over the root of L; None
      where there are more predicted than reference frames.
    weak_contacts_jaccard: as in `contacts`.
    transient_contacts_jaccard: as in `contacts`.
    notes: why a number is None.
  """

  rmsf_pearson: float | None
  emd_mean_rms: float
  emd_var_rms: float
  rmwd: float
  md_pca_w2: float | None
  weak_contacts_jaccard: float | None
  transient_contacts_jaccard: float | None
  notes: tuple[str, ...]


def panel(prediction: np.ndarray, reference: Sequence[np.ndarray]) -> Found[Panel]:
  """Scores one protein.

  Args:
    prediction: [F, L, 3] Å, CA; orientation and order do not matter.
    reference: replicas of MD in their order, [G, L, 3] Å each.

  Returns:
    The numbers and None; or None and the reason: a side has fewer than two frames.
  """
  theirs = np.concatenate(list(reference))
  for name, frames in (('prediction', prediction), ('reference', theirs)):
    if len(frames) < 2:
      return None, f'{len(frames)} frames of the {name} are too few'
  ours, theirs = (superposition.superpose_points(x, theirs[0]) for x in (prediction, theirs))
  thinned = theirs[_draw(len(theirs), REFERENCE_FRAMES)]
  w2 = distribution.root_mean_w2(ours, thinned)
  notes: list[str] = []

  def defined(key: str, value: float, why: str) -> float | None:
    if np.isnan(value):
      notes.append(f'{key}: {why}')
      return None
    return float(value)

  pca_w2 = None
  if len(ours) > len(theirs):
    notes.append(f'md_pca_w2: {len(ours)} predicted frames, but {len(theirs)} of the reference')
  else:
    pca = distribution.Pca.fit(theirs)
    pca_w2 = distribution.pca_w2(pca, ours, theirs[_draw(len(theirs), len(ours))])
  native = _contact_probability(theirs[:1]) > 0.0
  probabilities = [_contact_probability(x) for x in (ours, thinned)]
  weak, transient = (
    contacts.jaccard(*(choose(native, x) for x in probabilities))
    for choose in (contacts.weak_contacts, contacts.transient_contacts)
  )
  fluctuations = [flexibility.rmsf(x) for x in (ours, theirs)]
  moves = min(x.max() for x in fluctuations) > _STILL
  pearson = flexibility.pearson(*fluctuations) if moves else float('nan')
  none = 'neither side has such contacts'
  return Panel(
    rmsf_pearson=defined('rmsf_pearson', pearson, 'the RMSF of one side does not vary'),
    emd_mean_rms=w2.translation,
    emd_var_rms=w2.variance,
    rmwd=w2.total,
    md_pca_w2=pca_w2,
    weak_contacts_jaccard=defined('weak_contacts_jaccard', weak, none),
    transient_contacts_jaccard=defined('transient_contacts_jaccard', transient, none),
    notes=tuple(notes),
  ), None


def _draw(num_frames: int, size: int) -> np.ndarray:
  """Sorted frames; each draw begins a generator anew, and none is made where all are asked for."""
  if size >= num_frames:
    return np.arange(num_frames)
  return np.sort(np.random.default_rng(SEED).choice(num_frames, size=size, replace=False))


def _contact_probability(ca: np.ndarray) -> np.ndarray:
  return contacts.contact_probability(np.broadcast_to(ca[:, :, None], (*ca.shape[:2], 4, 3)))
