import pytest

from tempo_jax.errors import InputError
from tempo_jax.samplers import settings


@pytest.mark.parametrize(
  ('wrong', 'name'), [({'segments': 0}, 'segment_batch_size'), ({'trajectories': -2}, 'replica')]
)
def test_batches_of_nothing_are_refused(wrong, name):
  with pytest.raises(InputError, match=f'{name}.* = (0|-2): at least 1 is needed'):
    settings.BatchSizes(**wrong)


def test_equal_settings_share_a_compiled_program():
  """They are keys of the cache of samplers."""
  assert len({settings.BatchSizes(2, 3), settings.BatchSizes(2, 3), settings.DEFAULT}) == 2
