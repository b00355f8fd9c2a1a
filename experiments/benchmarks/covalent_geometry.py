"""Mean, spread and range of bonds and angles in MD, and those of a model beside them.

    python -m experiments.benchmarks.covalent_geometry

Reads data_prep/simulated, without the proteins that are held out. With --model it samples those,
and judges their frames beside MD of the same protein, as a table in Markdown:

    python -m experiments.benchmarks.covalent_geometry --model=default --data=DATA

inside: frames in which C-N, CA-CA, N-CA-C, CA-C-N, O-C-N and C-N-CA all lie in the 0.01 - 99.99 %
range of our MD; sound: no bond, angle or omega beyond its limit, no clash; phi, psi: residues
where MD hardly ever is (`metrics.ramachandran`); sd: that of the model to that of MD.
"""

import pathlib
import sys
from collections.abc import Iterator

import numpy as np
from absl import flags

import tempo_jax
from data_prep import training_systems
from experiments.benchmarks import held_out
from tempo_jax.cli import command, compilation_cache_flag
from tempo_jax.evaluation import markdown
from tempo_jax.geometry import bonds
from tempo_jax.metrics import covalent_geometry, ramachandran, torsions
from tempo_jax.output import frame_table
from tempo_jax.protein.protein import ProteinArrays
from tempo_jax.trajectory import backbone_atoms, reader

_SIMULATED = pathlib.Path(__file__).parents[2] / 'data_prep/simulated'
_RANGE = (0.01, 99.99)
_TOGETHER = ('C-N', 'CA-CA', 'N-CA-C', 'CA-C-N', 'O-C-N', 'C-N-CA')


def frames(
  topology: pathlib.Path, files: list[pathlib.Path]
) -> Iterator[tuple[np.ndarray, bonds.Bonds]]:
  """Yields positions [F, L, 4, 3] Å and `bonded` of each file."""
  structure = reader.load_structure(topology, files[0])
  protein, atom_index = backbone_atoms.select(structure, topology.stem, str(topology))
  for file in files:
    blocks = reader.TrajectoryFile(file, structure.topology, topology).blocks()
    found = [backbone_atoms.positions(block, protein, atom_index) for block in blocks]
    yield np.concatenate(found), protein.arrays.bonds


def of_md() -> dict[str, np.ndarray]:
  """All values of every bond and angle."""
  found: dict[str, list[np.ndarray]] = {}
  held_out = {system.name for system in training_systems.SYSTEMS if system.held_out}
  for folder in sorted(_SIMULATED.iterdir()):
    if not folder.is_dir() or folder.name in held_out:
      continue
    (topology,) = folder.glob('*.pdb')
    for positions, bonded in frames(topology, sorted(folder.glob('*.xtc'))):
      for name, values in values_of(positions, bonded):
        found.setdefault(name, []).append(values.ravel())
  return {name: np.concatenate(values) for name, values in found.items()}


def spread(name: str, values: np.ndarray) -> tuple[float, float]:
  """Mean and sd; of omega the root of the mean square, since it is a distance from zero."""
  if name == 'omega':
    return 0.0, float(np.sqrt(np.mean(values**2)))
  return float(values.mean()), float(values.std())


def ranges(md: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
  """0.01 - 99.99 % of the values that are judged together."""
  return {name: tuple(np.percentile(md[name], _RANGE)) for name in _TOGETHER}


def values_of(
  positions: np.ndarray, bonded: np.ndarray | bonds.Bonds
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields all bonds and angles, and CA-CA."""
  yield from covalent_geometry.lengths(positions, bonded)
  yield from covalent_geometry.angles(positions, bonded)
  here, there = bonds.pairs(bonded)
  yield 'CA-CA', np.linalg.norm(positions[:, there, 1] - positions[:, here, 1], axis=-1)


def judge(
  positions: np.ndarray, protein: ProteinArrays, within: dict[str, tuple[float, float]]
) -> dict[str, float]:
  """Shares of frames [F, L, 4, 3], %, and the sd of what is judged."""
  inside = np.ones(len(positions), bool)
  found: dict[str, float] = {}
  for name, values in values_of(positions, protein.bonds):
    if name in within:
      low, high = within[name]
      inside &= ((values >= low) & (values <= high)).all(axis=-1)
      found[name] = float(values.std())
  numbers = frame_table.per_frame(positions, protein)
  column = dict(zip(frame_table.COLUMNS, numbers.T, strict=True))
  phi, psi, _ = torsions.backbone_torsions(positions, protein.bonds)
  _, judged = ramachandran.outliers(phi, psi, protein.residue_type, protein.bonds)
  return found | {
    'inside': 100.0 * float(inside.mean()),
    'sound': 100.0 * float(column['sound'].mean()),
    'phi, psi': 100.0 * float(column['ramachandran_outliers'].mean()) / max(1, judged.sum()),
  }


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  compilation_cache_flag.define_flags(values)
  flags.DEFINE_string('model', None, 'Model to judge. Default: none.', flag_values=values)
  flags.DEFINE_string(
    'data',
    None,
    'Directory with MD of others (trajectories/...). Default: none.',
    flag_values=values,
  )
  flags.DEFINE_integer('num_frames', 400, 'Of each replica.', lower_bound=1, flag_values=values)
  flags.DEFINE_integer('num_replicas', 4, 'Of each protein.', lower_bound=1, flag_values=values)


def main(values: flags.FlagValues) -> None:
  """Prints the table of MD, or that of a model."""
  md = of_md()
  if not values.model:
    for name, found in md.items():
      mean, sd = spread(name, found)
      low, high = np.percentile(found, _RANGE)
      print(f'{name:8} {mean:8.3f} {sd:6.3f}   0.01 - 99.99 %: {low:.3f} {high:.3f}')
    return
  compilation_cache_flag.use(values)
  within, model, lines = ranges(md), tempo_jax.load_model(values.model), []
  data = pathlib.Path(values.data).expanduser() if values.data else None
  for target in held_out.targets(_SIMULATED, data):
    if target.kind == held_out.REPLICA:
      continue
    protein, replicas = held_out.read(target, model.dt_ns)
    sampled = model.sample(
      protein, values.num_frames, values.num_replicas, temperature_K=target.temperature_K
    )
    frames_of = np.asarray(sampled.positions).reshape(-1, *protein.arrays.positions.shape)
    ours, theirs = (judge(x, protein.arrays, within) for x in (frames_of, np.concatenate(replicas)))
    shares = [f'{theirs[name]:.1f} / {ours[name]:.1f}' for name in ('inside', 'sound', 'phi, psi')]
    spreads = [f'{ours[name] / theirs[name]:.2f}' for name in _TOGETHER]
    lines.append([target.name, *shares, *spreads])
  heads = ['inside, % (MD / model)', 'sound, %', 'phi, psi, %']
  print(markdown.table(['protein', *heads, *(f'sd {name}' for name in _TOGETHER)], lines))


if __name__ == '__main__':
  command.launch(sys.modules[__name__])
