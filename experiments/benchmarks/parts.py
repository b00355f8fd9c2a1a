r"""What one step of the sampler is made of: time, operations and bytes of each part.

    python -m experiments.benchmarks.parts --lengths=64,128,256 --out=parts.json

A step of the paper-size network (random parameters, one pass of the head), for as many segments
together as the sampler takes for 400 frames. Each part is compiled alone, so that their sum may
differ from the whole step, which is a row of its own. Columns:

    milliseconds    median of the repeats
    gflop           operations that it asks for (tempo_jax/benchmark/flops.py)
    mbytes          that its kernels read and write, as XLA estimates
    peak_share      share of the measured peak of a large float32 matrix product
"""

import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from tempo_jax import files
from tempo_jax.benchmark import flops, workloads
from tempo_jax.cli import command
from tempo_jax.compilation import ahead_of_time
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import generator, head, rotamers, transition
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.encoder import attention, embeddings, spatiotemporal_encoder, surroundings
from tempo_jax.models import model as model_lib
from tempo_jax.output import provenance
from tempo_jax.samplers import schedule

_NUM_FRAMES = 400
_REPEATS = 9
_PEAK_SIZE = 2048

Part = tuple[Callable[..., Any], tuple[Any, ...]]


def parts(config: Any, length: int) -> dict[str, Part]:
  """Functions of one step, each with its arguments: parameters first, then segments [B, ...]."""
  protein = model_lib.padded(workloads.helix(length))
  length, window = len(protein.mask), config.window
  level = level_lib.Level.of(config, config.levels[-1])
  coarse, fine = (config.level[config.levels[i]].dt_ns for i in (0, -1))
  ratio = round(coarse / fine)
  segments, passes = -(-_NUM_FRAMES // ratio), -(-ratio // window)
  alone = -(-segments // window)
  count = schedule.batch_size(segments, length, passes, alone)

  params = workloads.random_params(config)
  encoder, of_head_params, dtype = params['encoder'], params['head'], jnp.dtype(config.precision)
  side_chains = rotamers.of_protein(protein)
  state = state_lib.of_model(config, protein.positions, protein, side_chains)
  anchor = None
  if config.anchors == 'both':
    anchor = state_lib.Anchor(state, anchor_lib.at_end(ratio))
  window_of_one = state_lib.start_window(state, window, anchor)
  windows = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * count), window_of_one)
  rng = np.random.default_rng(0)

  def numbers(*shape: int) -> jax.Array:
    return jnp.asarray(rng.normal(size=shape), jnp.float32)

  hidden = numbers(count, window, length, config.encoder.channels)
  context = numbers(length, config.encoder.channels)
  of_head = numbers(count, window, length, config.head.channels)
  noise = numbers(count, window, length, generator.num_numbers(config))
  frames = windows.states.frames
  sigma, temperature_K = jnp.float32(0.0), jnp.float32(320.0)
  bias: Any = embeddings.RelativePositionBias(config.encoder.num_heads).apply(
    {'params': encoder['relative_position']}, protein
  )
  bias = bias + jnp.broadcast_to(attention.mask_bias(protein.mask), bias.shape)
  near = surroundings.Surroundings(config.encoder.channels, config.encoder.num_neighbours, dtype)
  ipa = spatiotemporal_encoder.repeated(
    spatiotemporal_encoder.IPABlock, config.encoder.num_ipa_blocks, 3
  )(config.encoder, dtype)
  attend = spatiotemporal_encoder.repeated(
    spatiotemporal_encoder.AttentionBlock, config.encoder.num_attention_blocks, 1
  )(config.encoder.num_heads, dtype)
  gru = spatiotemporal_encoder.GRULayer(dtype)
  blocks = spatiotemporal_encoder.repeated(head.HeadBlock, config.head.num_blocks, 2)(
    config.head, dtype
  )
  network = generator.Generator(config)
  seen = None
  if window_of_one.states.side_chains is not None:
    seen = rotamers.seen_by_neighbours(window_of_one.states.side_chains, protein.residue_type)
  known = jnp.ones(window, bool)

  def gru_layers(params: Any, x: jax.Array) -> jax.Array:
    hidden: Any = x
    for layer in range(config.encoder.num_gru_layers):
      hidden = gru.apply({'params': params[f'gru_{layer}']}, hidden, known)
    return hidden

  def encode(params: Any, window: state_lib.Window) -> Any:
    return network.apply(
      {'params': params}, window, protein, sigma, level.dt_ns, temperature_K, method='encode'
    )

  def one_pass(params: Any, hidden: jax.Array, window: state_lib.Window, noise: jax.Array) -> Any:
    wells = None
    if window.states.side_chains is not None:
      wells = jnp.full((*noise.shape[:2], rotamers.NUM_CHI), rotamers.HIDDEN)
    there = generator.Step(noise, wells)
    expected = expected_lib.of_step(window, level, temperature_K, protein)
    return network.apply(
      {'params': params}, hidden, window, there, sigma, sigma, expected, protein, method='end'
    )

  def step(params: Any, window: state_lib.Window, key: jax.Array) -> Any:
    make = transition.make_step(config, level)
    return make(params, window, protein, sigma, temperature_K, key).states

  def apply(module: Any, *rest: Any) -> Callable[..., Any]:
    return lambda params, *x: module.apply({'params': params}, *x, *rest)

  return {
    'surroundings': (apply(near, protein, seen), (encoder['surroundings'], frames)),
    'IPA blocks': (
      lambda params, x, f: ipa.apply({'params': params}, x, context, f, protein.mask),
      (encoder['ipa_blocks'], hidden, frames),
    ),
    'attention blocks': (apply(attend, bias), (encoder['attention_blocks'], hidden)),
    'GRU': (gru_layers, (encoder, hidden)),
    'encoder, all of it': (encode, (params, windows)),
    'blocks of the head': (apply(blocks, protein), (of_head_params['blocks'], of_head, frames)),
    'head, all of one pass': (one_pass, (params, hidden[:, -1], windows, noise)),
    'overlaps and closure': (
      lambda _, states: transition.closed(config, states, protein),
      ((), windows.states),
    ),
    'step': (step, (params, windows, jax.random.split(jax.random.key(0), count))),
  }


