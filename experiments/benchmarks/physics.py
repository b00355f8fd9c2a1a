r"""How far held-out proteins move, at the spacing and length of their MD, beside the MD itself.

    python -m experiments.benchmarks.physics --model=RUN --data=DATA --out=physics

Of each protein four replicas, as long as each replica of MD and with frames as far apart, from its
first frame: RMSF of CA about a replica's own mean (ratio of the means over residues, and Pearson's
r over residues), the CA-RMSD between successive frames, and the CA-RMSD to the start: over the
root-mean-square RMSF, at the end (last fifth), and the largest. Where our MD has replicas of 4 ns,
shorter ones are left out. Beside it the elastic network without any training (equal springs, 15 Å),
and one half of MD against the other. Writes STEM.md and STEM.json, whose
rows stay: what an earlier run has measured with the same model, MD, settings and source code is not
measured again.

With several models, --model=RUN,RUN,RUN, which differ in the seed of training: medians over models,
of the mean over the replicas of each, and the range over models.

With --left_out=NAME,... the same of proteins that other models are trained on, and this one was not
(`data_prep.default_training_data --leave_out`): all frames of their first replica. The memory of
the prior, the gain and `rotamer_stay` are fitted to all of those proteins together: only the
network has not seen them.

With --peptides the same of peptides whose MD unfolds, or folds, and which models are trained on:
whether conformations change for good.

With --trained the same of proteins that models are trained on, those that the memory is fitted to
(`benchmarks.memory`). Printed then: the geometric mean of the RMSF ratios, by solvent, and the gain
(`config.model.memory.gain`) that would make it 1, were RMSF in proportion to it.
"""

import dataclasses
import hashlib
import pathlib
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

import tempo_jax
from experiments import results
from experiments.benchmarks import held_out, memory
from tempo_jax import config as config_lib
from tempo_jax import time_scales
from tempo_jax.cli import command, compilation_cache_flag
from tempo_jax.compilation import executables
from tempo_jax.errors import InputError
from tempo_jax.evaluation.replica import Native
from tempo_jax.metrics import baselines, flexibility, superposition
from tempo_jax.models import model as model_lib
from tempo_jax.output import expected_error, provenance
from tempo_jax.protein import protein as protein_lib

# Frames of one conformation at a time that the network's fluctuation is measured from.
_NETWORK_FRAMES = 2000
_END = 0.2
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Case:
  """MD that a model is compared with: held-out proteins, and NTL9, half trained on.

  Attributes:
    name: of the protein.
    topology: file of the atoms of its trajectories.
    trajectories: files, one replica each.
    dt_ns: between the frames that are compared, ns.
    stride: of the files' frames.
    temperature_K: K.
    solvent: one of `protein.SOLVENTS`.
    part: which frames of each file, as fractions of them.
  """

  name: str
  topology: pathlib.Path
  trajectories: tuple[pathlib.Path, ...]
  dt_ns: float
  stride: int = 1
  temperature_K: float = 300.0
  solvent: str = 'explicit'
  part: tuple[float, float] = (0.0, 1.0)

  def is_there(self) -> bool:
    """Whether there are files of it."""
    return self.topology.is_file() and bool(self.trajectories)

  def fingerprint(self) -> str:
    """A checksum of the frames of MD: of the files, and of how they are read."""
    files = self.topology, *self.trajectories
    content = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    how = self.dt_ns, self.stride, self.temperature_K, self.solvent, self.part
    return results.checksum(content, how)


def cases(simulated: pathlib.Path, data: pathlib.Path) -> list[Case]:
  """All of them that there are files of.

  Args:
    simulated: our own MD, NAME/NAME_R1.xtc, ...
    data: MD of others.
  """
  return [case for case in _all_cases(simulated, data) if case.is_there()]


