r"""The bundled model against MD that it was not trained on: the table of its model card.

    python -m experiments.benchmarks.held_out --data=DATA --out=held_out --card=CARD.md

Proteins that it was not trained on (in data_prep/simulated, and BPTI and ubiquitin in DATA), and
unseen replicas of proteins that it was trained on. Replicas are sampled from the native structure,
and each is compared with a replica of MD of the same length; where there are replicas of 4 ns,
shorter ones are left out, since motion grows with time. Validity is that of at least 400 frames of
each. Every number is a mean over replicas. For comparison, the table has MD against MD, the frozen
structure, and an elastic network with the mean RMSF of MD. Writes held_out.json and held_out.md;
--card puts the table between the marks in a file.
"""

import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
import tqdm
from absl import flags

import tempo_jax
from data_prep import training_store, training_systems
from experiments import results
from tempo_jax import files
from tempo_jax.cli import command, compilation_cache_flag
from tempo_jax.errors import InputError
from tempo_jax.evaluation import columns, markdown
from tempo_jax.evaluation.markdown import Number
from tempo_jax.evaluation.replica import Native, Replica
from tempo_jax.geometry import bonds
from tempo_jax.metrics import baselines, calibration, flexibility, validity
from tempo_jax.models import model as model_lib
from tempo_jax.output import provenance
from tempo_jax.preparation.simulation import checkpoint as simulation_checkpoint
from tempo_jax.protein.protein import Protein

SIMULATED = pathlib.Path(training_store.__file__).with_name('simulated')
_LEAST_FRAMES = 400
_LONG_NS = 4.0
_MARKS = '<!-- held_out: begin -->', '<!-- held_out: end -->'
PROTEIN, REPLICA, _WATER = 'protein', 'replica', 'protein, explicit solvent'


@dataclasses.dataclass(frozen=True)
class Target:
  """MD that the model has not seen.

  Attributes:
    name: of the protein.
    kind: what is new: the protein, or only the replica.
    topology: file of the structure that sampling starts from.
    reference: files of MD, each a replica.
    temperature_K: of MD and sampling, K.
    mean_dt_ns: time between the frames of MD on average, ns, where it varies.
    left_out: numbers of replicas that are too short beside those of `reference`.
  """

  name: str
  kind: str
  topology: pathlib.Path
  reference: tuple[pathlib.Path, ...]
  temperature_K: float = 320.0
  mean_dt_ns: float | None = None
  left_out: tuple[int, ...] = ()

  @property
  def solvent(self) -> str:
    """Of the MD, one of `protein.SOLVENTS`."""
    return 'explicit' if self.kind == _WATER else 'implicit'


def targets(simulated: pathlib.Path, data: pathlib.Path | None) -> list[Target]:
  """All targets that there are files of; where there are replicas of 4 ns, without shorter ones.

  Args:
    simulated: our own MD, NAME/NAME_R1.xtc, ...
    data: MD of others, with trajectories/; None if there is none.
  """
  found = []
  for system in training_systems.SYSTEMS:
    folder = simulated / system.name
    unseen = [
      file
      for file in sorted(folder.glob(f'{system.name}_R*.xtc'))
      if training_store.split_of(system.name, _number(file)) != 'train'
    ]
    if unseen:
      kind = PROTEIN if system.held_out else REPLICA
      kept = [file for file in unseen if _length_ns(file) >= _LONG_NS] or unseen
      short = tuple(_number(file) for file in unseen if file not in kept)
      topology = folder / f'{system.name}.pdb'
      found.append(Target(system.name, kind, topology, tuple(kept), left_out=short))
  if data is not None:
    for name, structure, trajectory, mean_dt_ns in (
      ('bpti', 'bpti_5ns/bpti.pdb', 'bpti.xtc', None),
      # Frames are 1 or 2 ps apart: 812 in 1 ns.
      ('ubiquitin', 'ubiquitin_1ns/ubq.pdb', 'ubq_1ns.xtc', 1.0 / 811),
    ):
      native = data / 'trajectories' / structure
      if native.is_file():
        reference = (native.with_name(trajectory),)
        found.append(Target(name, _WATER, native, reference, 300.0, mean_dt_ns))
  return found


