"""Runs commands in this process, with a small random model or with none."""

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from tempo_jax.compilation import ahead_of_time
from tempo_jax.models import model as model_lib
from tempo_jax.output import trajectory_files
from tempo_jax.samplers import settings
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
  ahead_of_time.options()  # Which compiles something, too.
  compile_ = jax.stages.Lowered.compile

  def compile_or_look_up(lowered, **options):
    text = lowered.as_text()
    if text not in compiled:
      compiled[text] = compile_(lowered, **options)
    return compiled[text]

  monkeypatch.setattr(jax.stages.Lowered, 'compile', compile_or_look_up)
  return compiled


class Shaken:
  """Stands in for `stream.Stream`, without a network: the atoms of the start wander at random."""

  compile_seconds = 0.01

  def __init__(self, proteins, num_frames, jobs, seed, atoms, block=4):
    self._proteins, self._num_frames, self._jobs = proteins, num_frames, jobs
    self._seed, self._atoms, self._block = seed, atoms, block

  def __iter__(self):
    for job in self._jobs:
      start = trajectory_files.start_atoms(self._proteins[job.protein], self._atoms)
      rng = np.random.default_rng((self._seed, job.protein, job.replica))
      noise = rng.normal(size=(self._num_frames, *start.shape)).astype(np.float32)
      frames = start + np.float32(0.05) * np.cumsum(noise, axis=0)
      for first in range(0, self._num_frames, self._block):
        yield job, jnp.asarray(frames[first : first + self._block]), first


def shake_instead(monkeypatch):
  """Replaces the network of `tempo-jax sample`; the list of what it was asked for."""
  asked = []

  def stream(
    self, proteins, num_frames, num_replicas, rng, temperature_K, *sizes, done=(), atoms=None
  ):
    *batch_sizes, jobs = sizes
    asked.append((num_frames, num_replicas, *batch_sizes))
    seed = int(jax.random.key_data(rng)[-1])
    jobs = [job for job in jobs if job not in done]
    return Shaken(proteins, num_frames, jobs, seed, self.atoms(atoms))

  monkeypatch.setattr(model_lib.Model, 'stream', stream)
  return asked


def as_if_with_side_chains(monkeypatch):
  """Models then count as ones that draw side chains, whatever they do."""
  monkeypatch.setattr(settings, 'atoms_of', lambda config, asked_for: asked_for or 'heavy')
