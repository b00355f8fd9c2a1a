"""Runs commands in this process, with a small random model or with none."""

import jax
import jax.numpy as jnp
from absl import flags

from tempo_jax import model as model_lib
from tests import builders


def parse(module, *args):
  """The flags of a binary, from the command line."""
  values = flags.FlagValues()
  module.define_flags(values)
  values(['command', *map(str, args)])
  return values


def save_model(directory):
  """A small random model with the time scales of the bundled one."""
  config = builders.small_config({'coarse': 0.2, 'fine': 0.01})
  params = {name: builders.params(config, seed) for seed, name in enumerate(config.levels)}
  model_lib.Model('small', config, params).save(directory)


def compile_once(monkeypatch):
  """Makes a program that is compiled again come from a table; the table."""
  compiled = {}
  compile_ = jax.stages.Lowered.compile

  def compile_or_look_up(lowered):
    text = lowered.as_text()
    if text not in compiled:
      compiled[text] = compile_(lowered)
    return compiled[text]

  monkeypatch.setattr(jax.stages.Lowered, 'compile', compile_or_look_up)
  return compiled


def shake_instead(monkeypatch):
  """Replaces the network: the atoms of the start wander at random."""

  def sampler(self, num_frames, num_replicas=1, segment_batch_size=None):
    def sample(params, protein, rng, temperature_K):
      start = jnp.asarray(protein.positions)
      noise = jax.random.normal(rng, (num_replicas, num_frames, *start.shape))
      return start[None, None] + 0.05 * jnp.cumsum(noise, axis=1)

    return jax.jit(sample)

  monkeypatch.setattr(model_lib.Model, 'sampler', sampler)
