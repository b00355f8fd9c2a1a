"""One protein: the prediction and the baselines, each scored against the reference."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from tempo_jax.errors import InputError
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Native, Replica
from tempo_jax.evaluation.scores import Settings, score
from tempo_jax.evaluation.suite import Case
from tempo_jax.evaluation.summary import KEYS, MOMENTS
from tempo_jax.metrics import baselines, validity
from tempo_jax.protein import frame_faults

PREDICTION = 'prediction'
REPLICAS = 'MD replicas'
HALVES = 'MD halves'
FIRST = 'MD, its first n ns'
FROZEN = 'frozen'
GAUSSIAN = 'Gaussian noise'
NETWORK = 'elastic network'
BASELINES = (REPLICAS, HALVES, FIRST, FROZEN, GAUSSIAN, NETWORK)
"""REPLICAS: each replica of MD against all others, the mean of their numbers; no model should be
asked to beat it. HALVES: the first half of every replica against the second. FIRST: the beginning
of MD, as long as a replica of the prediction, against all of MD."""

_SHORTEST_HALF = 20  # frames
_FEWEST = 2  # frames, of a baseline


@dataclasses.dataclass(frozen=True)
class Column:
  """The numbers of one prediction.

  Attributes:
    numbers: by `summary.KEYS`, None where one cannot be computed, and `summary.MOMENTS`.
    notes: why not, by key.
  """

  numbers: dict[str, Any]
  notes: dict[str, str]


def read(case: Case) -> tuple[Ensemble, Ensemble]:
  """The reference and the prediction of a case.

  Raises:
    InputError: a file cannot be used.
  """
  native = Native(case.topology, case.name)
  reference = [
    replica
    for file in case.reference
    for replica in native.read_all(file, case.reference_topology, dt_ns=case.reference_dt_ns)
  ]
  for replica in reference:
    _check_whole(replica, native)
  return Ensemble(native.protein, reference), prediction_of(case, native)


def prediction_of(case: Case, native: Native | None = None) -> Ensemble:
  """The prediction of a case; `native` is its structure, if that has been read.

  Raises:
    InputError: a file cannot be used.
  """
  native = native or Native(case.topology, case.name)
  replicas = [
    replica
    for file in case.prediction
    for replica in native.read_all(file, case.prediction_topology, dt_ns=case.prediction_dt_ns)
  ]
  return Ensemble(native.protein, replicas)


def columns(
  reference: Ensemble, prediction: Ensemble, settings: Settings, with_baselines: bool = True
) -> dict[str, Column]:
  """Scores the prediction and, unless told otherwise, every baseline that there is data for."""
  found = {PREDICTION: Column(*score(reference, prediction, settings))}
  if not with_baselines:
    return found
  if len(reference.replicas) > 1:
    found[REPLICAS] = _replicas(reference, settings)
  halves = [_halves(replica) for replica in reference.replicas]
  if min(first.num_frames for first, _ in halves) >= _SHORTEST_HALF:
    first, second = (Ensemble(reference.native, part) for part in zip(*halves, strict=True))
    found[HALVES] = Column(*score(second, first, settings))
  beginning = first_of(reference, prediction)
  if beginning is not None:
    found[FIRST] = Column(*score(reference, beginning, settings))
  for name, positions in _free_predictions(reference, prediction, settings.seed).items():
    times = prediction.replicas[0].time_ns if len(prediction.replicas) == 1 else None
    free = Ensemble(reference.native, [Replica(positions, times, name)])
    found[name] = Column(*score(reference, free, settings))
  return found


def first_of(reference: Ensemble, prediction: Ensemble) -> Ensemble | None:
  """The beginning of MD, as long as the prediction, and of as many replicas if MD has them.

  Args:
    reference: all replicas of MD.
    prediction: how long it is: the longest of its replicas counts.

  Returns:
    The frames of MD; None where MD is not longer, or where one side has no times.
  """
  if prediction.dt_ns is None or reference.dt_ns is None:
    return None
  longest = max(replica.num_frames for replica in prediction.replicas)
  num_frames = max(_FEWEST, round(longest * prediction.dt_ns / reference.dt_ns))
  chosen = reference.replicas[: len(prediction.replicas)]
  if num_frames >= min(replica.num_frames for replica in chosen):
    return None
  return Ensemble(reference.native, [replica.take(slice(0, num_frames)) for replica in chosen])


def _free_predictions(
  reference: Ensemble, prediction: Ensemble, seed: int
) -> dict[str, np.ndarray]:
  """Baselines that need no MD of their own: as many frames as predicted."""
  native, num_frames = np.asarray(reference.native.arrays.positions), prediction.num_frames
  target = float(reference.rmsf[:, 1].mean())
  return {
    FROZEN: baselines.frozen(native, num_frames),
    GAUSSIAN: baselines.gaussian(reference.superposed, num_frames, seed),
    NETWORK: baselines.elastic_network(native, num_frames, target, seed),
  }


def _replicas(reference: Ensemble, settings: Settings) -> Column:
  every = []
  for k, replica in enumerate(reference.replicas):
    others = [other for i, other in enumerate(reference.replicas) if i != k]
    one, rest = (Ensemble(reference.native, group) for group in ([replica], others))
    every.append(score(rest, one, settings))
  numbers: dict[str, Any] = {}
  for key in KEYS:
    values = [n[key] for n, _ in every if n[key] is not None]
    numbers[key] = float(np.mean(values)) if values else None
  numbers[MOMENTS] = np.sum([n[MOMENTS] for n, _ in every], axis=0).tolist()
  notes = {key: why for _, said in every for key, why in said.items() if numbers[key] is None}
  return Column(numbers, notes)


def _halves(replica: Replica) -> tuple[Replica, Replica]:
  middle = replica.num_frames // 2
  first, second = slice(0, middle), slice(middle, 2 * middle)

  def cut(part: slice) -> Replica:
    # Both begin at the same time: what is compared is how they go on.
    times = None if replica.time_ns is None else replica.time_ns[first]
    return dataclasses.replace(replica.take(part), time_ns=times)

  return cut(first), cut(second)


def _check_whole(replica: Replica, native: Native) -> None:
  """Predictions may break chains, and are judged for it; MD does not."""
  bonds = native.protein.arrays.bonds
  broken = validity.is_broken(
    *validity.ca_ca_range(replica.positions, bonds), validity.c_n_max(replica.positions, bonds)
  )
  if broken.any():
    raise InputError(
      f'{replica.source}: '
      + frame_faults.of_chain(replica.positions, broken, bonds, topology=native.path)
    )


def check(case: Case) -> None:
  """So that nothing else is computed first.

  Raises:
    InputError: a file is not there, or counts twice.
  """
  folders = {file for file in (*case.reference, *case.prediction) if file.is_dir()}
  for file in case.files():
    if not file.is_file() and file not in folders:
      raise InputError(f'{case.name}: {file}: no such file')
  for kind, replicas in (('reference', case.reference), ('prediction', case.prediction)):
    found: set[pathlib.Path] = set()
    for file in replicas:
      if file.resolve() in found:
        raise InputError(
          f'{case.name}: {file} is named twice as {kind}: each file is a replica of its own'
        )
      found.add(file.resolve())
