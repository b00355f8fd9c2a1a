r"""The bundled model beside MD that it has not seen: the table of its model card.

    python -m experiments.benchmarks.held_out --data=DATA --out=held_out --card=CARD.md

Proteins that it was not trained on (those of data_prep/simulated, and BPTI and ubiquitin of DATA),
and replicas of proteins that it was trained on. From the native structure it samples replicas as
long as those of MD, for the numbers, and at least 400 frames, for validity. Each number stands
beside those of MD against MD, the frozen structure and an elastic network that is given MD's mean
RMSF. Writes held_out.json and held_out.md; --card puts the table between the marks in a file.
"""

import dataclasses
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
from tempo_jax import compilation_cache, errors, whole_file
from tempo_jax import model as model_lib
from tempo_jax.errors import InputError
from tempo_jax.evaluation import calibration, columns
from tempo_jax.evaluation.ensemble import Ensemble, Native
from tempo_jax.evaluation.sample import Sample
from tempo_jax.evaluation.scores import Settings
from tempo_jax.metrics import validity
from tempo_jax.report import provenance

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
    data: others' MD, with trajectories/ and openmm_implicit/; None: none.
  """
  found = []
  for system in training_systems.SYSTEMS:
    folder = simulated / system.name
    files = sorted(folder.glob(f'{system.name}_R*.xtc'))
    topology = folder / f'{system.name}.pdb'
    unseen = [
      file
      for file in files
      if training_store.split_of(system.name, int(file.stem.rpartition('_R')[2])) != 'train'
    ]
    if data is not None and system.held_out:
      # More MD of the same protein with the same force field.
      more = data / 'openmm_implicit' / system.name
      topology = topology if files else more / f'{system.name}.pdb'
      unseen += sorted(more.glob(f'{system.name}_R*.xtc'))
    if unseen:
      kind = _PROTEIN if system.held_out else _REPLICA
      found.append(Target(system.name, kind, topology, tuple(unseen)))
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
    By column ('prediction' and the baselines of `evaluation.columns`), the numbers.

  Raises:
    InputError: a file cannot be used, or its frames are farther apart than the model's.
  """
  native = Native(target.topology, target.name)
  replicas = [
    _at_spacing(native.read(file), model.dt_ns, target.mean_dt_ns) for file in target.reference
  ]
  reference = Sample(native.protein, replicas)
  lengths = [replica.num_frames for replica in replicas]
  sampled = np.asarray(
    model.sample(
      native.protein,
      num_frames=max(_LEAST_FRAMES, *lengths),
      num_replicas=num_replicas,
      rng=jax.random.key(seed),
      temperature_K=target.temperature_K,
    ).positions
  )
  # Fluctuations grow with time: each is compared with MD of its length.
  parts = [part[: lengths[k % len(lengths)]] for k, part in enumerate(sampled)]
  times = [model.dt_ns * np.arange(1, 1 + len(part)) for part in parts]
  predicted = Sample(
    native.protein,
    [Ensemble(part, time, target.name) for part, time in zip(parts, times, strict=True)],
  )
  found = columns.columns(reference, predicted, Settings(temperature_K=target.temperature_K))
  rows: dict[str, dict[str, Any]] = {}
  for name, column in found.items():
    numbers = column.numbers
    rows[name] = {
      'rmsf_r': numbers['per_target_rmsf_r'],
      'rmsf_ratio': _ratio(numbers['rmsf'], numbers['reference_rmsf']),
      'pairwise_ratio': _ratio(numbers['pairwise_rmsd'], numbers['reference_pairwise_rmsd']),
      'jsd': numbers['ca_distance_jsd'],
      'rmsd_error': numbers['rmsd_error'],
    }
  bonded = np.asarray(native.protein.arrays.bonded)
  every = sampled.reshape(-1, *sampled.shape[2:])
  chain = calibration.chain(every, bonded)
  rows[columns.PREDICTION] |= {
    'rg_ratio': _ratio(predicted.radius_of_gyration.mean(), reference.radius_of_gyration.mean()),
    'step_ratio': calibration.step_ratio(parts, [x.positions for x in replicas]),
    'broken_percent': 100.0 * max(chain.outside_ca_ca, chain.outside_c_n),
    'clash_percent': 100.0 * float(np.mean(validity.num_clashes(every, bonded) > 0)),
    'num_frames': len(every),
  }
  rows['MD'] = {
    'rmsf': float(reference.rmsf.mean()),
    'residues': native.protein.num_residues,
    'replicas_ns': [round(n * model.dt_ns, 3) for n in lengths],
  }
  return rows


def _at_spacing(replica: Ensemble, dt_ns: float, mean_dt_ns: float | None) -> Ensemble:
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


def _ratio(a: float | None, b: float | None) -> float | None:
  return None if a is None or not b else float(a / b)


_COLUMNS = ('protein', 'unseen', 'residues', 'MD (ns)', 'RMSF of MD (Å)')
_NUMBERS = (
  ('RMSF r', 'rmsf_r', 2),
  ('RMSF', 'rmsf_ratio', 2),
  ('pairwise RMSD', 'pairwise_ratio', 2),
  ('Rg', 'rg_ratio', 3),
  ('step', 'step_ratio', 2),
  ('JSD', 'jsd', 3),
  ('broken (%)', 'broken_percent', 2),
  ('clash (%)', 'clash_percent', 2),
)
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
        cells = (_cell(rows[name].get(key), digits) for _, key, digits in _NUMBERS)
        lines.append((*first, label, *cells))
        first = [''] * len(first)
  return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |' for line in lines)


def _cell(value: float | None, digits: int) -> str:
  return '' if value is None else f'{value:.{digits}f}'


def put(text: str, card: pathlib.Path) -> None:
  """Replaces what is between the marks in a file.

  Raises:
    InputError: they are not there.
  """
  begin, end = _MARKS
  head, found_begin, rest = card.read_text().partition(begin)
  _, found_end, tail = rest.partition(end)
  if not (found_begin and found_end):
    raise InputError(f'{card}: has no lines {begin} and {end}: add them where the table belongs')
  whole_file.write_text(card, f'{head}{begin}\n\n{text}\n\n{end}{tail}')


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
  compilation_cache.define_flag(flags.FLAGS)


def main(argv: Sequence[str]) -> None:
  """From the flags to the table."""
  del argv
  values: Any = flags.FLAGS
  compilation_cache.use(values.compilation_cache_dir)
  model = tempo_jax.load_model(values.model)
  data = pathlib.Path(values.data).expanduser() if values.data else None
  every = targets(pathlib.Path(values.simulated).expanduser(), data)
  chosen = [target for target in every if not values.only or target.name in values.only]
  if not chosen:
    raise InputError(
      f'--only={",".join(values.only)}: none of {", ".join(target.name for target in every)}'
    )
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
    whole_file.write_text(out / 'held_out.json', json.dumps(result, indent=2) + '\n')
    whole_file.write_text(out / 'held_out.md', f'{text}\n')
  print(text)
  if values.card:
    put(text, pathlib.Path(values.card))


if __name__ == '__main__':
  define_flags()
  errors.run(main)
