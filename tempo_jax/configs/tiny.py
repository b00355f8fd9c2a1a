"""For tests: exercises every part of training in seconds on a CPU, learns nothing useful.

Launch: tempo-jax train --config=tiny --workdir=RUN \
          --config.data.store=STORE
Variants: scale=coarse|fine|both.
"""

from tempo_jax.configs import common, quickstart


def get_config(variant: str = ''):
  """Returns the configuration."""
  config = quickstart.get_config(variant)
  common.small_network(config, channels=16, blocks=1)
  config.model.encoder.num_neighbours = 4
  config.model.encoder.ipa_scalar_channels = 4
  config.data.batch_size = 8
  config.train.num_steps = 6
  config.train.unroll = 2
  config.train.log_every = 1
  config.train.validate_every = 3
  config.train.validation_batches = 1
  config.train.checkpoint_every = 3
  return config
