"""Results of one protein on disk, so that an interrupted or repeated evaluation goes on.

A result is one .npz file: its arrays, and everything else as JSON in `document`, where
`{"array": NAME}` stands for an array.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from tempo_jax import files, version
from tempo_jax.evaluation import peer_files, series, series_kinetics, series_side_chains, summary
from tempo_jax.evaluation.columns import Column
from tempo_jax.evaluation.errors import Errors
from tempo_jax.evaluation.evaluation import Evaluation
from tempo_jax.evaluation.scores import Settings
from tempo_jax.evaluation.suite import Case
from tempo_jax.metrics import state_recovery
from tempo_jax.protein import protein as protein_lib

_FORMAT = 8
"""Of the files. A new one for every change of what they hold, so that older ones are ignored."""


def fingerprint(case: Case, settings: Settings, with_baselines: bool) -> str:
  """Hash of everything that a result depends on; files by their path, size and time of change."""
  stamps = []
  trajectories = (*case.reference, *case.prediction)
  beside = {other for file in trajectories for other in peer_files.topologies_beside(file)}
  frames = [one for file in trajectories if file.is_dir() for one in peer_files.frames_in(file)]
  for file in (*case.files(), *sorted(beside), *frames):
    status = file.stat()
    stamps.append((str(file.absolute()), status.st_size, status.st_mtime_ns))
  asked = (dataclasses.astuple(settings), with_baselines, case.temperature_K, case.times())
  text = repr((_FORMAT, version.__version__, summary.KEYS, case.name, stamps, asked))
  return hashlib.sha256(text.encode()).hexdigest()


def read(path: pathlib.Path, key: str) -> Evaluation | None:
  """What `write` wrote for the same key; None if it did not."""
  try:
    # In memory: a file that is no .npz would stay open.
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
      content = json.loads(arrays['document'].tobytes())
      if content['fingerprint'] != key:
        return None
      return _evaluation(_with_arrays(content['evaluation'], arrays))
  except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile):
    return None


def write(path: pathlib.Path, key: str, found: Evaluation) -> None:
  """Writes a result, whole or not at all."""
  arrays: dict[str, np.ndarray] = {}
  content = {'fingerprint': key, 'evaluation': _without_arrays(dataclasses.asdict(found), arrays)}
  document = np.frombuffer(json.dumps(content, allow_nan=False).encode(), np.uint8)
  stream = io.BytesIO()
  named: dict[str, Any] = {'document': document, **arrays}
  np.savez_compressed(stream, **named)
  files.write_bytes(path, stream.getvalue())


def _without_arrays(value: Any, arrays: dict[str, np.ndarray]) -> Any:
  """The same with names in place of arrays, which are put into `arrays`."""
  if isinstance(value, np.ndarray):
    name = f'array_{len(arrays)}'
    arrays[name] = value
    return {'array': name}
  if isinstance(value, dict):
    return {key: _without_arrays(item, arrays) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_without_arrays(item, arrays) for item in value]
  return value


def _with_arrays(value: Any, arrays: Any) -> Any:
  if isinstance(value, dict):
    if value.keys() == {'array'}:
      return arrays[value['array']]
    return {key: _with_arrays(item, arrays) for key, item in value.items()}
  return [_with_arrays(item, arrays) for item in value] if isinstance(value, list) else value


def _evaluation(content: dict[str, Any]) -> Evaluation:
  columns = {name: Column(**column) for name, column in content['columns'].items()}
  found = content['series']
  return Evaluation(
    **content
    | {
      'columns': columns,
      'series': None if found is None else _series(found),
      'errors': Errors(**content['errors']),
    }
  )


def _series(protein: dict[str, Any]) -> series.ProteinSeries:
  for name in ('reference', 'prediction'):
    ensemble = protein[name]
    ensemble['replicas'] = [series.ReplicaSeries(**each) for each in ensemble['replicas']]
    ensemble['clip'] = series.Clip(**ensemble['clip'])
    protein[name] = series.EnsembleSeries(**ensemble)
  kinds: dict[str, Callable[..., Any]] = {
    'residues': protein_lib.ProteinArrays,
    'recovery': state_recovery.StateRecovery,
    'kinetic': _kinetic,
    'side_chains': series_side_chains.SideChainSeries,
  }
  made = {
    name: None if protein[name] is None else make(**protein[name]) for name, make in kinds.items()
  }
  return series.ProteinSeries(**protein | made)


def _kinetic(**found: Any) -> series_kinetics.KineticSeries:
  for name in ('reference', 'prediction'):
    if found[name] is not None:
      found[name] = series_kinetics.StateSeries(**found[name])
  return series_kinetics.KineticSeries(**found)
