"""The training loop: data, steps, validation, logging, checkpoints, resume.

Order on start: configuration, data, then fresh states or those of the newest checkpoint. Data
order and noise follow from (seed, step), so that a run that was stopped and resumed equals one
that was not, bit for bit.
"""

import contextlib
import dataclasses
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import tqdm
from jax.experimental import multihost_utils

from tempo_jax import config as config_lib
from tempo_jax import files, time_scales
from tempo_jax.dynamics import level as level_lib
from tempo_jax.errors import InputError
from tempo_jax.models import centres, config_file
from tempo_jax.models import model as model_lib
from tempo_jax.store import batching, lag_windows, windows
from tempo_jax.store import store as store_lib
from tempo_jax.training import (
  checkpoint,
  data_range,
  examples,
  initial_model,
  mean_conformation,
  metric_writer,
  objectives,
  parallel,
  rollout_validation,
  run_config,
  selection,
  step_spread,
  stopping,
)
from tempo_jax.training import optimizer as optimizer_lib

# Not absl's: orbax writes a page into that one at every checkpoint.
_LOG = logging.getLogger('tempo_jax')
_SPREAD_BATCHES = 8


@dataclasses.dataclass
class LevelData:
  """What the loop needs of one level.

  Attributes:
    train: batches to learn from.
    validation: batches from held-out time blocks; None where none are configured.
    scalars: the level's numbers, for the mapped steps.
    rollouts: compares rollouts with held-out frames; None where there are none, or not wanted.
  """

  train: batching.Loader
  validation: batching.Loader | None
  scalars: level_lib.Level | None = None
  rollouts: rollout_validation.RolloutValidation | None = None


@dataclasses.dataclass(frozen=True)
class Parts:
  """What the loop calls for every batch and validation; each can be replaced by one's own.

  Attributes:
    map_train_step: (config, optimizer) -> a function (state, level, split batch, rng) -> (state,
      metrics), which may use the state up.
    map_evaluation_step: config -> a function (params, level, split batch, rng) -> metrics, 'loss'
      among them.
    roll_out: rollouts of a level for its validation, as `rollout_validation.roll_out`.
  """

  map_train_step: Callable[..., Any] = parallel.map_train_step
  map_evaluation_step: Callable[..., Any] = parallel.map_evaluation_step
  roll_out: Callable[..., jax.Array] = rollout_validation.roll_out


DEFAULT_PARTS = Parts()


def _window_source(
  config: Any, store: store_lib.Store, name: str, split: str, block: tuple[float, float]
) -> windows.WindowSource | lag_windows.LagWindowSource:
  """The windows of a level."""
  data, model = config.data, config.model
  num_frames = objectives.frames_per_window(config)
  shared: dict[str, Any] = {
    'split': split,
    'seed': config.seed,
    'time_block': block,
    'reversal': data.reversal,
    'balance': data.balance,
  }
  if time_scales.has_any_step(model):
    return lag_windows.LagWindowSource(
      store,
      model.lags_ns,
      num_frames,
      newest=model.window - 1,
      reference=model.reference,
      **shared,
    )
  dt_ns = model.level[name].dt_ns
  return windows.WindowSource(
    store,
    dt_ns,
    num_frames,
    start_stride_ns=dt_ns if name in data.aligned_starts else None,
    anchors=examples.anchor_places(model, name),
    longest_ns=max(model.level[level].dt_ns for level in model.levels),
    **shared,
  )


def _loaders(config: Any, store: store_lib.Store, name: str) -> LevelData:
  """Training and validation batches of one level."""
  data = config.data
  with_chi = config_lib.has_side_chains(config.model)

  def loader(split, block):
    source = _window_source(config, store, name, split, tuple(block))
    for key, reason in source.left_out:
      _LOG.warning('%s level, %s: %s left out, %s', name, split, key, reason)
    if with_chi and not any(window.entry.has_chi for window in source.windows):
      what = (
        f'{store.path}: no trajectory of split {split!r} has side chains: prepare it again from '
        'files with all heavy atoms, with --overwrite'
      )
      if not config.train.init_from:
        raise InputError(
          f'{what}, or train a model without side chains: --config.model.side_chains=False'
        )
      _LOG.warning('%s; only the backbone is trained further', what)
    return batching.Loader(
      source,
      data.batch_size,
      buckets=data.buckets,
      shard_index=jax.process_index(),
      num_shards=jax.process_count(),
      with_chi=with_chi,
      with_stretch=config.model.prior == 'elastic',
    )

  train = loader('train', data.train_block)
  validation = None
  if data.validation_block:
    try:
      validation = loader(data.validation_split, data.validation_block)
    except InputError as error:
      # Short trajectories may have no room for held-out windows of a coarse level.
      _LOG.warning('%s level: no validation, since %s', name, error)
  return LevelData(train, validation)


