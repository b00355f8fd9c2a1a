"""Metrics to `metrics.jsonl` and TensorBoard."""

import json
import os
from collections.abc import Iterable, Mapping

from tempo_jax import extras, files

METRICS_FILE = 'metrics.jsonl'


class MetricWriter:
  """Writes scalars per step; a resumed run leaves no step twice.

  Args:
    workdir: the run's directory.
    start_step: lines of later steps, written by a run that was cut off after its last
      checkpoint, are dropped.
  """

  def __init__(self, workdir: str, start_step: int = 0):
    """Raises `InputError` where tensorboardX is missing."""
    tensorboard = extras.require('tensorboardX', 'train')
    path = os.path.join(workdir, METRICS_FILE)
    if os.path.exists(path):
      kept = [line for line in _complete_lines(path) if json.loads(line)['step'] <= start_step]
      files.write_text(path, ''.join(kept))
    self._file = open(path, 'a')  # noqa: SIM115  (closed in `close`)
    self._events = tensorboard.SummaryWriter(workdir, purge_step=start_step + 1)

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Appends one line {'step': step, name: value, ...} and the TensorBoard events."""
    self._file.write(json.dumps({'step': step, **scalars}) + '\n')
    self._file.flush()
    for name, value in scalars.items():
      self._events.add_scalar(name, value, step)

  def close(self) -> None:
    """Flushes and closes."""
    self._file.close()
    self._events.close()


def read(workdir: str | os.PathLike[str]) -> list[dict[str, float]]:
  """What a run has written: per line the step, and its scalars by name."""
  return [json.loads(line) for line in _complete_lines(os.path.join(workdir, METRICS_FILE))]


def training_seconds(lines: Iterable[Mapping[str, float]]) -> float:
  """Seconds of all steps, over all stretches of a run, with compilation and validation.

  Args:
    lines: from `read`.
  """
  seconds, before = 0.0, 0.0
  for line in lines:
    if 'steps_per_s' in line:
      seconds += (line['step'] - before) / line['steps_per_s']
      before = line['step']
  return seconds


def _complete_lines(path: str) -> list[str]:
  """Lines that end; a killed run may have left half of one."""
  with open(path) as file:
    return [line for line in file if line.endswith('\n')]