def _all_cases(simulated: pathlib.Path, data: pathlib.Path) -> list[Case]:
  public, other = data / 'md_public', data / 'trajectories'

  def of_others(name: str, folder: str, dt_ns: float, temperature_K: float = 300.0) -> Case:
    files = tuple(sorted((public / folder).glob('R*.xtc')))
    return Case(name, public / folder / 'topology.pdb', files, dt_ns, 1, temperature_K)

  found = [
    of_others('barstar', 'barstar', 0.4),
    of_others('3tvj_I', 'atlas_3tvj_I', 0.1),
    of_others('ntl9', 'ntl9_mdcath_320K', 1.0, 320.0),
    of_others('hp35_explicit', 'hp35_explicit', 0.1),
  ]
  # The first half is trained on.
  found[2] = dataclasses.replace(found[2], part=(0.5, 1.0))
  folder = other / 'bpti_5ns'
  found.append(Case('bpti', folder / 'bpti.pdb', (folder / 'bpti.xtc',), 0.01))
  folder = other / 'ubiquitin_1ns'
  # Frames are 1 or 2 ps apart, 812 in 1 ns: every eighth is 10 ps after the one before on average.
  found.append(Case('ubiquitin', folder / 'ubq.pdb', (folder / 'ubq_1ns.xtc',), 0.01, 8))
  for target in held_out.targets(simulated, None):
    if target.kind == held_out.PROTEIN:
      found.append(
        Case(target.name, target.topology, target.reference, 0.01, 1, 320.0, target.solvent)
      )
  return found


# Frames of Trp-cage are compared 0.1 ns apart: as they are there would be 5,000.
_TRAINED_STRIDES = {'trpcage': 10}


def trained_cases(data: pathlib.Path) -> list[Case]:
  """MD that models are trained on; `data`: MD of others."""
  found = []
  for solvent, sources in (('explicit', memory.explicit(data)), ('implicit', memory.implicit())):
    for name, source in sources.items():
      stride = _TRAINED_STRIDES.get(name, 1)
      rest = stride * source.dt_ns, stride, source.temperature_K, solvent, (0.0, source.part)
      found.append(Case(name, source.topology, (source.trajectory,), *rest))
  return [case for case in found if case.topology.is_file() and case.trajectories[0].is_file()]


# Folders, replicas and temperatures (K).
_PEPTIDES = (
  *(('cln025_300K', 1, 300.0), ('cln025', 2, 320.0), ('cln025_350K', 1, 350.0)),
  *(('cln025_400K', 1, 400.0), ('fs', 1, 320.0), ('fs_unf', 2, 320.0)),
)


def peptide_cases(simulated: pathlib.Path) -> list[Case]:
  """MD of peptides that unfold or fold, which models are trained on; `simulated`: our own MD."""
  found = []
  for name, number, temperature_K in _PEPTIDES:
    folder, peptide = simulated / name, name.removesuffix(f'_{temperature_K:g}K')
    trajectory = folder / f'{peptide}_R{number}.xtc'
    rest = 0.01, 1, temperature_K, 'implicit'
    found.append(Case(name, folder / f'{peptide}.pdb', (trajectory,), *rest))
  return [case for case in found if case.trajectories[0].is_file()]


@dataclasses.dataclass(frozen=True)
class Motion:
  """What one replica does.

  Attributes:
    rmsf: [L] Å, of CA about the mean of the replica.
    step: Å, root-mean-square CA-RMSD between successive frames.
    away: CA-RMSD to the start at the end, over the root-mean-square RMSF.
    farthest: Å, the largest CA-RMSD to the start.
  """

  rmsf: np.ndarray
  step: float
  away: float
  farthest: float


def motion_of(positions: np.ndarray, start: np.ndarray) -> Motion:
  """Of frames [F, L, 4, 3] Å after a start [L, 4, 3]."""
  ca = superposition.superpose_points(positions[:, :, 1], start[:, 1])
  ca = superposition.superpose_points(ca, ca.mean(axis=0))
  rmsf = flexibility.rmsf(ca)
  distance = flexibility.ca_rmsd(positions, start)
  last = distance[-max(round(_END * len(distance)), 1) :]
  return Motion(
    rmsf,
    float(np.sqrt(np.mean(flexibility.step_lengths(positions) ** 2))),
    float(last.mean() / np.sqrt(np.mean(rmsf**2))),
    float(distance.max()),
  )


def at_spacing(model: model_lib.Model, dt_ns: float, name: str) -> tuple[model_lib.Model, int]:
  """The model, and how many of its steps are dt_ns (ns).

  Raises:
    InputError: its frames are never so far apart.
  """
  if time_scales.has_any_step(model.config):
    return model.at(dt_ns), 1
  return model, stride_of(model.dt_ns, dt_ns, name)


