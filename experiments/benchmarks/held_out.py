r"""The bundled model beside MD that it was not trained on: the table of its model card.

    python -m experiments.benchmarks.held_out --data=DATA --out=held_out --card=CARD.md

Proteins that it was not trained on (those of data_prep/simulated, and BPTI and ubiquitin of DATA),
and replicas of proteins that it was trained on. From the native structure it samples replicas, of
which each is compared with one of MD, of the same length; validity is judged by at least 400 frames
of each. Every number is a mean over replicas, and stands beside those of MD against MD, of the
frozen structure, and of an elastic network that is given MD's mean RMSF. Writes held_out.json and
held_out.md; --card puts the table between the marks in a file.
"""

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
import tqdm
from absl import flags

import tempo_jax
from data_prep import training_store, training_systems
from tempo_jax import errors, files
from tempo_jax.cli import compilation_cache_flag
from tempo_jax.errors import InputError
from tempo_jax.evaluation import columns
from tempo_jax.evaluation.replica import Native, Replica
from tempo_jax.metrics import baselines, calibration, flexibility, validity
from tempo_jax.models import model as model_lib
from tempo_jax.output import provenance

_SIMULATED = pathlib.Path(training_store.__file__).with_name('simulated')
_LEAST_FRAMES = 400
_MARKS = '<!-- held_out: begin -->', '<!-- held_out: end -->'
_PROTEIN, _REPLICA, _WATER = 'protein', 'replica', 'protein, explicit solvent'


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
  """

  name: str
  kind: str
  topology: pathlib.Path
  reference: tuple[pathlib.Path, ...]
  temperature_K: float = 320.0  # noqa: N815  (K is kelvin)
  mean_dt_ns: float | None = None


def targets(simulated: pathlib.Path, data: pathlib.Path | None) -> list[Target]:
  """What there is.

  Args:
    simulated: our own MD, NAME/NAME_R1.xtc, ...
    data: others' MD, with trajectories/; None: none.
  """
  found = []
  for system in training_systems.SYSTEMS:
    folder = simulated / system.name
    replicas = sorted(folder.glob(f'{system.name}_R*.xtc'))
    unseen = [
      file
      for file in replicas
      if training_store.split_of(system.name, int(file.stem.rpartition('_R')[2])) != 'train'
    ]
    if unseen:
      kind = _PROTEIN if system.held_out else _REPLICA
      found.append(Target(system.name, kind, folder / f'{system.name}.pdb', tuple(unseen)))
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
    `calibration.Calibration` and `rg_ratio`; of the prediction also `clash`, the share of its
    frames with one, and `num_frames`; under 'MD' what it is compared with.

  Raises:
    InputError: a file cannot be used, or its frames are farther apart than the model's.
  """
  native = Native(target.topology, target.name)
  bonded = np.asarray(native.protein.arrays.bonded)
  md = [
    _at_spacing(native.read(file), model.dt_ns, target.mean_dt_ns).positions
    for file in target.reference
  ]
  lengths = [len(replica) for replica in md]
  sampled = np.asarray(
    model.sample(
      native.protein,
      num_frames=max(_LEAST_FRAMES, *lengths),
      num_replicas=num_replicas,
      rng=jax.random.key(seed),
      temperature_K=target.temperature_K,
    ).positions
  )
  start = np.asarray(native.protein.arrays.positions)
  rows = compare(start, bonded, md, list(sampled), model.dt_ns)
  every = sampled.reshape(-1, *sampled.shape[2:])
  rows[columns.PREDICTION] |= {
    'broken': calibration.chain(every, bonded).broken,
    'clash': float(np.mean(validity.num_clashes(every, bonded) > 0)),
    'num_frames': len(every),
  }
  rows['MD'] = {
    'rmsf': float(np.mean([flexibility.ca_rmsf(x, start) for x in md])),
    'residues': native.protein.num_residues,
    'replicas_ns': [round(n * model.dt_ns, 3) for n in lengths],
  }
  return rows