def _finite(level: str, step: int, metrics: Mapping[str, Any], names: tuple[str, ...]) -> dict:
  """Metrics as floats; a loss or gradient that is no number ends the run."""
  values = {key: float(value) for key, value in metrics.items()}
  bad = [key for key, value in values.items() if not math.isfinite(value)]
  if bad:
    raise InputError(
      f'training of the {level} level broke down at step {step}: {", ".join(bad)} is not finite; '
      f'the batch was {", ".join(names)}. Checkpoints hold no such state: look at these '
      'frames, or start again with a lower config.train.learning_rate'
    )
  return values


def _validate(
  config: Any, name: str, level: LevelData, evaluate: Callable[..., Any], params: Any
) -> dict[str, float]:
  """Mean loss over the first validation batches, always the same ones with the same noise."""
  assert level.validation is not None
  rng = parallel.replicate(jax.random.key(config.seed))
  losses = []
  for index in range(config.train.validation_batches):
    batch, _ = level.validation.batch(index)
    metrics = evaluate(
      params, level.scalars, parallel.split_batch(batch), jax.random.fold_in(rng, index)
    )
    losses.append({key: float(value) for key, value in metrics.items()})
  return {f'{name}/validation_{key}': float(np.mean([x[key] for x in losses])) for key in losses[0]}


def _validations(
  config: Any,
  levels: Mapping[str, LevelData],
  evaluate: Callable[..., Any],
  states: checkpoint.States,
  step: int,
) -> dict[str, float]:
  """The validations that are due after a step, of the averaged parameters."""
  train = config.train
  last = step == train.num_steps
  scalars: dict[str, float] = {}
  for name, level in levels.items():
    params = states[name].ema_params
    if level.validation is not None and (step % train.validate_every == 0 or last):
      scalars |= _validate(config, name, level, evaluate, params)
    if level.rollouts is not None and (step % train.rollout_every == 0 or last):
      # One device: a rollout is no batch that could be split.
      scores = level.rollouts(jax.tree.map(lambda x: x.addressable_data(0), params))
      scalars |= {f'{name}/{key}': value for key, value in scores.items()}
  return scalars


def _log_end(config: Any, step: int, selected: selection.Selection) -> None:
  since = 'has never been finite'
  if selected.step is not None:
    since = f'has not fallen below {selected.value:.4g} of step {selected.step}'
  _LOG.info(
    'training ends early, at step %d of %d: %s %s in %d validations; to go on, give a larger '
    'config.train.early_stopping_patience',
    step,
    config.train.num_steps,
    selection.METRICS[config.train.select_by],
    since,
    selected.waited,
  )


@contextlib.contextmanager
def _progress(start: int, stop: int) -> Iterator[tqdm.tqdm]:
  """A bar on a terminal; elsewhere the log lines tell."""
  with tqdm.tqdm(
    initial=start, total=stop, unit='step', disable=not sys.stderr.isatty(), dynamic_ncols=True
  ) as bar:
    yield bar


def train(config: Any, workdir: str, parts: Parts = DEFAULT_PARTS) -> checkpoint.States:
  """Trains the levels of `config.train.levels`; run again, it resumes.

  Args:
    config: an experiment's configuration (experiments/configs/).
    workdir: directory for `config.json`, `metrics.jsonl`, TensorBoard events and
      `checkpoints/`.
    parts: the steps of training and validation.

  Returns:
    The final states by level; `load_model(workdir)` gives those of the best step where
    `config.train.select_by` chooses one.

  Raises:
    InputError: the configuration or the data cannot be used, or the loss is no longer finite.
    SystemExit: stopped by SIGTERM or Ctrl-C, after a checkpoint; code 130.
  """
  config = config_lib.from_dict(config_lib.to_dict(config))
  run_config.check(config)
  run_config.follow_lags(config)
  parallel.check_batch_size(config.data.batch_size, config.train.accumulation_steps)
  store = store_lib.Store(config.data.store)
  levels = {name: _loaders(config, store, name) for name in config.train.levels}
  if config.train.select_by in selection.METRICS and not any(x.validation for x in levels.values()):
    raise InputError(
      f'config.train.select_by = {config.train.select_by!r}: no level has held-out windows (the '
      'warnings above say why): give a wider config.data.validation_block, longer trajectories, or '
      "config.train.select_by = 'last' with config.train.early_stopping_patience = 0"
    )

  try:
    os.makedirs(workdir, exist_ok=True)
  except OSError as error:
    raise InputError(
      f'{workdir} cannot be made ({error.strerror}): give another --workdir'
    ) from error
  with contextlib.ExitStack() as stack:
    if jax.process_index() == 0:
      stack.enter_context(files.in_use(workdir, 'trains into it'))
    checkpointer = checkpoint.Checkpointer(
      workdir, config.train.keep_checkpoints, config.train.keep_period
    )
    stack.callback(checkpointer.close)
    return _train(config, workdir, store, levels, checkpointer, parts)