def stride_of(step_ns: float, dt_ns: float, name: str) -> int:
  """How many steps of a model (ns) the frames of MD are apart.

  Raises:
    InputError: that is no whole number.
  """
  stride = round(dt_ns / step_ns)
  if stride < 1 or abs(stride * step_ns - dt_ns) > 1e-3 * dt_ns:
    raise InputError(
      f'the frames of {name} are {dt_ns:g} ns apart, those of the model {step_ns:g} ns: '
      'take a model whose time step divides that'
    )
  return stride


def sample(
  model: model_lib.Model,
  protein: protein_lib.Protein,
  case: Case,
  num_frames: int,
  num_replicas: int,
  seed: int,
) -> np.ndarray:
  """[R, F, L, 4, 3] Å, as far apart as the frames of the case.

  Raises:
    InputError: the model's frames are never so far apart.
  """
  model, stride = at_spacing(model, case.dt_ns, case.name)
  sampled = model.sample(
    protein,
    num_frames=stride * num_frames,
    num_replicas=num_replicas,
    rng=jax.random.key(seed),
    temperature_K=case.temperature_K,
    atoms='backbone',
  )
  return np.asarray(sampled.positions)[:, stride - 1 :: stride]


_NUMBERS = (
  *('residues', 'md_ns', 'dt_ns', 'md_rmsf', 'rmsf_ratio', 'r', 'network_r', 'halves_r'),
  *('step_ratio', 'away', 'md_away', 'farthest', 'md_farthest', 'seconds'),
)


def read(case: Case) -> tuple[protein_lib.Protein, list[np.ndarray]]:
  """The protein in its solvent, where the first replica begins; replicas of MD [F, L, 4, 3] Å.

  Raises:
    InputError: a file cannot be used.
  """
  native = Native(case.topology, case.name)
  files = [np.asarray(native.read(x).positions) for x in case.trajectories]
  first, end = case.part
  md = [x[round(first * len(x)) : round(end * len(x)) : case.stride] for x in files]
  protein = native.protein.in_solvent(case.solvent)
  arrays = dataclasses.replace(protein.arrays, positions=md[0][0])
  return dataclasses.replace(protein, arrays=arrays), md


def measure(model: model_lib.Model, case: Case, num_replicas: int, seed: int) -> Row:
  """The numbers of one protein, `_NUMBERS`."""
  began = time.monotonic()
  protein, md = read(case)
  start = md[0][0]
  num_frames = max(map(len, md)) - 1
  of_md = [motion_of(x[1:], x[0]) for x in md]
  of_halves = [motion_of(part, part[0]) for x in md for part in np.array_split(x, 2)]
  halves = zip(of_halves[::2], of_halves[1::2], strict=True)
  sampled = sample(model, protein, case, num_frames, num_replicas, seed)
  lengths = [len(x) - 1 for x in md]
  ours = [motion_of(x[: lengths[k % len(md)]], start) for k, x in enumerate(sampled)]
  true = np.mean([x.rmsf for x in of_md], axis=0)
  network = baselines.elastic_network(start, _NETWORK_FRAMES, float(true.mean()), seed)
  step = np.mean([x.step for x in of_md])
  return {
    'residues': protein.num_residues,
    'md_ns': num_frames * case.dt_ns,
    'dt_ns': case.dt_ns,
    'md_rmsf': float(true.mean()),
    'rmsf_ratio': [float(x.rmsf.mean() / true.mean()) for x in ours],
    'r': [flexibility.pearson(x.rmsf, true) for x in ours],
    'network_r': flexibility.pearson(motion_of(network, start).rmsf, true),
    'halves_r': float(np.mean([flexibility.pearson(a.rmsf, b.rmsf) for a, b in halves])),
    'step_ratio': [float(x.step / step) for x in ours],
    'away': [x.away for x in ours],
    'md_away': [x.away for x in of_md],
    'farthest': [x.farthest for x in ours],
    'md_farthest': [x.farthest for x in of_md],
    'seconds': time.monotonic() - began,
  }


_HEAD = (
  '| protein | residues | MD | RMSF of MD, Å | RMSF, ours / MD | r, ours | r, network | '
  'r, MD halves | step, ours / MD | RMSD to start / RMSF: MD | ours | largest RMSD to start, Å: MD '
  '| ours |\n' + '|---' * 13 + '|\n'
)


