"""Results of one protein on disk, so that an interrupted or repeated evaluation goes on."""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

from tempo_jax import files, version
from tempo_jax.evaluation import replica
from tempo_jax.evaluation.columns import Column
from tempo_jax.evaluation.scores import Settings
from tempo_jax.evaluation.suite import Case


def fingerprint(case: Case, settings: Settings, with_baselines: bool, with_page: bool) -> str:
  """Of all that a result depends on; files by their path, size and time of change."""
  found = []
  beside = {replica.topology_beside(file) for file in (*case.reference, *case.prediction)}
  for file in (*case.files(), *sorted(filter(None, beside))):
    status = file.stat()
    found.append((str(file.absolute()), status.st_size, status.st_mtime_ns))
  asked = (dataclasses.astuple(settings), with_baselines, with_page, case.temperature_K)
  text = repr((version.__version__, case.name, found, asked))
  return hashlib.sha256(text.encode()).hexdigest()


def read(path: pathlib.Path, key: str) -> dict[str, Any] | None:
  """What `write` wrote there for the same key; None if it did not."""
  try:
    data = json.loads(path.read_text())
    if data['fingerprint'] != key:
      return None
    data['columns'] = {name: Column(**column) for name, column in data['columns'].items()}
    return data
  except (OSError, ValueError, LookupError, TypeError):
    return None


def write(path: pathlib.Path, key: str, data: dict[str, Any]) -> None:
  """Writes a result with its columns, whole or not at all."""
  columns = {name: dataclasses.asdict(column) for name, column in data['columns'].items()}
  content = json.dumps({**data, 'fingerprint': key, 'columns': columns}, allow_nan=False)
  files.write_text(path, content)
