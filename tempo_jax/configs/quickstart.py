"""Your own MD of a small protein, on a CPU, in minutes: 0.2 and 0.01 ns.

Prepare: tempo-jax prepare trajectories --topology=START.pdb --trajectories=R1.xtc,R2.xtc \
           --store=STORE --temperature_K=320
Launch:  tempo-jax train --config=quickstart --workdir=RUN \
           --config.data.store=STORE
Cost: 10 residues, one level: 14 steps per s on two quiet cores for the paper's objective, 6 for
flow matching. Expect the loss (`error`) to fall from 1.0 to 0.65-0.7 and, on CLN025 at 350 K,
fluctuations and steps of 0.9 times MD's (WORKSPACE_NOTES.md).
Variants: scale=coarse|fine|both. Other time steps: --config.model.level.coarse.dt_ns=...,
--config.model.level.fine.dt_ns=...; the last fifth of every trajectory is held out.
"""

from tempo_jax import config as config_lib
from tempo_jax.configs import common


def get_config(variant: str = ''):
  """Returns the configuration."""
  options = common.parse_variant(variant, {'scale': 'both'})
  config = common.experiment(
    config_lib.model_config({'coarse': 0.2, 'fine': 0.01}), options['scale']
  )
  common.small_network(config, channels=64, blocks=2)
  config.model.encoder.num_neighbours = 8
  config.data.batch_size = 32
  config.data.train_block = (0.0, 0.8)
  config.data.validation_block = (0.8, 1.0)
  config.data.validation_split = 'train'
  # Small proteins near equilibrium: set it to 0 for MD that folds or unfolds.
  config.data.reversal = 0.5
  config.train.unroll = 2
  config.train.num_steps = 3_000
  config.train.teacher_forcing_steps = 1_500
  config.train.warmup_steps = 100
  config.train.learning_rate = 1e-3
  config.train.log_every = 50
  config.train.validate_every = 250
  config.train.checkpoint_every = 500
  return config