def table(models: Sequence[dict[str, Row]]) -> str:
  """Markdown.

  Args:
    models: rows by protein, of each model. Of one: means over replicas, and ranges. Of several:
      medians over models of those means, and ranges over models.
  """

  def ranged(values: Sequence[float], middle: float, digits: int) -> str:
    cells = [f'{x:.{digits}f}' for x in (middle, min(values), max(values))]
    return cells[0] if len(values) == 1 else '{} ({} to {})'.format(*cells)

  lines = []
  for name, row in models[0].items():
    rows = [found[name] for found in models if name in found]

    def ours(key: str, digits: int = 2, rows: Sequence[Row] = rows) -> str:
      means = [float(np.mean(each[key])) for each in rows]
      if len(models) > 1:
        return ranged(means, float(np.median(means)), digits)
      return ranged(rows[0][key], means[0], digits)

    def of_md(key: str, row: Row = row) -> str:
      return ranged(row[key], float(np.mean(row[key])), 1)

    cells = (
      *(name, row['residues'], f'{row["md_ns"]:g} ns, {row["dt_ns"]:g} apart'),
      *(f'{row["md_rmsf"]:.2f}', ours('rmsf_ratio'), ours('r')),
      *(f'{row["network_r"]:.2f}', f'{row["halves_r"]:.2f}', ours('step_ratio')),
      *(of_md('md_away'), ours('away', 1), of_md('md_farthest'), ours('farthest', 1)),
    )
    lines.append(f'| {" | ".join(map(str, cells))} |\n')
  return _HEAD + ''.join(lines)


def chosen(values: flags.FlagValues, data: pathlib.Path) -> list[Case]:
  """Those that the flags ask for; `data`: MD of others.

  Raises:
    InputError: there is none of such a name, or flags contradict one another.
  """
  if values.trained and values.peptides:
    raise InputError('--trained and --peptides: give one of them')
  if values.left_out:
    if values.trained or values.peptides or values.only:
      raise InputError('--left_out stands alone: leave out --trained, --peptides and --only')
    known = {case.name: case for case in trained_cases(data)}
    known |= {case.topology.parent.name: case for case in known.values()}
    found = [known[name] for name in _known('left_out', values.left_out, known)]
    return [dataclasses.replace(case, part=(0.0, 1.0)) for case in found]
  if values.peptides:
    every = peptide_cases(held_out.SIMULATED)
  else:
    every = trained_cases(data) if values.trained else cases(held_out.SIMULATED, data)
  return named('only', values.only, every) or every


def named(flag: str, asked: Sequence[str], every: Sequence[Case]) -> list[Case]:
  """The cases of these names.

  Raises:
    InputError: there is no MD of one.
  """
  _known(flag, asked, [case.name for case in every])
  return [case for case in every if case.name in asked]


def _known(flag: str, asked: Sequence[str], names: Iterable[str]) -> Sequence[str]:
  """What the flag asks for.

  Raises:
    InputError: something that there is no MD of.
  """
  if unknown := sorted(set(asked) - set(names)):
    raise InputError(f'--{flag}: {", ".join(unknown)} is none of those with MD, {", ".join(names)}')
  return asked


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_list(
    'model',
    ['default'],
    'Model: "default" or a directory; several, of different seeds.',
    flag_values=values,
  )
  flags.DEFINE_string('data', None, 'Directory with MD of others. Required.', flag_values=values)
  flags.DEFINE_string(
    'out',
    None,
    'STEM of the files. Default: tempo_out/physics, with _trained, _peptides or _left_out.',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'trained', False, 'Proteins that were trained on, to calibrate.', flag_values=values
  )
  flags.DEFINE_bool(
    'peptides', False, 'Peptides that were trained on and unfold.', flag_values=values
  )
  flags.DEFINE_list(
    'left_out',
    [],
    'Proteins of the training set that this model was trained without, in place of the others.',
    flag_values=values,
  )
  flags.DEFINE_list('only', [], 'Names of proteins. Default: all.', flag_values=values)
  flags.DEFINE_integer('num_replicas', 4, 'To sample.', lower_bound=1, flag_values=values)
  flags.DEFINE_integer('seed', 0, 'Random seed of the samples.', flag_values=values)
  flags.DEFINE_bool(
    'bundle',
    False,
    'Keep what `tempo-jax sample` says of the error to expect of the bundled model.',
    flag_values=values,
  )
  compilation_cache_flag.define_flags(values)