def _number(trajectory: pathlib.Path) -> int:
  return int(trajectory.stem.rpartition('_R')[2])


def _length_ns(trajectory: pathlib.Path) -> float:
  """As its record says; 0 without."""
  return simulation_checkpoint.read_json(trajectory.with_suffix('.json')).get('length_ns', 0.0)


def choose(every: Sequence[Target], names: Sequence[str], flag: str) -> list[Target]:
  """Those of the given names; all of them without names.

  Raises:
    InputError: there is no target, or none of that name; `flag` says who asks.
  """
  if not every:
    raise InputError('there is no MD that is held out: correct --simulated')
  known = [target.name for target in every]
  if unknown := sorted(set(names) - set(known)):
    raise InputError(f'--{flag}: {", ".join(unknown)} is none of {", ".join(known)}')
  return [target for target in every if not names or target.name in names]


def read(target: Target, dt_ns: float) -> tuple[Protein, list[np.ndarray]]:
  """Its structure, and its replicas of MD [F, L, 4, 3] Å at a time step in ns.

  Raises:
    InputError: a file cannot be used, or its frames are farther apart.
  """
  native = Native(target.topology, target.name)
  replicas = (at_spacing(native.read(file), dt_ns, target.mean_dt_ns) for file in target.reference)
  protein = native.protein.in_solvent(target.solvent)
  return protein, [replica.positions for replica in replicas]


def measure(
  model: model_lib.Model, target: Target, num_replicas: int, seed: int
) -> dict[str, dict[str, Any]]:
  """Samples a target, and compares.

  Args:
    model: the model.
    target: which.
    num_replicas: to sample.
    seed: of the sampling.

  Returns:
    By column ('prediction' and the baselines of `evaluation.columns`), the numbers of
    `calibration.Calibration`; of the prediction also `clash`, the share of its frames with one,
    and `num_frames`; under 'MD' what it is compared with.

  Raises:
    InputError: a file cannot be used, or its frames are farther apart than the model's.
  """
  protein, md = read(target, model.dt_ns)
  bonded = protein.arrays.bonds
  lengths = [len(replica) for replica in md]
  sampled = np.asarray(
    model.sample(
      protein,
      num_frames=max(_LEAST_FRAMES, *lengths),
      num_replicas=num_replicas,
      rng=jax.random.key(seed),
      temperature_K=target.temperature_K,
    ).positions
  )
  start = np.asarray(protein.arrays.positions)
  rows = compare(start, bonded, md, list(sampled), model.dt_ns)
  every = sampled.reshape(-1, *sampled.shape[2:])
  rows[columns.PREDICTION] |= {
    'broken': calibration.chain(every, bonded).broken,
    'clash': float(np.mean(validity.num_clashes(every, bonded) > 0)),
    'num_frames': len(every),
  }
  rows['MD'] = {
    'rmsf': float(np.mean([flexibility.ca_rmsf(x, start) for x in md])),
    'residues': protein.num_residues,
    'replicas_ns': [round(n * model.dt_ns, 3) for n in lengths],
  }
  return rows


