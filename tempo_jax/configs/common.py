"""What the experiment files share: variants, and defaults that a file edits."""

from collections.abc import Mapping

from ml_collections import config_dict

from tempo_jax.errors import InputError
from tempo_jax.protein import padding


def parse_variant(variant: str, defaults: Mapping[str, str]) -> dict[str, str]:
  """Reads `key=value,key=value` after the colon of `--config=FILE.py:...`.

  Raises:
    InputError: a key that is not in `defaults`.
  """
  values = dict(defaults)
  for part in filter(None, variant.split(',')):
    key, _, value = part.partition('=')
    if key not in values or not value:
      known = ' or '.join(f'{k}={v}' for k, v in defaults.items())
      advice = f'write {known}' if known else 'this configuration has none: leave it out'
      raise InputError(f'--config variant {part!r}: {advice}')
    values[key] = value
  return values


def levels_of_scale(config: config_dict.ConfigDict, scale: str) -> tuple[str, ...]:
  """Levels to train for `scale=coarse`, `scale=fine` or `scale=both`."""
  names = tuple(config.model.levels)
  if scale == 'both':
    return names
  if scale not in names:
    raise InputError(f'--config variant scale={scale}: choose {", ".join((*names, "both"))}')
  return (scale,)


def experiment(model: config_dict.ConfigDict, scale: str = 'both') -> config_dict.ConfigDict:
  """An experiment on a model; what the paper leaves open (section 5) is our choice."""
  config = config_dict.ConfigDict()
  config.seed = 0
  config.model = model

  config.data = data = config_dict.ConfigDict()
  # Directory or URL of a store written by data_prep.
  data.store = ''
  data.batch_size = 16
  # Padded lengths, residues; each one that occurs is compiled apart.
  data.buckets = padding.BUCKETS
  # Stretches of every trajectory, as fractions of its length, that examples are drawn from.
  data.train_block = (0.0, 1.0)
  # Levels whose windows start at multiples of their time step only: the paper's coarse level
  # takes every 20th frame of a trajectory from the native structure on.
  data.aligned_starts = ()
  # Share of examples that run backwards in time; 0.5 for MD in equilibrium, which does not tell
  # the two directions apart, 0 for MD that folds, unfolds or relaxes.
  data.reversal = 0.0
  # Proteins are drawn in proportion to (their windows)^(1 - balance): 0 where all have equally much
  # MD, towards 1 where few would outweigh the rest.
  data.balance = 0.0
  # None or (): no validation.
  data.validation_block = config_dict.placeholder(tuple)
  data.validation_split = 'validation'

  config.train = train = config_dict.ConfigDict()
  train.levels = levels_of_scale(config, scale)
  # Model that training goes on from: a directory, or default; empty: random parameters.
  train.init_from = ''
  # Whether the spread of one step, the network's unit of motion, is measured on the new data then;
  # otherwise that of the model stays.
  train.measure_scales = False
  train.num_steps = 100_000
  # Windows predicted one after the other per example, with the gradient through all of them.
  train.unroll = 3
  # Recompute each window in the backward pass: memory no longer grows with `unroll`. The paper's
  # size, 64 residues, 4 examples: 88 instead of 234 MiB, 7 % slower on a CPU. Without effect on
  # flow matching, which unrolls nothing.
  train.rematerialise = True
  # Generative objectives. Points at which flow matching trains the head per example, or rollouts
  # that the energy score compares, at least 2;
  train.draws = 4
  # residues from which the energy score looks at the others.
  train.viewers = 64
  # Flow matching: weight of the cross-entropy of rotamers' wells beside the error of motions. Where
  # data are few, they are what is learnt by heart first.
  train.rotamer_weight = 1.0
  # Probability that the next input is the true window: linear from start to end.
  train.teacher_forcing_start = 1.0
  train.teacher_forcing_end = 0.25
  train.teacher_forcing_steps = 50_000
  # Share of examples that begin, as a sampler does, from a single frame.
  train.start_probability = 0.25
  # Share of examples of an anchored level that have no anchor.
  train.free_probability = 0.1
  # Only `mse` has the penalty on clashes.
  train.clash_weight = 1.0
  train.clash_power = 2.0
  # Parts that a device's share of the batch is worked through in, one after the other: less memory
  # for the same gradient. The paper's size, 64 residues, 16 examples in 4 parts: 137 instead of
  # 438 MiB. Parts of a single example are slow (1.6 times the seconds, 4 examples in 4 parts).
  train.accumulation_steps = 1
  train.learning_rate = 3e-4
  train.warmup_steps = 1_000
  train.weight_decay = 0.01
  train.clip_norm = 1.0
  train.ema_decay = 0.999
  train.log_every = 100
  train.validate_every = 2_000
  train.validation_batches = 8
  # Rollouts of each level, which are compared with held-out MD; every 0: none.
  train.rollout_every = 10_000
  train.rollout_replicas = 4
  train.rollout_proteins = 2
  train.rollout_frames = 200
  # Which checkpoint is the model: of the lowest validation loss ('loss'), of the rollouts whose CA
  # distances are distributed most as MD's ('rollout'), or the newest ('last').
  train.select_by = 'last'
  # Validations without improvement after which training ends; 0: never.
  train.early_stopping_patience = 0
  train.checkpoint_every = 1_000
  train.keep_checkpoints = 2
  train.keep_period = config_dict.placeholder(int)
  return config


def small_network(config: config_dict.ConfigDict, channels: int, blocks: int) -> None:
  """Shrinks the encoder to what a CPU trains in minutes."""
  encoder = config.model.encoder
  encoder.channels = channels
  encoder.num_ipa_blocks = blocks
  encoder.num_attention_blocks = blocks
  encoder.num_gru_layers = 1
  encoder.num_heads = 4
  config.model.head.channels = channels