def main(values: flags.FlagValues) -> None:
  """From the flags to the table."""
  command.require(values, 'data')
  compilation_cache_flag.use(values)
  data = pathlib.Path(values.data).expanduser()
  every = chosen(values, data)
  suffix = '_trained' * values.trained + '_peptides' * values.peptides
  suffix += '_left_out' * bool(values.left_out)
  out = values.out or f'tempo_out/physics{suffix}'
  stem = pathlib.Path(out).expanduser()
  if not values.model or not all(values.model) or len({*values.model}) < len(values.model):
    raise InputError(f'--model={",".join(values.model)}: give one model, or several different ones')
  models = {name: tempo_jax.load_model(name) for name in values.model}
  of_bundle = _bundled(models, values, every) if values.bundle else None
  how = {'seed': values.seed, 'num_replicas': values.num_replicas}
  known = results.known_rows(stem, _NUMBERS)
  found: dict[str, dict[str, Row]] = {}
  for name, model in models.items():
    found[name] = {}
    for case in every:
      key = key_of(model, case, **how)
      if key not in known:
        of = {'model': name, 'protein': case.name, **how}
        row = {'key': key, **of, **measure(model, case, **how)}
        # It takes the place of what it was before the model, the MD or the code changed.
        known = {k: x for k, x in known.items() if any(x.get(y) != of[y] for y in of)}
        known[key] = row
      found[name][case.name] = known[key]
      print(name, table([{case.name: known[key]}]).splitlines()[-1], flush=True)
      # After each: what is done stays, should the next one fail.
      results.write(stem, table(list(found.values())), rows=list(known.values()))
    if values.trained:
      print(name)
      _print_gain(model, every, found[name])
  if of_bundle:
    expected_error.write(models[of_bundle], comparisons(every, found[of_bundle]))


def key_of(model: model_lib.Model, case: Case, seed: int, num_replicas: int) -> str:
  """A checksum of all that a row depends on: model, MD, settings, the package and this file."""
  return results.checksum(
    *(config_lib.to_dict(model.config), provenance.model_sha256(model), executables.source()),
    *(pathlib.Path(__file__).read_text(), case.fingerprint(), seed, num_replicas),
  )


def _bundled(
  models: dict[str, model_lib.Model], values: flags.FlagValues, every: Sequence[Case]
) -> str:
  """The name of the one that is the bundled model.

  Raises:
    InputError: there is none, not all proteins are asked for, or there is no MD of some.
  """
  bundled = expected_error.key_of(tempo_jax.load_model('default'))
  same = [name for name, model in models.items() if expected_error.key_of(model) == bundled]
  if not same or values.trained or values.peptides or values.left_out or values.only:
    raise InputError('--bundle: give the bundled model and all held-out proteins, no others')
  data = pathlib.Path(values.data).expanduser()
  missing = {x.name for x in _all_cases(held_out.SIMULATED, data)} - {x.name for x in every}
  if missing:
    names = ', '.join(sorted(missing))
    raise InputError(f'--bundle: {values.data} has no MD of {names}: all are needed')
  return same[0]


def comparisons(every: Sequence[Case], found: dict[str, Row]) -> list[expected_error.Comparison]:
  """What a model says of itself, from cases and their rows: of proteins unseen from end to end."""
  return [
    expected_error.Comparison(
      case.name,
      found[case.name]['residues'],
      case.solvent,
      found[case.name]['md_ns'],
      float(np.mean(found[case.name]['rmsf_ratio'])),
      float(np.mean(found[case.name]['r'])),
    )
    for case in every
    if case.part == (0.0, 1.0)
  ]


def _print_gain(model: model_lib.Model, every: Sequence[Case], found: dict[str, Row]) -> None:
  """Prints how wide samples are by solvent, and what gain would be better."""
  by_solvent = {case.name: case.solvent for case in every}
  for solvent, now in zip(('explicit', 'implicit'), model.config.memory.gain, strict=True):
    ratios = [np.mean(x['rmsf_ratio']) for n, x in found.items() if by_solvent[n] == solvent]
    if ratios:
      mean = float(np.exp(np.mean(np.log(ratios))))
      print(f'{solvent}: RMSF {mean:.2f} times that of MD; gain {now:g}, better {now / mean:.2f}')


if __name__ == '__main__':
  command.launch(sys.modules[__name__])
