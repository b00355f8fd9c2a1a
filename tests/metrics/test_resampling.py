import numpy as np

from tempo_jax.metrics import resampling


def test_draws_are_those_of_numpys_global_generator():
  state = np.random.get_state()  # noqa: NPY002
  found = resampling.Frames.alphaflow(num_reference=301, num_predicted=48)
  after = np.random.get_state()  # noqa: NPY002
  np.testing.assert_array_equal(after[1], state[1])  # the session's own stream is left alone
  try:
    np.random.seed(137)  # noqa: NPY002
    expected = [np.random.randint(0, 301, size) for size in (48, 48, 1000)]  # noqa: NPY002
  finally:
    np.random.set_state(state)  # noqa: NPY002
  for a, b in zip((found.rand1, found.rand2, found.rand1k), expected, strict=True):
    np.testing.assert_array_equal(a, b)


def test_the_first_draws_of_seed_137():
  found = resampling.Frames.alphaflow(num_reference=30003, num_predicted=250)
  other = resampling.Frames.alphaflow(num_reference=30003, num_predicted=250, seed=1)
  assert found.rand1[:3].tolist() == [10974, 18726, 21069]
  assert found.rand1.tolist() != other.rand1.tolist()


def test_without_resampling_every_frame_counts_once():
  found = resampling.Frames.all(5)
  for indices in (found.rand1, found.rand2, found.rand1k):
    np.testing.assert_array_equal(indices, range(5))
