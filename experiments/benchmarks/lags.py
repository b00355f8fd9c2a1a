r"""A model of any time step: its error at each lag time, and whether steps agree with one another.

    python -m experiments.benchmarks.lags --model=RUN --store=STORE --data=DATA --out=lags

*Error*: validation loss of the backbone (1 for a network that knows nothing but the elastic prior's
spread) on held-out replicas, windows of one lag at a time. *Steps*: one step of 0.2 ns against 20
of 0.01 ns, and one of 1 ns against 5 of 0.2 ns, each sampled free, without a coarser level, from
the same start: Jensen-Shannon divergence (bits) of the CA displacements over the longer step, of
BPTI and of Trp-cage TC5b; and the same of halves of MD, of as many frames; pairs with too little
MD are left out. Writes STEM.json and STEM.md.
"""

import dataclasses
import itertools
import pathlib
import sys

import jax
import numpy as np
from absl import flags
from scipy.spatial import distance

import tempo_jax
from experiments import results
from tempo_jax import config as config_lib
from tempo_jax.cli import command, compilation_cache_flag
from tempo_jax.configs import default_model
from tempo_jax.dynamics import level as level_lib
from tempo_jax.evaluation.replica import Native
from tempo_jax.metrics import superposition
from tempo_jax.models import model as model_lib
from tempo_jax.store import batching, lag_windows
from tempo_jax.store import store as store_lib
from tempo_jax.training import objectives, train_step

