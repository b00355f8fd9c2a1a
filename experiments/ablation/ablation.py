r"""Trains several settings alike, and prints one table of how well each moves as MD does.

    python -m experiments.ablation --config=experiments/configs/quickstart.py \
        --config.data.store=STORE --workdir=DIR --setting=ours --setting=paper \
        --setting='open:model.closure=False,train.unroll=3'

A setting is the configuration with some values changed, NAME:PATH=VALUE,PATH=VALUE,...; values
are written as in --config.PATH=VALUE. Predefined: `ours`, the configuration as it is, and
`paper`, the paper's objective without closure, anchors and surroundings features,
with the paper's noise; its `model.update_rule = global` is not part of it and can be given.
`NAME:paper,PATH=VALUE` begins with those changes.

Every setting is trained on the same data with the same steps and seed into DIR/NAME; run again,
training resumes, and what is finished is not repeated. Rollouts from held-out MD are measured by
`tempo_jax.metrics.calibration`. Writes DIR/ablation.md and DIR/ablation.json.

With --unseen=DATA they are judged instead by MD of proteins that none was trained on, at the
spacing and for the length of that MD, as `experiments.benchmarks.physics` does it. Writes
DIR/unseen.md and DIR/unseen.json, which holds what has been measured: copied into another
--workdir, it is not trained or measured again.
"""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import config_flags

from experiments import results
from experiments.ablation import rollouts, unseen
from experiments.ablation import settings as ablation_settings
from experiments.ablation.rollouts import HeldOut, Sampling
from tempo_jax import config as config_lib
from tempo_jax import files, version
from tempo_jax.cli import compilation_cache_flag
from tempo_jax.errors import InputError
from tempo_jax.evaluation import markdown
from tempo_jax.evaluation.markdown import Number
from tempo_jax.metrics import calibration
from tempo_jax.models import workdir as workdir_lib
from tempo_jax.output import provenance
from tempo_jax.samplers import coarse_to_fine
from tempo_jax.training import loop, metric_writer

_LOG = logging.getLogger('tempo_jax')
# Flags that --unseen has no use for.
_OF_HELD_OUT = (
  *('rollout_frames', 'sampling', 'start', 'heldout_block', 'heldout_split', 'lag_ns'),
  *('segment_batch_size', 'timing'),
)
_FLOOR, _HALVES = 'MD (train against held-out)', 'MD (halves of held-out)'


