"""The bundled model: small proteins, steps of 10 ps to 5 ns, flow matching.

Prepare: python -m data_prep.default_training_data --store=STORE --public=DATA/md_public
Launch:  tempo-jax train --config=default_model --config.data.store=STORE --workdir=RUN
Calibrate: python -m experiments.benchmarks.physics --model=RUN --data=DATA --trained
           python -m experiments.benchmarks.rotamer_rates --model=RUN --data=DATA
Judge:   python -m experiments.benchmarks.held_out --model=RUN --data=DATA
Bundle:  tempo-jax export --model=RUN --bundle

It learns from our own MD in implicit solvent, 10 ps apart, and from MD of others in explicit
solvent at their spacings, from 10 ps to 1 ns (data_prep/public_md.py). Held-out replicas validate
it (data_prep/training_systems.py), held-out proteins are not read. What it costs and reaches:
tempo_jax/models/default/MODEL_CARD.md.
"""

from tempo_jax import config as config_lib
from tempo_jax.configs import common


def get_config(variant: str = ''):
  """Returns the configuration."""
  common.parse_variant(variant, {})
  config = common.experiment(config_lib.any_step_config(0.01, 5.0))
  # Of 0, 1 and 2 the best by validation loss (docs/results/default_model.md).
  config.seed = 1
  # Measured after training, which does not use them (docs/results/physics.md).
  config.model.memory.gain = 1.2, 1.08
  config.model.rotamer_stay = (
    (0.01, 2.55, 1.7, -0.75, 1.6, 0.6, -1.5),
    (0.2, 0.2, 0.55, 0.2, -0.8, -0.6, -0.85),
    (1.0, -0.4, -0.2, 0.5, -0.8, -0.6, -0.85),
  )
  common.small_network(config, channels=64, blocks=2)
  config.model.encoder.num_neighbours = 16
  config.data.batch_size = 16
  config.data.buckets = (16, 24, 44, 64, 112)
  # From 66 frames of the largest proteins to 5,000 of the smallest.
  config.data.balance = 0.8
  # Each replica begins in the native structure, and leaves it. Backwards, the model sees that
  # proteins also return: near equilibrium either is as likely.
  config.data.reversal = 0.5
  config.data.validation_split = 'validation'
  config.data.validation_block = (0.0, 1.0)
  config.train.num_steps = 3_000
  # Rotamers of steps of 0.2 ns and more are few, and learnt by heart.
  config.train.rotamer_weight = 0.5
  config.train.warmup_steps = 200
  config.train.learning_rate = 1e-3
  config.train.log_every = 50
  config.train.validate_every = 250
  config.train.validation_batches = 24
  # The held-out proteins judge rollouts, afterwards.
  config.train.rollout_every = 0
  config.train.checkpoint_every = 250
  config.train.select_by = 'loss'
  return config
