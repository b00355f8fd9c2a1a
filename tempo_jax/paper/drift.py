"""The learned drift f_theta of the SDE: spatiotemporal encoder and update head."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from tempo_jax.dynamics import state as state_lib
from tempo_jax.encoder import spatiotemporal_encoder
from tempo_jax.paper import update
from tempo_jax.protein import protein as protein_lib


class Drift(nn.Module):
  """Maps a window of T states to the updates that give the next T states.

  All T updates are read from the last hidden state of the GRU: the paper leaves the shape of
  its output head open, and an output per GRU step would hide the newest frame from the first.

  Attributes:
    config: the model's configuration (`tempo_jax.config.model_config`), frozen.
  """

  config: Any

  @nn.compact
  def __call__(
    self,
    noised: state_lib.Window,
    clean: state_lib.State,
    protein: protein_lib.ProteinArrays,
    sigma: jax.Array,
    dt_ns: jax.Array,
    temperature_K: jax.Array,
  ) -> jax.Array:
    """Args are for one protein; map over batches with `jax.vmap`.

    Args:
      noised: window of [T, L] states after the noise of the step, X~.
      clean: the same states before it. The paper's IPA reads these (Algorithm 1). An update
        that could compare the two would see the noise and cancel it, so `local` does not.
      protein: [L] residues; its positions are not read.
      sigma: [] noise scale.
      dt_ns: [] time step, ns.
      temperature_K: [] temperature, K.

    Returns:
      [T, L, outputs] raw updates (see `tempo_jax.paper.update`).
    """
    config = self.config
    num_frames = config.window
    dtype = jnp.dtype(config.precision)
    encoder = spatiotemporal_encoder.SpatiotemporalEncoder(config.encoder, dtype, name='encoder')
    inputs = update.encoder_inputs(config, noised, clean, protein)
    hidden = encoder(*inputs, sigma, dt_ns, temperature_K)[-1]  # [L, D]
    hidden = nn.LayerNorm(name='head_norm')(hidden)
    hidden = nn.Dense(config.encoder.channels, dtype=dtype, name='head_hidden')(hidden)
    # What becomes coordinates is float32. Zero at the start of training: the first prediction is
    # 'nothing moves'.
    outputs = nn.DenseGeneral(
      (num_frames, update.num_outputs(config)),
      kernel_init=nn.initializers.zeros,
      name='head_out',
    )(nn.silu(hidden).astype(jnp.float32))  # [L, T, outputs]
    return jnp.moveaxis(outputs, 1, 0)
