"""Fine-tunes a trained model on your own MD, on a CPU, in minutes.

Prepare: tempo-jax prepare trajectories --topology=START.pdb --trajectories=R1.xtc,R2.xtc \
           --store=STORE --temperature_K=300 --solvent=explicit
Launch:  tempo-jax train --config=finetune:model=default \
           --workdir=RUN --config.data.store=STORE

A worked example: BPTI, which the bundled model does not know, in explicit solvent. 2.5 ns of MD
were trained on, the 2.5 ns after them judge (`python -m experiments.benchmarks.finetuning`; four
replicas from one start; one core):

                              RMSF r   RMSF / MD   JSD of CA distances   step / MD   minutes
    the bundled model          0.81      1.00            0.302             1.05
    fine-tuned, best at 200    0.91      1.08            0.212             1.20        5
    random parameters, 1000    0.74      1.09            0.302             1.15        5
    the first half of the MD   0.97      0.88            0.095             1.02
    elastic network            0.49      1.00            0.210             1.72
"""

from tempo_jax.configs import common
from tempo_jax.errors import InputError
from tempo_jax.models import directory


def get_config(variant: str = ''):
  """Returns the configuration."""
  options = common.parse_variant(variant, {'model': 'default', 'scale': 'both'})
  try:
    # Not its parameters: flags are read before several processes find one another, and until then
    # JAX must not look for devices.
    model = directory.read_config(options['model'])
  except InputError as error:
    raise InputError(f'--config variant model={options["model"]}: {error}') from error
  config = common.experiment(model, options['scale'])
  config.train.init_from = options['model']
  # Another protein, force field or solvent moves by steps of another size: where there is no
  # elastic prior, the unit of the network's motions is measured anew. BPTI, 600 steps: JSD 0.205
  # instead of 0.227.
  config.train.measure_scales = True
  config.data.batch_size = 8
  config.data.train_block = (0.0, 0.8)
  config.data.validation_block = (0.8, 1.0)
  config.data.validation_split = 'train'
  # MD near equilibrium: set it to 0 for MD that folds or unfolds.
  config.data.reversal = 0.5
  config.train.num_steps = 1_000
  config.train.warmup_steps = 50
  config.train.learning_rate = 1e-3
  config.train.log_every = 50
  config.train.validate_every = 100
  config.train.checkpoint_every = 100
  config.train.select_by = 'loss'
  config.train.early_stopping_patience = 4
  # Short MD has too few frames of the coarse level to compare rollouts with.
  config.train.rollout_every = 0
  # Objectives that unroll windows: flow matching does not.
  config.train.unroll = 2
  config.train.teacher_forcing_steps = 500
  return config
