import pytest

from tempo_jax.errors import InputError
from tempo_jax.samplers import coarse_to_fine, settings, stream, upsample
from tests import builders


@pytest.mark.parametrize(
  ('wrong', 'name'), [({'segments': 0}, 'segment_batch_size'), ({'trajectories': -2}, 'replica')]
)
def test_batches_of_nothing_are_refused(wrong, name):
  with pytest.raises(InputError, match=f'{name}.* = (0|-2): at least 1 is needed'):
    settings.BatchSizes(**wrong)


def test_equal_settings_share_a_compiled_program():
  """They are keys of the cache of samplers."""
  assert len({settings.BatchSizes(2, 3), settings.BatchSizes(2, 3), settings.DEFAULT}) == 2


def test_atoms_are_those_that_the_model_has():
  config = builders.generative_config(side_chains=True)
  without = builders.generative_config()
  assert settings.atoms_of(without, None) == settings.atoms_of(without, 'backbone') == 'backbone'
  assert settings.atoms_of(config, None) == settings.atoms_of(config, 'heavy') == 'heavy'
  assert settings.atoms_of(config, 'backbone') == 'backbone'
  with pytest.raises(InputError, match=r"^atoms = 'heavy', but this model draws the backbone "):
    settings.atoms_of(without, 'heavy')
  with pytest.raises(InputError, match=r"^atoms = 'all': give 'heavy' or 'backbone'$"):
    settings.atoms_of(config, 'all')


def test_no_sampler_takes_atoms_that_its_model_lacks():
  config = builders.small_config()
  makers = (
    lambda: coarse_to_fine.make_sampler(config, 4, atoms='heavy'),
    lambda: coarse_to_fine.make_ensemble_sampler(config, 4, 1, atoms='heavy'),
    lambda: stream.make_block_sampler(config, 'fry', 4, settings.DEFAULT, 'heavy'),
    lambda: upsample.make_upsampler(config, 0.4, atoms='heavy'),
  )
  for make in makers:
    with pytest.raises(InputError, match='backbone alone'):
      make()
