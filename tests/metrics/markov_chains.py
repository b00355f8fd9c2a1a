"""Markov chains whose populations, passage times and time scales are known."""

import numpy as np

# p(0 -> 1) = a, p(1 -> 0) = b.
LEAVE, COME_BACK = 0.1, 0.3
TWO_STATES = np.array([[1.0 - LEAVE, LEAVE], [COME_BACK, 1.0 - COME_BACK]])
TWO_POPULATIONS = np.array([0.75, 0.25])
TWO_PASSAGE_TIMES = np.array([[0.0, 1.0 / LEAVE], [1.0 / COME_BACK, 0.0]])
TWO_TIME_SCALE = -1.0 / np.log(1.0 - LEAVE - COME_BACK)

# A line, 0 - 1 - 2. From 0 to 2: h0 = 10 + h1, 0.3 h1 = 1 + 0.2 h0, so h1 = 30. From 2 to 0:
# h2 = 10 / 3 + h1, 0.3 h1 = 1 + 0.1 h2, so h1 = 20 / 3. Eigenvalues: of trace 2.3 and
# determinant 0.4, beside 1.
THREE_STATES = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.3, 0.7]])
THREE_POPULATIONS = np.array([0.6, 0.3, 0.1])
THREE_PASSAGE_TIMES = np.array(
  [[0.0, 10.0, 40.0], [20.0 / 3.0, 0.0, 30.0], [10.0, 10.0 / 3.0, 0.0]]
)
THREE_TIME_SCALES = -1.0 / np.log([0.8, 0.5])


def sample(rng, transition_matrix, num_frames, start=0):
  """[F] int."""
  cumulative = transition_matrix.cumsum(axis=1)
  cumulative[:, -1] = 1.0
  states, draws = np.empty(num_frames, int), rng.random(num_frames)
  states[0] = start
  for t in range(1, num_frames):
    states[t] = np.searchsorted(cumulative[states[t - 1]], draws[t], side='right')
  return states


def positions(rng, states, length=6, noise=0.15):
  """[F, L, 4, 3] float32 Å: a shape for each state, noise about it, and any place in space."""
  shapes = 4.0 * np.random.default_rng(3).normal(size=(10, length, 4, 3))
  shaken = shapes[states] + noise * rng.normal(size=(len(states), length, 4, 3))
  return (shaken + 20.0 * rng.normal(size=(len(states), 1, 1, 3))).astype(np.float32)