def compare(
  start: np.ndarray,
  bonded: np.ndarray,
  md: Sequence[np.ndarray],
  sampled: Sequence[np.ndarray],
  dt_ns: float,
) -> dict[str, dict[str, Any]]:
  """The numbers of each column, means over pairs of a replica and one of MD, of one length.

  Fluctuations grow with time, and those of several replicas together are larger than those of one:
  hence pairs.

  Args:
    start: [L, 4, 3] Å, at time 0 of all replicas.
    bonded: [L] bool.
    md: replicas, [F, L, 4, 3] Å.
    sampled: replicas, at least as long as any of MD.
    dt_ns: between frames, ns.
  """
  # Divergences of few frames are larger: of as many in every column.
  count = min(map(len, md)) // 2

  def mean(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    found, rg = [], []
    for predicted, reference in pairs:
      n = min(len(predicted), len(reference))
      predicted, reference = predicted[:n], reference[:n]
      whole = np.concatenate([start[None], predicted])
      found.append(calibration.measure([whole], [reference], bonded, start, dt_ns, count=count))
      radii = (float(flexibility.radius_of_gyration(x).mean()) for x in (predicted, reference))
      rg.append(next(radii) / next(radii))
    return dataclasses.asdict(calibration.mean(found)) | {'rg_ratio': float(np.mean(rg))}

  def network(replica: np.ndarray) -> np.ndarray:
    rmsf = float(flexibility.ca_rmsf(replica, start).mean())
    return baselines.elastic_network(start, len(replica), rmsf, seed=0)

  rows = {
    columns.PREDICTION: mean((x, md[k % len(md)]) for k, x in enumerate(sampled)),
    columns.NETWORK: mean((network(x), x) for x in md),
    columns.FROZEN: mean((baselines.frozen(start, len(x)), x) for x in md),
    columns.HALVES: mean((x[: len(x) // 2], x[len(x) // 2 :]) for x in md),
  }
  if len(md) > 1:
    rows[columns.REPLICAS] = mean(itertools.permutations(md, 2))
  return rows


def _at_spacing(replica: Replica, dt_ns: float, mean_dt_ns: float | None) -> Replica:
  """Every n-th frame; of frames that are unevenly apart, on average."""
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


_COLUMNS = ('protein', 'unseen', 'residues', 'MD (ns)', 'RMSF of MD (Å)')
_NUMBERS = (
  ('RMSF r', 'rmsf_r', '.2f'),
  ('RMSF', 'rmsf_ratio', '.2f'),
  ('pairwise RMSD', 'pairwise_rmsd_ratio', '.2f'),
  ('Rg', 'rg_ratio', '.3f'),
  ('step', 'step_ratio', '.2f'),
  ('JSD', 'ca_jsd', '.3f'),
  ('broken', 'broken', '.2%'),
  ('clash', 'clash', '.2%'),
)
# What a column has no say in.
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
  header = (*_COLUMNS, 'column', *(label for label, _, _ in _NUMBERS))
  lines = [header, ('---',) * len(header)]
  for target, rows in found:
    md = rows['MD']
    lengths = ' + '.join(f'{x:.2f}' for x in md['replicas_ns'])
    first = [target.name, target.kind, str(md['residues']), lengths, f'{md["rmsf"]:.2f}']
    for name, label in _SHOWN:
      if name in rows:
        row = {key: x for key, x in rows[name].items() if key not in _BLANK.get(name, ())}
        cells = (_cell(row.get(key), style) for _, key, style in _NUMBERS)
        lines.append((*first, label, *cells))
        first = [''] * len(first)
  return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |' for line in lines)


def _cell(value: float | None, style: str) -> str:
  return '' if value is None else format(value, style)


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


def define_flags() -> None:
  """Called by the binary only."""
  flags.DEFINE_string('model', 'default', 'Model: "default" or a directory.')
  flags.DEFINE_string('simulated', str(_SIMULATED), 'Directory with our own MD.')
  flags.DEFINE_string('data', None, "Directory with others' MD (BPTI, ubiquitin). Default: none.")
  flags.DEFINE_string('out', 'tempo_out/held_out', 'Directory to write into.')
  flags.DEFINE_string('card', None, 'File whose table, between two marks, is replaced.')
  flags.DEFINE_integer('num_replicas', 4, 'To sample of each protein.', lower_bound=1)
  flags.DEFINE_integer('seed', 0, 'Of the sampling.')
  flags.DEFINE_list('only', [], 'Names of proteins. Default: all.')
  compilation_cache_flag.define_flags(flags.FLAGS)


def main(argv: Sequence[str]) -> None:
  """From the flags to the table."""
  del argv
  values: Any = flags.FLAGS
  compilation_cache_flag.use(values)
  model = tempo_jax.load_model(values.model)
  data = pathlib.Path(values.data).expanduser() if values.data else None
  every = targets(pathlib.Path(values.simulated).expanduser(), data)
  names = [target.name for target in every]
  if unknown := sorted(set(values.only) - set(names)):
    raise InputError(f'--only: {", ".join(unknown)} is none of {", ".join(names)}')
  chosen = [target for target in every if not values.only or target.name in values.only]
  if not chosen:
    raise InputError(f'{values.simulated}: holds no MD that is held out: correct --simulated')
  card = pathlib.Path(values.card).expanduser() if values.card else None
  if card:
    around(card)  # Now, not when all is computed.
  out = pathlib.Path(values.out).expanduser()
  out.mkdir(parents=True, exist_ok=True)
  found, text = [], ''
  for target in tqdm.tqdm(chosen, unit='protein', disable=None):
    found.append((target, measure(model, target, values.num_replicas, values.seed)))
    text = table(found)
    result = {
      'model_sha256': provenance.params_sha256(model.params),
      'versions': provenance.versions(),
      'num_replicas': values.num_replicas,
      'seed': values.seed,
      'proteins': {target.name: rows for target, rows in found},
    }
    # After each protein: what is done stays, should the next one fail.
    files.write_text(out / 'held_out.json', json.dumps(result, indent=2) + '\n')
    files.write_text(out / 'held_out.md', f'{text}\n')
  print(text)
  if card:
    # What was written around the table meanwhile stays.
    files.write_text(card, text.join(around(card)))


if __name__ == '__main__':
  define_flags()
  errors.run(main)