@dataclasses.dataclass(frozen=True)
class _Trained:
  """A trained setting: where, its parameters per level, the selected step, what is sampled."""

  workdir: pathlib.Path
  config: Any
  params: Mapping[str, Any]
  step: int
  sampled: Any

  def facts(self) -> dict[str, float | None]:
    """What training cost, and what it made."""
    lines = metric_writer.read(self.workdir)
    # Levels may share their parameters.
    different = {id(tree): tree for tree in self.params.values()}
    sizes = [x.size for tree in different.values() for x in jax.tree.leaves(tree)]
    return {
      'training_steps': lines[-1]['step'] if lines else 0,
      'training_seconds': metric_writer.training_seconds(lines),
      'parameters': sum(sizes),
      'selected_step': self.step,
    }

  def fingerprint(self, held: Sequence[HeldOut], sampling: Sampling) -> str:
    """Of all that its measurement depends on."""
    content = (
      version.__version__,
      [field.name for field in dataclasses.fields(calibration.Calibration)],
      config_lib.to_dict(self.config.model),
      provenance.params_sha256(self.params),
      dataclasses.asdict(sampling),
      [(each.entry.key, _sha256(each.reference), _sha256(each.training)) for each in held],
    )
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha256(arrays: Sequence[np.ndarray]) -> str:
  digest = hashlib.sha256()
  for array in arrays:
    digest.update(repr(array.shape).encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()


def _read_json(path: pathlib.Path) -> dict[str, Any]:
  """What `_write_json` wrote; nothing where it is not there, or damaged."""
  try:
    values = json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
  return values if isinstance(values, dict) else {}


def _write_json(path: pathlib.Path, values: Mapping[str, Any]) -> None:
  files.write_text(path, json.dumps(values, indent=1, allow_nan=False) + '\n')


def _measure(
  name: str,
  trained: _Trained,
  held: Sequence[HeldOut],
  sampling: Sampling,
  remeasure: bool,
  make_sampler: Callable[..., Callable[..., Any]],
) -> dict[str, Any]:
  """Calibration per protein, from DIR/NAME/measured.json where it is known already."""
  path = trained.workdir / 'measured.json'
  known = _read_json(path)
  key = trained.fingerprint(held, sampling)
  if key in known and not remeasure:
    _LOG.info('%s: measured already', name)
    return known[key]
  found = {}
  for each in held:
    _LOG.info('%s: sampling %s', name, each.entry.key)
    begin = time.monotonic()
    predicted, native = rollouts.sample_rollouts(
      trained.sampled, trained.params, each, sampling, make_sampler
    )
    seconds = time.monotonic() - begin
    measured = calibration.measure(
      predicted,
      each.reference,
      each.entry.bonds,
      native,
      rollouts.time_step_ns(trained.sampled),
      lag_ns=sampling.lag_ns,
      ratio=rollouts.frames_per_segment(trained.sampled),
      count=each.count,
    )
    _LOG.info('%s: %d frames of %s in %.1f s', name, measured.num_frames, each.entry.key, seconds)
    # One protein at several temperatures is several.
    found[f'{each.entry.name}/T{each.entry.temperature_K:g}'] = dataclasses.asdict(measured)
  _write_json(path, _read_json(path) | {key: found})
  return found


def run(
  configs: Mapping[str, Any],
  workdir: str | os.PathLike,
  sampling: Sampling,
  *,
  timing: bool = True,
  remeasure: bool = False,
  out: str | os.PathLike | None = None,
  train: Callable[[Any, str], Any] = loop.train,
  make_sampler: Callable[..., Callable[..., Any]] = coarse_to_fine.make_sampler,
) -> dict[str, Any]:
  """Trains, samples and measures every setting, and writes the table.

  Args:
    configs: configuration per setting.
    workdir: each is trained into WORKDIR/NAME.
    sampling: what is sampled, and what it is compared with.
    timing: also time every sampler; not for 'upsample'.
    remeasure: sample again what was measured before.
    out: directory of ablation.md and ablation.json; None: `workdir`.
    train: (configuration, directory) -> None, as `loop.train`.
    make_sampler: as `coarse_to_fine.make_sampler`; 'upsample' does not use it.

  Returns:
    The content of ablation.json: 'settings' and 'floor', per row of the table its numbers
    (`calibration.Calibration`, means over proteins; 'proteins', each of them).

  Raises:
    InputError: a setting cannot be trained or sampled, or there is no MD to compare with.
  """
  workdir = pathlib.Path(workdir).absolute()
  out = workdir if out is None else pathlib.Path(out)
  sampled = {
    name: rollouts.sampled_config(each.model, sampling.how) for name, each in configs.items()
  }
  steps = {name: rollouts.time_step_ns(each) for name, each in sampled.items()}
  if len(set(steps.values())) > 1:
    text = ', '.join(f'{name} {dt:g} ns' for name, dt in steps.items())
    raise InputError(f'the settings sample at different time steps ({text}): make them the same')
  first = next(iter(configs))
  dt_ns, ratio = steps[first], rollouts.frames_per_segment(sampled[first])
  held = rollouts.held_out(configs[first], sampling, dt_ns)
  for each in held:  # What cannot be started from is found before training.
    each.starts(sampling.start, sampling.replicas)

  trained: dict[str, _Trained] = {}
  rows: dict[str, dict[str, Any]] = {}
  for index, (name, config) in enumerate(configs.items()):
    _LOG.info('setting %s (%d of %d): training', name, index + 1, len(configs))
    train(config, str(workdir / name))
    found, params, step = workdir_lib.load(workdir / name)
    # What training measured belongs to the model.
    made = _Trained(
      workdir / name, found, params, step, rollouts.sampled_config(found.model, sampling.how)
    )
    untrained = set(made.sampled.levels) - set(params)
    if untrained:
      raise InputError(
        f'setting {name}: --sampling={sampling.how} needs the levels {sorted(untrained)}, which '
        'config.train.levels leaves out: train them too, or sample another level'
      )
    trained[name] = made
    measured = _measure(name, made, held, sampling, remeasure, make_sampler)
    rows[name] = _row(measured) | made.facts()
    # Programs of all settings together are more than a process may map into memory.
    jax.clear_caches()

  if timing and sampling.how != 'upsample':
    keys = {name: made.fingerprint(held, sampling) for name, made in trained.items()}
    samplers = {name: (made.sampled, made.params) for name, made in trained.items()}
    path = out / 'seconds.json'
    known = _read_json(path)
    if known.get('settings') != keys or remeasure:
      known = {
        'settings': keys,
        'seconds': rollouts.time_samplers(
          samplers, held[0], sampling.segment_batch_size, make_sampler
        ),
      }
      _write_json(path, known)
    for name, seconds in known['seconds'].items():
      rows[name]['seconds'] = seconds
      if 'paper' in known['seconds']:
        rows[name]['seconds_ratio'] = seconds / known['seconds']['paper']

  label = _FLOOR if any(each.training for each in held) else _HALVES
  floor = {
    f'{each.entry.name}/T{each.entry.temperature_K:g}': dataclasses.asdict(
      rollouts.floor(each, sampling, dt_ns, ratio)
    )
    for each in held
  }
  content = {
    'sampling': dataclasses.asdict(sampling),
    'settings': rows,
    'floor': _row(floor) | {'label': label},
  }
  return results.write(out / 'ablation', table(content), **content)


def _row(proteins: Mapping[str, Any]) -> dict[str, Any]:
  average = calibration.mean([calibration.Calibration(**x) for x in proteins.values()])
  return {**dataclasses.asdict(average), 'proteins': dict(proteins)}


_COLUMNS = (
  Number('JSD of CA distances', 'ca_jsd', '.3f'),
  Number('spread ratio', 'spread_ratio', '.2f'),
  Number('step ratio', 'step_ratio', '.2f'),
  Number('CA-CA min (Å)', 'min_ca_ca', '.2f'),
  Number('CA-CA max (Å)', 'max_ca_ca', '.2f'),
  Number('frames outside 2.8-4.2 Å', 'outside_ca_ca', '.2%'),
  Number('C-N max (Å)', 'max_c_n', '.2f'),
  Number('frames with C-N > 1.7 Å', 'outside_c_n', '.2%'),
  Number('Ramachandran JSD', 'ramachandran_jsd', '.3f'),
  Number('TICA time scale (ns)', 'tica_ns', '.3g'),
  Number('TICA ratio', 'tica_ratio', '.2f'),
  Number('RMSF r', 'rmsf_r', '.2f'),
  Number('RMSF ratio', 'rmsf_ratio', '.2f'),
  Number('pairwise RMSD ratio', 'pairwise_rmsd_ratio', '.2f'),
  Number('RMSD error (Å)', 'rmsd_error', '.2f'),
  Number('jump, reaching an end', 'jump_reach', '.2f'),
  Number('jump, leaving it', 'jump_leave', '.2f'),
  Number('s per 400 frames', 'seconds', '.3g'),
  Number('ratio to paper', 'seconds_ratio', '.2f'),
  Number('training steps', 'training_steps', 'd'),
  Number('training (s)', 'training_seconds', '.0f'),
  Number('parameters', 'parameters', ',d'),
  Number('selected step', 'selected_step', 'd'),
)


def table(result: Mapping[str, Any]) -> str:
  """Markdown of what `run` gave: settings as rows, then the floor."""
  rows = {**result['settings'], result['floor']['label']: result['floor']}
  return markdown.table(
    ['setting', *(number.heading for number in _COLUMNS)],
    [[name, *markdown.cells(row, _COLUMNS)] for name, row in rows.items()],
  )


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  config_flags.DEFINE_config_file(
    'config', None, 'Experiment file, with an optional :variant.', flag_values=values
  )
  flags.DEFINE_string(
    'workdir', None, 'Directory of the settings and the table.', flag_values=values
  )
  flags.DEFINE_multi_string(
    'setting', [], 'ours, paper, or NAME:PATH=VALUE,...; once per setting.', flag_values=values
  )
  flags.DEFINE_integer(
    'rollout_frames', 3000, 'Frames per rollout.', lower_bound=2, flag_values=values
  )
  flags.DEFINE_integer(
    'rollout_replicas', 1, 'Rollouts per protein.', lower_bound=1, flag_values=values
  )
  flags.DEFINE_string(
    'sampling',
    'hierarchy',
    'hierarchy: all levels; fine: the finest alone; upsample: between held-out coarse frames; or a '
    'level, alone.',
    flag_values=values,
  )
  flags.DEFINE_enum(
    'start',
    'heldout',
    rollouts.STARTS,
    'Where rollouts start: frames spread over the held-out or training MD, or the first held-out.',
    flag_values=values,
  )
  flags.DEFINE_list('seeds', [], 'Train each setting with each of these seeds.', flag_values=values)
  flags.DEFINE_list(
    'heldout_block',
    None,
    'LOW,HIGH: held-out stretch of trajectories, fractions. Default: config.data.validation_block.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'heldout_split',
    None,
    'Split of held-out trajectories. Default: config.data.validation_split.',
    flag_values=values,
  )
  flags.DEFINE_float('lag_ns', 0.2, 'Lag of TICA, ns.', flag_values=values)
  flags.DEFINE_integer(
    'segment_batch_size', None, 'Segments computed together.', lower_bound=1, flag_values=values
  )
  flags.DEFINE_string(
    'unseen',
    None,
    'Judge by unseen proteins instead: directory with MD of others.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'only', [], 'With --unseen: names of proteins. Default: all.', flag_values=values
  )
  flags.DEFINE_bool('timing', True, 'Time the samplers.', flag_values=values)
  flags.DEFINE_bool('remeasure', False, 'Sample again what was measured.', flag_values=values)
  compilation_cache_flag.define_flags(values)


def _block(texts: Sequence[str] | None) -> tuple[float, float] | None:
  if texts is None:
    return None
  try:
    low, high = map(float, texts)
  except ValueError:
    low, high = 1.0, 0.0
  if not 0.0 <= low < high <= 1.0:
    raise InputError(f'--heldout_block={",".join(texts)}: give two fractions, 0 <= LOW < HIGH <= 1')
  return low, high


def ablate(values: flags.FlagValues, run: Callable[..., dict[str, Any]] = run) -> dict[str, Any]:
  """Does what the flags say with `run`; returns what that does.

  Raises:
    InputError: something that the user gave is wrong.
  """
  if values.config is None or not values.workdir:
    raise InputError('--config and --workdir are required; see --help')
  try:
    seeds = [int(seed) for seed in values.seeds]
  except ValueError as error:
    raise InputError(f'--seeds={",".join(values.seeds)}: give whole numbers') from error
  configs = ablation_settings.settings(values.config, values.setting, seeds)
  if values.unseen:
    if given := [f'--{name}' for name in _OF_HELD_OUT if values[name].present]:
      raise InputError(f'{", ".join(given)}: not together with --unseen')
    cases = unseen.cases(pathlib.Path(values.unseen).expanduser(), values.only)
    judges = unseen.Judges(cases, values.rollout_replicas)
    rows = unseen.run(configs, values.workdir, judges, values.remeasure)
    print(unseen.table(rows))
    print(f'written to {values.workdir}/unseen.md and unseen.json')
    return {'rows': rows}
  if values.only:
    raise InputError('--only goes with --unseen: leave it out')
  sampling = Sampling(
    how=values.sampling,
    frames=values.rollout_frames,
    replicas=values.rollout_replicas,
    start=values.start,
    heldout_block=_block(values.heldout_block),
    heldout_split=values.heldout_split,
    lag_ns=values.lag_ns,
    segment_batch_size=values.segment_batch_size,
  )
  _warn_of_selection(configs, sampling)
  result = run(configs, values.workdir, sampling, timing=values.timing, remeasure=values.remeasure)
  print(table(result))
  print(f'written to {values.workdir}/ablation.md and ablation.json')
  return result


def _warn_of_selection(configs: Mapping[str, Any], sampling: Sampling) -> None:
  """The MD that chose a checkpoint flatters it."""
  for name, config in configs.items():
    data = config.data
    if config.train.select_by == 'last' or not data.validation_block:
      continue
    low, high = sampling.heldout_block or data.validation_block
    same = (sampling.heldout_split or data.validation_split) == data.validation_split
    if same and low < data.validation_block[1] and data.validation_block[0] < high:
      _LOG.warning(
        '%s: config.train.select_by = %s chooses the checkpoint by the same held-out MD that it is '
        'measured on: give --heldout_block or --heldout_split of other MD',
        name,
        config.train.select_by,
      )


def main(values: flags.FlagValues) -> None:
  """From the flags to `ablate`."""
  compilation_cache_flag.use(values)
  ablate(values)
