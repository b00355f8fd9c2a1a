"""Does a prediction visit the states of MD? States are cells on two principal components of MD.

After ConfRover and STAR-MD (Shen et al., arXiv 2505.17478 and 2602.02128), whose evaluation code is
not public; the formulas are those of the authors' earlier code (ConfDiff, `md_dist.py`). Our
choices, which the papers leave open: CA atoms, all frames of the reference, bins over its range.
"""

import dataclasses

import numpy as np

from tempo_jax.metrics import distribution
from tempo_jax.metrics.kinetics import Found

NUM_BINS = 10
"""Along each of the two components, of equal width, over the range of the reference."""
PSEUDO_COUNT = 1e-6
"""Added to the count of each cell before distributions are compared (ConfDiff)."""
MIN_FRAMES = 2
_LEAST_RANGE = 1e-6  # Å: rounding.


@dataclasses.dataclass(frozen=True)
class StateRecovery:
  """How the states of a prediction and of its reference agree.

  Attributes:
    js_distance: of the populations, natural logarithm, 0 to 0.8326. Predicted frames outside of the
      reference's range are in no state: they count in `hit_rate` alone.
    precision: share of the predicted states that are the reference's, 0 to 1; None if no frame is
      within the range.
    recall: share of the reference's states that are predicted.
    f1: harmonic mean of both; 0 if they have no state in common.
    hit_rate: share of predicted frames in states of the reference.
    recovery_rate: share of the reference's frames in states of the prediction.
    num_reference_states: of 100.
    num_predicted_states: of 100.
  """

  js_distance: float
  precision: float | None
  recall: float
  f1: float
  hit_rate: float
  recovery_rate: float
  num_reference_states: int
  num_predicted_states: int


def state_recovery(prediction: np.ndarray, reference: np.ndarray) -> Found[StateRecovery]:
  """Populations and states on the leading two principal components of the reference.

  10 x 10 bins over the reference's range; a state is a bin with a frame in it. STAR-MD counts valid
  frames of the prediction only: leave out others before. Blind to the order of frames, and to all
  motion but that along two components. More frames find more states: compare as many as a baseline
  has.

  Args:
    prediction: [F, 2 or more] Å, `distribution.Pca.project` with the PCA of the reference's CA;
      both sides superposed on one structure by CA.
    reference: [G, 2 or more] Å, the same.

  Returns:
    What was found and None; or None and the reason: too few frames, or a reference that rests.
  """
  for name, points in (('prediction', prediction), ('reference', reference)):
    if len(points) < MIN_FRAMES:
      return None, f'{len(points)} frames of the {name} are too few for populations of states'
  if min(prediction.shape[1], reference.shape[1]) < 2:
    return None, 'states need two principal components'
  extent = np.stack([reference[:, :2].min(axis=0), reference[:, :2].max(axis=0)], axis=1)
  if np.any(np.diff(extent, axis=1) < _LEAST_RANGE):
    return None, 'the reference does not move along two principal components'
  ours, theirs = (
    np.histogram2d(x[:, 0], x[:, 1], bins=NUM_BINS, range=extent)[0].ravel()
    for x in (prediction, reference)
  )
  both = (ours > 0.0) & (theirs > 0.0)
  shared, predicted, known = (int(np.count_nonzero(x)) for x in (both, ours, theirs))
  return StateRecovery(
    js_distance=float(distribution.js_distance(ours + PSEUDO_COUNT, theirs + PSEUDO_COUNT)),
    precision=shared / predicted if predicted else None,
    recall=shared / known,
    # 2 P R / (P + R), which is 0 / 0 without a common state.
    f1=2.0 * shared / (predicted + known),
    hit_rate=float(ours[both].sum()) / len(prediction),
    recovery_rate=float(theirs[both].sum()) / len(reference),
    num_reference_states=known,
    num_predicted_states=predicted,
  ), None