def _train(
  config: Any,
  workdir: str,
  store: store_lib.Store,
  levels: dict[str, LevelData],
  checkpointer: checkpoint.Checkpointer,
  parts: Parts,
) -> checkpoint.States:
  """The same, with data and checkpoints at hand; `config` is changed in place."""
  model = None
  # A run that was stopped before its first checkpoint begins anew, from the same model.
  if config.train.init_from and checkpointer.latest_step is None:
    model = model_lib.load_model(config.train.init_from).as_trained()
  earlier = run_config.read(workdir)
  if earlier is not None:
    run_config.adopt(config, earlier, workdir)
  else:
    config.model.trained_on.update(
      data_range.measure(
        (w.entry for x in levels.values() for w in x.train.source.windows), config.data.train_block
      )
    )
    taken = () if model is None else initial_model.adopt(config, model)
    for name, level in levels.items():
      if name in taken:
        continue
      # Whole batches, not this process's slices: every process must find the same numbers.
      data = config.data
      whole = batching.Loader(level.train.source, data.batch_size, buckets=data.buckets)
      batches = (whole.batch(step)[0] for step in range(_SPREAD_BATCHES))
      spread = step_spread.measure(config, batches)
      run_config.set_measured(config, name, spread)
      what = ', '.join(f'{key} {value:.3f}' for key, value in spread.items())
      _LOG.info('%s level: spread of one step: %s', name, what)
  if jax.process_count() > 1:
    # What one writes the others would take for that of an earlier run.
    multihost_utils.sync_global_devices('configuration read')
  if jax.process_index() == 0:
    config_file.write(workdir, config)
    if model is not None and config.model.prior == 'elastic':
      trained_on = {w.entry.key: w.entry for x in levels.values() for w in x.train.source.windows}
      means = mean_conformation.measure(store, trained_on.values(), config.data.train_block)
      centres.write(workdir, {**model.centres, **means})

  initial = None if model is None else model.params
  start, selected = 0, selection.Selection()
  if checkpointer.latest_step is None:
    states = parallel.replicate(checkpoint.initial_states(config, initial))
  else:
    states, selected = checkpointer.restore(parallel.replicate(checkpoint.blank_states(config)))
    start = checkpointer.latest_step
    if start > config.train.num_steps:
      raise InputError(
        f'{workdir} is at step {start} already, beyond config.train.num_steps = '
        f'{config.train.num_steps}: give more steps, or another --workdir'
      )
    _LOG.info('resumed from step %d', start)

  if start < config.train.num_steps and selected.is_over(config.train.early_stopping_patience):
    _log_end(config, start, selected)
    return states

  frozen = config_lib.freeze(config)
  optimizer = optimizer_lib.make_optimizer(frozen.train)
  for name, level in levels.items():
    level.scalars = parallel.replicate(level_lib.Level.of(frozen.model, name))
    source = None if level.validation is None else level.validation.source
    if not isinstance(source, windows.WindowSource) or not config.train.rollout_every:
      continue
    if rollout_validation.segment_frames(config.model, name) == 1:
      _LOG.warning('%s level: no rollouts: its only frames are those of the level above', name)
    else:
      level.rollouts = rollout_validation.RolloutValidation(config, name, source, parts.roll_out)
  step = parts.map_train_step(frozen, optimizer)
  evaluate = parts.map_evaluation_step(frozen)
  return _run(
    config,
    workdir,
    levels,
    step,
    evaluate,
    states,
    start,
    selected,
    checkpointer,
    judge_start=initial is not None,
  )


