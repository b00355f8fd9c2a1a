"""Optimiser and learning-rate schedule."""

from typing import Any

import optax


def make_schedule(config: Any) -> optax.Schedule:
  """Linear warm-up, then a cosine to a hundredth of the peak at `num_steps`."""
  warmup = min(config.warmup_steps, max(config.num_steps - 1, 0))
  return optax.warmup_cosine_decay_schedule(
    init_value=0.0 if warmup else config.learning_rate,
    peak_value=config.learning_rate,
    warmup_steps=warmup,
    decay_steps=max(config.num_steps, warmup + 1),
    end_value=0.01 * config.learning_rate,
  )


def make_optimizer(config: Any) -> optax.GradientTransformation:
  """AdamW after clipping of the gradient's global norm.

  Args:
    config: the `train` section of an experiment: `learning_rate`, `warmup_steps`, `num_steps`,
      `weight_decay`, `clip_norm`.
  """
  return optax.chain(
    optax.clip_by_global_norm(config.clip_norm),
    optax.adamw(make_schedule(config), weight_decay=config.weight_decay),
  )