def measure(part: Part, peak: float) -> dict[str, float]:
  """The columns of a row."""
  function, (params, *inputs) = part
  mapped = jax.jit(jax.vmap(function, in_axes=(None, *[0] * len(inputs))))
  compiled = ahead_of_time.compiled(mapped, params, *inputs)
  seconds = []
  for _ in range(_REPEATS + 1):
    started = time.perf_counter()
    jax.block_until_ready(compiled(params, *inputs))
    seconds.append(time.perf_counter() - started)
  median, flop = float(np.median(seconds[1:])), flops.count(mapped, params, *inputs)
  return {
    'milliseconds': 1e3 * median,
    'gflop': 1e-9 * flop,
    'mbytes': 1e-6 * float(compiled.cost_analysis().get('bytes accessed', np.nan)),
    'peak_share': flop / median / peak,
  }


def _peak() -> float:
  matrix = jax.random.normal(jax.random.key(0), (_PEAK_SIZE, _PEAK_SIZE))
  product = jax.jit(jnp.matmul)
  seconds = []
  for _ in range(5):
    started = time.perf_counter()
    product(matrix, matrix).block_until_ready()
    seconds.append(time.perf_counter() - started)
  return 2 * _PEAK_SIZE**3 / min(seconds[1:])


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_list('lengths', ['64', '128', '256'], 'Residues.', flag_values=values)
  flags.DEFINE_string(
    'model', workloads.PAPER_SIZE, '"paper_size", "default" or a directory.', flag_values=values
  )
  flags.DEFINE_string('out', None, 'JSON file to write. Default: none.', flag_values=values)


def main(values: flags.FlagValues) -> None:
  """Measures all parts, and prints and writes the rows."""
  config = workloads.load_model(values.model).with_passes(1).config
  peak, rows = _peak(), []
  for length in map(int, values.lengths):
    for name, part in parts(config, length).items():
      segments = len(jax.tree.leaves(part[1][-1])[0])
      rows.append({'part': name, 'length': length, 'segments': segments, **measure(part, peak)})
      print(json.dumps(rows[-1]), flush=True)
  told = {'device': provenance.device(), 'versions': provenance.versions()}
  if values.out:
    result = {'peak_flop_per_s': peak, 'rows': rows, **told}
    files.write_text(pathlib.Path(values.out), json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
  command.launch(sys.modules[__name__])
