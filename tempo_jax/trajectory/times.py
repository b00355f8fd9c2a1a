"""Times of frames: are they evenly spaced? Files hold them as float32."""

import mdtraj
import numpy as np


def has_times(traj: mdtraj.Trajectory) -> bool:
  """Whether the format of a file has times; if not, mdtraj counts its frames, in integers."""
  return not np.issubdtype(traj.time.dtype, np.integer)


def rounded(time: float) -> float:
  """A time to 6 digits: 0.1 ps is not to become 0.10000000149."""
  return float(f'{time:.6g}')


def uneven(times: np.ndarray, step: float) -> np.ndarray:
  """Frames that are not followed by the next one after `step`.

  Args:
    times: [F] in any unit.
    step: in the same unit. A thousandth of it, and the rounding of float32, are tolerated.

  Returns:
    [N] int, indices of the frames.
  """
  times = np.asarray(times, np.float64)
  rounding = 2.0 * np.spacing(np.float32(np.abs(times).max(initial=0.0)))
  return np.flatnonzero(np.abs(np.diff(times) - step) > 1e-3 * step + rounding)


def typical_step(times: np.ndarray) -> float:
  """Time from frame to frame: the mean of even steps, else the median.

  Args:
    times: [F] in any unit, two at least.
  """
  times = np.asarray(times, np.float64)
  mean = (times[-1] - times[0]) / (len(times) - 1)
  return float(np.median(np.diff(times)) if uneven(times, mean).size else mean)


def resolution(times: np.ndarray) -> float:
  """The difference that float32 can tell at such times, in their unit."""
  return float(np.spacing(np.float32(np.abs(times).max(initial=0.0))))
