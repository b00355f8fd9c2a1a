"""The memory of the elastic prior, fitted to MD: `config.model.memory`.

    python -m experiments.benchmarks.memory --data=DATA

For each trajectory and lag, the square of what residues move (root mean square, summed over them)
in units of the same of the elastic network, at 300 K. Over explicit-solvent MD that may be trained
on (Trp-cage TC5b, the first half of NTL9, SH2, PSI), the geometric mean; over our own MD of folded
proteins in implicit solvent, the difference at the shortest lag. A sum of decaying exponentials of
fixed times, with weights that are not negative, is fitted to it (least squares of relative errors;
Lawson & Hanson). Beyond 100 ns no such MD is at hand: the slowest weight makes the RMSF 2.4 times
that over 5 ns, as MD beyond a microsecond has it. Proteins that are held out are not read.

Printed, too: how far residue frames tilt against the trace of the chain (root mean square per
component about their mean, rad), inside a chain and at its ends, and how much of that is left after
the first lag.
"""

import dataclasses
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from absl import flags

from data_prep import training_store, training_systems
from experiments.benchmarks import held_out
from tempo_jax.cli import command
from tempo_jax.dynamics import elastic_network, expected
from tempo_jax.evaluation.replica import Native
from tempo_jax.geometry import backbone, rigid, so3
from tempo_jax.metrics import superposition
from tempo_jax.protein import protein as protein_lib

_LAGS_NS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
TIMES_NS = (0.004, 0.04, 0.4, 4.0, 40.0, 3000.0)
# RMSF of MD: beyond a microsecond 2.1 to 2.7, over 1 to 6 ns 0.9 to 1.2 times that of a network.
_SLOW_RATIO = 2.4
_SHORT_NS = 5.0
_TILT_FRAMES = 1000
_FOLDED = ('1tg0', 'nug2', 'eehee1049', 'hhh0335', '2jof')


@dataclasses.dataclass(frozen=True)
class Source:
  """MD of one protein.

  Attributes:
    topology, trajectory: files.
    dt_ns: between frames, ns.
    temperature_K: K.
    part: of the frames that are read, from the first.
  """

  topology: pathlib.Path
  trajectory: pathlib.Path
  dt_ns: float
  temperature_K: float
  part: float = 1.0


def explicit(data: pathlib.Path) -> dict[str, Source]:
  """MD of others, in water."""
  md = data / 'md_public'

  def source(folder: str, topology: str, *numbers: float) -> Source:
    return Source(md / folder / topology, md / folder / 'R1.xtc', *numbers)

  return {
    'trpcage': source('trpcage_tc5b_50ns', 'topology_backbone.pdb', 0.01, 300.0),
    'ntl9': source('ntl9_mdcath_320K', 'topology.pdb', 1.0, 320.0, 0.5),
    'sh2': source('sh2_lck_pYEEI', 'topology.pdb', 1.0, 300.0),
    'psi': source('psi_integrin_b3', 'topology.pdb', 0.2, 300.0),
  }


def implicit() -> dict[str, Source]:
  """Our MD of folded proteins that are trained on."""
  held = {system.name for system in training_systems.SYSTEMS if system.held_out}
  found = {}
  for name in _FOLDED:
    assert name not in held
    folder = held_out.SIMULATED / name
    number = next(
      k
      for k in range(1, 9)
      if (folder / f'{name}_R{k}.xtc').is_file() and training_store.split_of(name, k) == 'train'
    )
    found[name] = Source(folder / f'{name}.pdb', folder / f'{name}_R{number}.xtc', 0.01, 320.0)
  return found


def read(source: Source) -> tuple[protein_lib.ProteinArrays, np.ndarray]:
  """The protein, and positions [F, L, 4, 3] Å of the frames that may be read."""
  native = Native(source.topology)
  positions = native.read(source.trajectory, source.topology).positions
  return native.protein.arrays, positions[: int(source.part * len(positions))]


