"""Transitions simple enough to be followed by hand, and states of bare CA atoms."""

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax import transitions
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import rigid
from tempo_jax.samplers import segments


def params(config):
  """What `clock` wants to be given: parameters that tell the levels apart."""
  return {name: {'dt_ns': np.float32(config.level[name].dt_ns)} for name in config.levels}


def clock(config, level):
  """Moves every residue by one Å per ns along x."""

  def step(params, window, protein, sigma, temperature_K, rng):
    newest = window.states[-1]
    # Half each, so that parameters of another level would show.
    dt_ns = (level.dt_ns + params['dt_ns']) / 2.0
    times = dt_ns * (1.0 + jnp.arange(window.known.shape[0]))
    shift = times[:, None, None] * jnp.array([1.0, 0.0, 0.0])[None, None, :]
    states = state_lib.start_window(newest, len(times)).states
    frames = rigid.Rigid(states.frames.rotation, states.frames.translation + shift)
    states = states.with_frames(frames)
    return window.followed_by(states)

  return step


def diffusion(config, level):
  """The clock, and a random walk of all residues together by N(0, 1) Å per frame and axis."""
  tick = clock(config, level)

  def step(params, window, protein, sigma, temperature_K, rng):
    window = tick(params, window, protein, sigma, temperature_K, rng)
    anchor = window.anchor
    frames = window.states.frames
    kicks = jnp.cumsum(jax.random.normal(rng, (len(frames.translation), 3)), axis=0)
    frames = rigid.Rigid(frames.rotation, frames.translation + kicks[:, None, :])
    return state_lib.Window(window.states.with_frames(frames), window.known, anchor)

  return step


def install(monkeypatch, make_step):
  """Puts a transition in place of the model's, and takes all atoms to be at the CA.

  Proteins that move as wholes tell the time, so that segments stay where they are.
  """

  def from_positions(positions, bonded):
    origins = positions[..., 1, :]
    frames = rigid.Rigid.identity(origins.shape[:-1])
    frames = rigid.Rigid(frames.rotation, origins)
    return state_lib.State(frames, jnp.zeros_like(origins), jnp.zeros_like(origins[..., 0]))

  def to_positions(state):
    origins = state.frames.translation[..., None, :]
    return jnp.broadcast_to(origins, (*origins.shape[:-2], 4, 3))

  monkeypatch.setattr(transitions, 'make_step', make_step)
  monkeypatch.setattr(state_lib, 'from_positions', from_positions)
  monkeypatch.setattr(state_lib, 'to_positions', to_positions)
  monkeypatch.setattr(segments, 'join', lambda states, starts, carried, _: (states, carried))
