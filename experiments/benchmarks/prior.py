r"""The sampler with a network that says nothing, against the process that it should then be.

    python -m experiments.benchmarks.prior --out=prior

One free level of 10 ps, four passes, side chains off, closure off unless --closure, memories of
4 ps to 4 ns (longer ones show too little of themselves), 30,000 frames of a protein. Displacements
of CA are projected onto the modes of the elastic network, each scaled by what the prior expects of
it. *Trace*: sum of all variances to that expected. *z*: of a mode, in standard errors for its own
autocorrelation. *Correlation*: after some lags, means over modes. Writes STEM.json and STEM.md.
"""

import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from absl import flags

import tempo_jax
from experiments import results
from experiments.benchmarks import held_out
from tempo_jax import config as config_lib
from tempo_jax import transitions
from tempo_jax.cli import command, compilation_cache_flag
from tempo_jax.dynamics import elastic_network
from tempo_jax.metrics import superposition
from tempo_jax.models import model as model_lib

_DT_NS = 0.01
_TEMPERATURE_K = 300.0
# Of the memories of the default configuration.
_MEMORIES = 4
_LAGS = (1, 2, 5, 20, 100, 400)
# Frames, five times the longest memory, in which the process forgets its start.
_START = 2000


def silent_model(closure: bool = False) -> model_lib.Model:
  """A model whose head is zero: its samples are the prior's, of closed chains if wanted."""
  config = config_lib.model_config({'only': _DT_NS})
  config.prior, config.closure, config.side_chains = 'elastic', closure, False
  config.memory.variances = config.memory.variances[:_MEMORIES]
  config.memory.times_ns = config.memory.times_ns[:_MEMORIES]
  config.encoder.update(channels=16, num_ipa_blocks=1, num_attention_blocks=1, num_heads=2)
  config.head.update(channels=16, num_blocks=1, num_heads=2)
  frozen = config_lib.freeze(config)
  # A fresh head says nothing.
  return model_lib.Model(
    'silent', frozen, {'only': transitions.init_params(frozen, jax.random.key(0))}
  )


def correlation(memory: Any, lags: np.ndarray) -> np.ndarray:
  """Of displacements some frames apart, expected."""
  variances, times = (np.array(memory[name], np.float64) for name in ('variances', 'times_ns'))
  return np.exp(-_DT_NS * np.abs(lags)[:, None] / times) @ variances / variances.sum()


def amplitudes(ca: np.ndarray, modes: np.ndarray) -> np.ndarray:
  """[F, M] Å along modes [3 L, M], of CA [F, L, 3] Å about their mean."""
  moved = (ca - ca.mean(axis=0)).reshape(len(ca), -1)
  return moved @ modes


def modes_of(root: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Modes [3 L, 3 L - 6] of a root [3 L, 3 L] of the covariance about [L, 3] Å, their variances.

  Motions of the whole are left out: frames are superposed.
  """
  centred = reference - reference.mean(axis=0)
  axes = np.eye(3)
  shifts = [np.broadcast_to(axis, centred.shape) for axis in axes]
  turns = [np.cross(axis, centred) for axis in axes]
  rigid = np.linalg.qr(np.stack([x.ravel() for x in (*shifts, *turns)], axis=1))[0]
  vectors, values, _ = np.linalg.svd(root - rigid @ (rigid.T @ root))
  keep = slice(0, len(values) - 6)
  return vectors[:, keep], values[keep] ** 2


def compare(ca: np.ndarray, root: np.ndarray, reference: np.ndarray, memory: Any) -> dict[str, Any]:
  """The numbers of the table, of frames [F, L, 3] Å in the reference's pose."""
  modes, expected = modes_of(root, reference)
  expected = expected * np.sum(memory.variances) * _TEMPERATURE_K / 300.0
  along = amplitudes(ca, modes) / np.sqrt(expected)
  count = len(along)
  known = correlation(memory, np.arange(count))
  # About the mean of the run: its own variance is missing.
  of_mean = (2.0 * (1.0 - np.arange(count) / count) @ known - 1.0) / count
  variance = along.var(axis=0) / (1.0 - of_mean)
  error = np.sqrt(2.0 / count * (2.0 * np.sum(known**2) - 1.0))
  correlations = {}
  for lag in _LAGS:
    found = np.mean(along[lag:] * along[:-lag], axis=0) / along.var(axis=0)
    correlations[lag] = (float(found.mean()), float(known[lag]))
  return {
    'modes': len(expected),
    'trace': float((variance * expected).sum() / expected.sum()),
    'mean_variance': float(variance.mean()),
    'standard_error': float(error),
    'largest_z': float(np.max(np.abs(variance - 1.0)) / error),
    'beyond_3': int(np.sum(np.abs(variance - 1.0) > 3.0 * error)),
    'correlation': {str(lag): values for lag, values in correlations.items()},
  }


def table(found: dict[str, Any]) -> str:
  """Markdown."""
  text = '| modes | trace | mean variance | standard error | largest z | beyond 3 |\n' + '|---' * 6
  text += (
    f'|\n| {found["modes"]} | {found["trace"]:.3f} | {found["mean_variance"]:.3f} | '
    f'{found["standard_error"]:.3f} | {found["largest_z"]:.1f} | {found["beyond_3"]} |\n\n'
    '| frames apart | correlation | expected |\n|---|---|---|\n'
  )
  for lag, (value, known) in found['correlation'].items():
    text += f'| {lag} | {value:.3f} | {known:.3f} |\n'
  return text


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  structure = str(held_out.SIMULATED / '2jof' / '2jof.pdb')
  flags.DEFINE_string('structure', structure, 'PDB or mmCIF file.', flag_values=values)
  flags.DEFINE_integer('num_frames', 30_000, 'To sample.', lower_bound=5000, flag_values=values)
  flags.DEFINE_bool('closure', False, 'Close the chains of every frame.', flag_values=values)
  flags.DEFINE_integer('seed', 0, 'Random seed.', flag_values=values)
  flags.DEFINE_string('out', 'tempo_out/prior', 'STEM of the files.', flag_values=values)
  compilation_cache_flag.define_flags(values)


def main(values: flags.FlagValues) -> None:
  """From the flags to the table."""
  compilation_cache_flag.use(values)
  protein = tempo_jax.load_protein(values.structure).in_solvent('explicit')
  model, positions = silent_model(values.closure), jnp.asarray(protein.arrays.positions)
  network = elastic_network.of_reference(positions, protein.arrays)
  length = protein.num_residues
  unit = jnp.eye(3 * length).reshape(3 * length, length, 3)
  root = np.asarray(network.displacements(unit), np.float64).reshape(3 * length, -1).T
  blocks = model.stream(
    [protein], values.num_frames, 1, jax.random.key(values.seed), _TEMPERATURE_K, atoms='backbone'
  )
  reference = np.asarray(positions[:, 1], np.float64)
  ca = np.empty((values.num_frames, length, 3))
  with tqdm.tqdm(total=values.num_frames, unit='frame', disable=None) as bar:
    for _, block, first in blocks:
      moved = np.asarray(block, np.float64)[:, :, 1]
      ca[first : first + len(moved)] = superposition.superpose_points(moved, reference)
      bar.update(len(moved))
  ca = superposition.superpose_points(ca[_START:], ca[_START:].mean(axis=0))
  found = compare(ca, root, reference, model.config.memory)
  out = pathlib.Path(values.out).expanduser()
  results.write(
    out, table(found), structure=protein.name, closure=values.closure, seed=values.seed, **found
  )
  print(table(found))


if __name__ == '__main__':
  command.launch(sys.modules[__name__])