def compare(
  start: np.ndarray,
  bonded: np.ndarray | bonds.Bonds,
  md: Sequence[np.ndarray],
  sampled: Sequence[np.ndarray],
  dt_ns: float,
  only: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
  """The numbers of each column, means over pairs of a replica and one of MD, of one length.

  Fluctuations grow with time, and those of several replicas together are larger than those of one:
  hence pairs.

  Args:
    start: [L, 4, 3] Å, at time 0 of all replicas.
    bonded: [L] bool, or `Bonds`.
    md: replicas, [F, L, 4, 3] Å.
    sampled: replicas, at least as long as any of MD.
    dt_ns: between frames, ns.
    only: names of columns. Default: all.
  """
  # Divergences of few frames are larger: of as many in every column.
  count = min(map(len, md)) // 2

  def mean(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    found = []
    for predicted, reference in pairs:
      n = min(len(predicted), len(reference))
      whole = np.concatenate([start[None], predicted[:n]])
      found.append(calibration.measure([whole], [reference[:n]], bonded, start, dt_ns, count=count))
    return dataclasses.asdict(calibration.mean(found))

  pairs: dict[str, Iterable[tuple[np.ndarray, np.ndarray]]] = {
    columns.PREDICTION: ((x, md[k % len(md)]) for k, x in enumerate(sampled)),
    columns.NETWORK: ((baselines.elastic_network_of(x, start), x) for x in md),
    columns.FROZEN: ((baselines.frozen(start, len(x)), x) for x in md),
    columns.HALVES: ((x[: len(x) // 2], x[len(x) // 2 :]) for x in md),
  }
  if len(md) > 1:
    pairs[columns.REPLICAS] = itertools.permutations(md, 2)
  return {name: mean(found) for name, found in pairs.items() if not only or name in only}


def at_spacing(replica: Replica, dt_ns: float, mean_dt_ns: float | None) -> Replica:
  """Every n-th frame; of frames that are unevenly apart, on average.

  Args:
    replica: whose frames are nearer to one another than dt.
    dt_ns: wanted between frames, ns.
    mean_dt_ns: between its frames on average, ns, where it varies.

  Raises:
    InputError: dt is no multiple of its own, or it has no times.
  """
  own = replica.dt_ns or mean_dt_ns
  if own is None:
    raise InputError(f'{replica.source}: its frames have no even times: write them into the file')
  stride = max(1, round(dt_ns / own))
  if abs(stride * own - dt_ns) > (0.05 if mean_dt_ns else 1e-3) * dt_ns:
    raise InputError(
      f'{replica.source}: frames are {own} ns apart, and those of the model {dt_ns} ns: give MD '
      'whose frames are nearer to one another by a whole number'
    )
  positions = replica.positions[::stride]
  return dataclasses.replace(
    replica, positions=positions, time_ns=dt_ns * np.arange(1, 1 + len(positions))
  )


_HEADINGS = ('protein', 'unseen', 'residues', 'MD (ns)', 'RMSF of MD (Å)', 'column')
_NUMBERS = (
  Number('RMSF r', 'rmsf_r', '.2f'),
  Number('RMSF', 'rmsf_ratio', '.2f'),
  Number('pairwise RMSD', 'pairwise_rmsd_ratio', '.2f'),
  Number('Rg', 'rg_ratio', '.3f'),
  Number('step', 'step_ratio', '.2f'),
  Number('JSD', 'ca_jsd', '.3f'),
  Number('broken', 'broken', '.2%'),
  Number('clash', 'clash', '.2%'),
)
# Numbers that say nothing about a column.
_BLANK = {
  columns.FROZEN: {'rmsf_r', 'step_ratio', 'broken'},
  columns.NETWORK: {'step_ratio', 'broken'},
}
_SHOWN = (
  (columns.PREDICTION, 'model'),
  (columns.NETWORK, 'elastic network'),
  (columns.FROZEN, 'frozen'),
  (columns.REPLICAS, 'MD replicas'),
  (columns.HALVES, 'MD halves'),
)


def table(found: Iterable[tuple[Target, dict[str, dict[str, Any]]]]) -> str:
  """Markdown; RMSF, pairwise RMSD, Rg and step are ratios to MD's."""
  lines: list[list[str]] = []
  for target, rows in found:
    md = rows['MD']
    short = f' (without {", ".join(f"R{k}" for k in target.left_out)})' if target.left_out else ''
    lengths = ' + '.join(f'{x:.2f}' for x in md['replicas_ns']) + short
    first = [target.name, target.kind, str(md['residues']), lengths, f'{md["rmsf"]:.2f}']
    for name, label in _SHOWN:
      if name in rows:
        row = {key: x for key, x in rows[name].items() if key not in _BLANK.get(name, ())}
        lines.append([*first, label, *markdown.cells(row, _NUMBERS)])
        first = [''] * len(first)
  return markdown.table([*_HEADINGS, *(number.heading for number in _NUMBERS)], lines)


def around(card: pathlib.Path) -> tuple[str, str]:
  """What stands before and after the table in a file.

  Raises:
    InputError: there is no such file, or no marks in it.
  """
  begin, end = _MARKS
  if not card.is_file():
    raise InputError(f'{card}: no such file: correct --card')
  head, found_begin, rest = card.read_text().partition(begin)
  _, found_end, tail = rest.partition(end)
  if not (found_begin and found_end):
    raise InputError(f'{card}: has no lines {begin} and {end}: add them where the table belongs')
  return f'{head}{begin}\n\n', f'\n\n{end}{tail}'


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('model', 'default', 'Model: "default" or a directory.', flag_values=values)
  flags.DEFINE_string('simulated', str(SIMULATED), 'Directory with our MD.', flag_values=values)
  flags.DEFINE_string(
    'data',
    None,
    'Directory with MD of others (BPTI, ubiquitin). Default: none.',
    flag_values=values,
  )
  flags.DEFINE_string('out', 'tempo_out/held_out', 'Directory to write into.', flag_values=values)
  flags.DEFINE_string(
    'card', None, 'File whose table, between two marks, is replaced.', flag_values=values
  )
  flags.DEFINE_integer(
    'num_replicas', 4, 'Replicas to sample of each protein.', lower_bound=1, flag_values=values
  )
  flags.DEFINE_integer('seed', 0, 'Random seed of the samples.', flag_values=values)
  flags.DEFINE_list('only', [], 'Names of proteins. Default: all.', flag_values=values)
  compilation_cache_flag.define_flags(values)


def run(
  model: model_lib.Model,
  chosen: Sequence[Target],
  num_replicas: int,
  seed: int,
  out: pathlib.Path,
  card: pathlib.Path | None,
) -> str:
  """Measures a model on every target, and writes the table.

  Args:
    model: the model.
    chosen: the targets.
    num_replicas: to sample of each.
    seed: of the sampling.
    out: directory of held_out.json and held_out.md.
    card: file whose table, between two marks, is replaced; None: none.

  Returns:
    The table.

  Raises:
    InputError: a file cannot be used.
  """
  if card:
    around(card)  # Now, not when all is computed.
  found, text = [], ''
  for target in tqdm.tqdm(chosen, unit='protein', disable=None):
    found.append((target, measure(model, target, num_replicas, seed)))
    text = table(found)
    # After each protein: what is done stays, should the next one fail.
    results.write(
      out / 'held_out',
      text,
      model_sha256=provenance.model_sha256(model),
      num_replicas=num_replicas,
      seed=seed,
      proteins={target.name: rows for target, rows in found},
    )
  if card:
    # What was written around the table meanwhile stays.
    files.write_text(card, text.rstrip().join(around(card)))
  return text


def main(values: Any) -> None:
  """From the flags to the table."""
  compilation_cache_flag.use(values)
  model = tempo_jax.load_model(values.model)
  data = pathlib.Path(values.data).expanduser() if values.data else None
  every = targets(pathlib.Path(values.simulated).expanduser(), data)
  chosen = choose(every, values.only, 'only')
  card = pathlib.Path(values.card).expanduser() if values.card else None
  out = pathlib.Path(values.out).expanduser()
  print(run(model, chosen, values.num_replicas, values.seed, out, card))


if __name__ == '__main__':
  command.launch(sys.modules[__name__])