def tilts(source: Source) -> tuple[float, float, float]:
  """Of residue frames against the trace: rad inside a chain, at its ends; correlation after dt."""
  protein, positions = read(source)
  positions = positions[-_TILT_FRAMES:]
  frames = backbone.frames_from_atoms(jnp.asarray(positions))
  traces = rigid.Rigid(
    expected.traces(frames.translation, protein.bonds, jnp.eye(3)), frames.translation
  )
  tilt = (traces.inverse() @ frames).rotation
  bent = np.asarray(so3.log(jnp.swapaxes(tilt[:1], -1, -2) @ tilt))
  bent = bent - bent.mean(axis=0)
  inner = np.asarray(protein.bonds.to_next & protein.bonds.to_previous)
  variance, moved = np.mean(bent**2, axis=(0, 2)), np.mean(np.diff(bent, axis=0) ** 2, axis=(0, 2))
  left = 1.0 - moved[inner].mean() / (2.0 * variance[inner].mean())
  return float(variance[inner].mean() ** 0.5), float(variance[~inner].mean() ** 0.5), float(left)


def displacements(source: Source) -> dict[float, float]:
  """By lag, ns: the squared displacement in units of the network's variance, at 300 K."""
  protein, positions = read(source)
  start = positions[0]
  network = jax.jit(elastic_network.of_reference)(start, protein)
  ca = superposition.superpose_points(positions[:, :, 1], start[:, 1])
  ca = superposition.superpose_points(ca, ca.mean(axis=0))
  unit = 3.0 * np.float64(network.spread) ** 2 * source.temperature_K / 300.0
  found = {}
  for lag in _LAGS_NS:
    step = round(lag / source.dt_ns)
    # Three independent stretches, at least.
    if step >= 1 and abs(step * source.dt_ns - lag) < 0.2 * lag and 3 * step < len(ca):
      square = np.mean(np.sum((ca[step:] - ca[:-step]) ** 2, axis=-1), axis=0)
      found[lag] = float((np.sqrt(square).sum() / np.sqrt(unit).sum()) ** 2)
  return found


def fitted(curve: dict[float, float]) -> np.ndarray:
  """Variances of `TIMES_NS` whose squared displacements, 2 sum w (1 - e^(-t / tau)), are those."""
  lags, values = (np.array(x) for x in zip(*sorted(curve.items()), strict=True))
  matrix = 2.0 * (1.0 - np.exp(-lags[:, None] / np.array(TIMES_NS[:-1])))
  weights, _ = scipy.optimize.nnls(matrix / values[:, None], np.ones(len(values)))
  # A trajectory shows its variance about its own mean.
  x = _SHORT_NS / np.array(TIMES_NS[:-1])
  short = weights @ (1.0 - 2.0 * (x - 1.0 + np.exp(-x)) / x**2)
  slow = max(_SLOW_RATIO**2 * short - weights.sum(), 0.0)
  return np.append(weights, slow)


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('data', None, 'Directory with MD of others. Required.', flag_values=values)


def main(values: flags.FlagValues) -> None:
  """Prints the curves and the fit."""
  command.require(values, 'data')
  curves = {}
  for name, sources in (
    ('explicit', explicit(pathlib.Path(values.data).expanduser())),
    ('implicit', implicit()),
  ):
    every = {key: displacements(source) for key, source in sources.items()}
    for key, source in sources.items():
      inside, at_ends, left = tilts(source)
      print(f'{name} {key}: tilt {inside:.3f} rad, at ends {at_ends:.3f}, left {left:.2f}')
    for key, found in every.items():
      print(f'{name} {key}: ' + ', '.join(f'{lag:g} ns {x:.3f}' for lag, x in found.items()))
    lags = sorted({lag for found in every.values() for lag in found})
    curves[name] = {
      lag: float(np.exp(np.mean([np.log(x[lag]) for x in every.values() if lag in x])))
      for lag in lags
    }
    print(f'{name}: ' + ', '.join(f'{lag:g} ns {x:.3f}' for lag, x in curves[name].items()))
  variances = fitted(curves['explicit'])
  shortest = _LAGS_NS[0]
  more = (curves['implicit'][shortest] - curves['explicit'][shortest]) / 2.0
  print('variances =', tuple(round(float(x), 3) for x in variances))
  print('times_ns =', TIMES_NS)
  print('implicit_variance =', round(more, 3))


if __name__ == '__main__':
  command.launch(sys.modules[__name__])