def _run(
  config: Any,
  workdir: str,
  levels: dict[str, LevelData],
  mapped_step: Callable[..., Any],
  evaluate: Callable[..., Any],
  states: checkpoint.States,
  start: int,
  selected: selection.Selection,
  checkpointer: checkpoint.Checkpointer,
  judge_start: bool,
) -> checkpoint.States:
  """Steps start + 1 ... num_steps, or until validation no longer improves.

  With `judge_start` the parameters of the start are validated, too: they may be the best.
  """
  num_steps = config.train.num_steps
  validated = [name for name, level in levels.items() if level.validation is not None]
  rng = jax.random.key(config.seed)
  rngs = parallel.replicate(
    {name: jax.random.fold_in(rng, index) for index, name in enumerate(config.model.levels)}
  )
  writer = None
  if jax.process_index() == 0:
    writer = metric_writer.MetricWriter(workdir, start)
  streams = {name: level.train.iterate(start) for name, level in levels.items()}
  pending: dict[str, tuple[int, Any, tuple[str, ...]]] = {}
  compiled: set[tuple[int, ...]] = set()
  clock, clock_step, waited, tokens = time.monotonic(), start, 0.0, 0

  def settle():
    """Reads the metrics of the last step of each level, which may still be running."""
    values = {}
    for name, (at, metrics, names) in pending.items():
      for key, value in _finite(name, at, metrics, names).items():
        values[f'{name}/{key}'] = value
    pending.clear()
    return values

  def judge(step: int, scalars: dict[str, float]) -> None:
    """Validates where it is due, and writes all that is known of a step."""
    nonlocal selected
    scalars = scalars | _validations(config, levels, evaluate, states, step)
    judged = selection.value(config.train.select_by, scalars, validated)
    if judged is not None:
      selected = selected.after(step, stopping.of_first_process(judged))
    if scalars and writer is not None:
      writer.write(step, scalars)
      text = ', '.join(f'{key} {value:.4g}' for key, value in scalars.items())
      _LOG.info('step %d: %s', step, text)
      bar.set_postfix({k: f'{v:.3g}' for k, v in scalars.items() if k.endswith('/loss')})

  with contextlib.ExitStack() as stack:
    stop = stack.enter_context(stopping.StopRequest())
    bar = stack.enter_context(_progress(start, num_steps))
    if writer is not None:
      stack.callback(writer.close)
    for stream in streams.values():
      stack.callback(stream.close)

    if judge_start:
      judge(0, {})
      if selected.step == 0:
        checkpointer.save(0, states, config, selected)
    for step in range(start + 1, num_steps + 1):
      before = time.monotonic()
      batches = {name: next(stream) for name, stream in streams.items()}
      waited += time.monotonic() - before
      # The devices worked on the last step while the batches were read; only now look at it.
      settle()
      for name, (batch, names) in batches.items():
        tokens += examples.num_tokens(config, batch)
        began, is_new = time.monotonic(), batch.positions.shape not in compiled
        if is_new:
          _LOG.info(
            '%s level: compiling the step for %d residues (one of %d lengths) ...',
            *(name, batch.positions.shape[2], len(levels[name].train.lengths)),
          )
        states[name], metrics = mapped_step(
          states[name], levels[name].scalars, parallel.split_batch(batch), rngs[name]
        )
        if is_new:
          compiled.add(batch.positions.shape)
          _LOG.info(
            '%s level, %d residues: the step was ready after %.1f s (compiled, or read from the '
            'cache)', name, batch.positions.shape[2], time.monotonic() - began
          )  # fmt: skip
        pending[name] = (step, metrics, names)
      bar.update()

      last = step == num_steps
      scalars: dict[str, float] = {}
      if step % config.train.log_every == 0 or last:
        scalars = settle()
        now = time.monotonic()
        seconds = max(now - clock, 1e-9)
        scalars['steps_per_s'] = (step - clock_step) / seconds
        # Over all processes, whose slices of a batch are alike.
        scalars['tokens_per_s'] = tokens * jax.process_count() / seconds
        # At most: the devices may have been busy meanwhile.
        scalars['data_wait_share'] = waited / seconds
        clock, clock_step, waited, tokens = now, step, 0.0, 0
      judge(step, scalars)
      wanted = stopping.agreed(stop.wanted, ask=step % config.train.log_every == 0)
      over = selected.is_over(config.train.early_stopping_patience)
      improved = selected.step == step
      if step % config.train.checkpoint_every == 0 or improved or last or wanted or over:
        settle()  # Never save a state that is no longer finite.
        checkpointer.save(step, states, config, selected)
      if over and not last:
        _log_end(config, step, selected)
        break
      if wanted and not last:
        print(
          f'stopped after step {step} of {num_steps}; the same command resumes there',
          file=sys.stderr,
        )
        raise SystemExit(130)
  return states