_LAGS_NS = (0.01, 0.03, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_PAIRS_NS = ((0.2, 0.01), (1.0, 0.2))
# Å; displacements beyond fall into the last bin.
_BINS = np.linspace(0.0, 6.0, 61)
# Per bin: with fewer displacements the divergence is that of counts.
_LEAST_PER_BIN = 5
_STEPS = 100


def errors(
  model: model_lib.Model, store: store_lib.Store, num_batches: int
) -> dict[float, dict[str, float]]:
  """Mean validation error and number of trajectories by lag, ns; without lags that none has."""
  trained = model.as_trained()
  experiment = default_model.get_config()
  experiment.model = config_lib.from_dict(config_lib.to_dict(trained.config))
  config = config_lib.freeze(experiment)
  level = level_lib.Level.of(config.model, config.model.levels[0])
  params = trained.params[config.model.levels[0]]

  @jax.jit
  def evaluate(batch, rng):
    return train_step.evaluation_step(config, params, level, batch, rng)

  found = {}
  for lag_ns in _LAGS_NS:
    try:
      source = lag_windows.LagWindowSource(
        store,
        (lag_ns, lag_ns),
        objectives.frames_per_window(config),
        split='validation',
        newest=config.model.window - 1,
        reference=config.model.reference,
        reversal=0.5,
        balance=1.0,
        range_ns=config.model.lags_ns,
      )
    except tempo_jax.InputError:
      continue
    loader = batching.Loader(
      source, 16, buckets=config.data.buckets, with_chi=model.has_side_chains, with_stretch=True
    )
    values = [
      float(evaluate(loader.batch(k)[0], jax.random.key(k))['error']) for k in range(num_batches)
    ]
    found[lag_ns] = {'error': float(np.mean(values)), 'trajectories': len(source.windows)}
    print(f'{lag_ns:g} ns: error {np.mean(values):.3f}', flush=True)
  return found


def displacements(positions: np.ndarray) -> np.ndarray:
  """[(F - 1) L] Å: of CA between successive frames [F, L, 4, 3], superposed on the one before."""
  ca = positions[:, :, 1].astype(np.float64)
  moved = [
    np.empty(0),
    *(
      np.linalg.norm(superposition.superpose_points(b[None], a)[0] - a, axis=-1)
      for a, b in itertools.pairwise(ca)
    ),
  ]
  return np.concatenate(moved)


def jsd(a: np.ndarray, b: np.ndarray) -> float:
  """Bits, of two samples of displacements, Å."""
  p, q = (np.histogram(np.minimum(x, _BINS[-1]), _BINS)[0] for x in (a, b))
  return float(distance.jensenshannon(p, q, base=2) ** 2)


def agreement(
  model: model_lib.Model, topology: pathlib.Path, trajectory: pathlib.Path, dt_ns: float, seed: int
) -> list[dict[str, float | str]]:
  """JSD between long steps and as many short ones, and between halves of MD, for each pair.

  Pairs of which the MD has too few displacements for the bins are left out; it is said.
  """
  native = Native(topology)
  md = np.asarray(native.read(trajectory).positions)
  protein = native.protein.in_solvent('explicit')
  arrays = dataclasses.replace(protein.arrays, positions=md[0])
  protein = dataclasses.replace(protein, arrays=arrays)
  found: list[dict[str, float | str]] = []
  for long_ns, short_ns in _PAIRS_NS:
    coarse = md[:: round(long_ns / dt_ns)]
    # As many displacements on either side as there are in half of the MD.
    count = len(coarse) // 2
    floor = [displacements(part) for part in (coarse[:count], coarse[count : 2 * count])]
    if len(floor[0]) < (least := _LEAST_PER_BIN * (len(_BINS) - 1)):
      print(
        f'{native.protein.name}, {long_ns:g} ns: left out, {len(floor[0])} displacements in half '
        f'of the MD, {least} needed',
        flush=True,
      )
      continue
    ratio = round(long_ns / short_ns)
    moved = []
    for step_ns, stride in ((long_ns, 1), (short_ns, ratio)):
      free = model.free(step_ns)
      sampled = free.sample(
        protein, _STEPS * stride, rng=jax.random.key(seed), temperature_K=300.0, atoms='backbone'
      )
      moved.append(displacements(np.asarray(sampled.positions)[0, stride - 1 :: stride]))
    size = min(len(floor[0]), len(moved[0]))
    found.append(
      {
        'protein': native.protein.name,
        'long_ns': long_ns,
        'short_ns': short_ns,
        'jsd': jsd(moved[0][:size], moved[1][:size]),
        'floor': jsd(floor[0][:size], floor[1][:size]),
        'long_mean': float(moved[0].mean()),
        'short_mean': float(moved[1].mean()),
        'md_mean': float(np.concatenate(floor).mean()),
      }
    )
    print(found[-1], flush=True)
  return found


def table(found: dict[float, dict[str, float]], steps: list[dict[str, float | str]]) -> str:
  """Markdown."""
  text = '| lag, ns | validation error | held-out trajectories |\n|---|---|---|\n'
  for lag_ns, row in found.items():
    text += f'| {lag_ns:g} | {row["error"]:.2f} | {row["trajectories"]} |\n'
  text += (
    '\n| protein | one step | against steps of | JSD, bits | MD halves | '
    'mean displacement, Å: one step | short steps | MD |\n' + '|---' * 8 + '|\n'
  )
  for x in steps:
    text += (
      f'| {x["protein"]} | {x["long_ns"]:g} ns | {x["short_ns"]:g} ns | {x["jsd"]:.3f} | '
      f'{x["floor"]:.3f} | {x["long_mean"]:.2f} | {x["short_mean"]:.2f} | {x["md_mean"]:.2f} |\n'
    )
  return text


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('model', 'default', 'Model: "default" or a directory.', flag_values=values)
  flags.DEFINE_string(
    'store', None, 'Store with held-out replicas. Default: no errors.', flag_values=values
  )
  flags.DEFINE_string('data', None, 'Directory with MD of others. Required.', flag_values=values)
  flags.DEFINE_string('out', 'tempo_out/lags', 'STEM of the files.', flag_values=values)
  flags.DEFINE_integer('num_batches', 12, 'Of each lag.', lower_bound=1, flag_values=values)
  flags.DEFINE_integer('seed', 0, 'Random seed of the samples.', flag_values=values)
  compilation_cache_flag.define_flags(values)


def main(values: flags.FlagValues) -> None:
  """From the flags to the tables."""
  command.require(values, 'data')
  compilation_cache_flag.use(values)
  model = tempo_jax.load_model(values.model)
  found = {}
  if values.store:
    found = errors(model, store_lib.Store(values.store), values.num_batches)
  data = pathlib.Path(values.data).expanduser()
  bpti = data / 'trajectories/bpti_5ns'
  cage = data / 'md_public/trpcage_tc5b_50ns'
  steps = [
    *agreement(model, bpti / 'bpti.pdb', bpti / 'bpti.xtc', 0.01, values.seed),
    *agreement(model, cage / 'topology_backbone.pdb', cage / 'R1.xtc', 0.01, values.seed),
  ]
  text = table(found, steps)
  errors_by_lag = {f'{lag:g}': row for lag, row in found.items()}
  results.write(pathlib.Path(values.out).expanduser(), text, errors=errors_by_lag, steps=steps)
  print(text)


if __name__ == '__main__':
  command.launch(sys.modules[__name__])
