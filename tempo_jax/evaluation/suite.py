"""What to evaluate: one protein, or a list of them in a JSON file."""

import dataclasses
import json
import math
import os
import pathlib
import re
from typing import Any

from tempo_jax.errors import InputError

_KEYS = ('name', 'topology', 'reference', 'prediction')
_TOPOLOGIES = ('prediction_topology', 'reference_topology')
_NUMBERS = ('temperature_K', 'prediction_dt_ns', 'reference_dt_ns')
_OPTIONAL = (*_TOPOLOGIES, *_NUMBERS)


@dataclasses.dataclass(frozen=True)
class Case:
  """One protein.

  Attributes:
    name: names its results and their files.
    topology: file of the native structure.
    reference: files of MD, each a replica.
    prediction: files of what is to be judged.
    reference_topology: structure with the atoms of the reference; None: see `Native.read`.
    prediction_topology: structure with the atoms of the prediction; None: see `Native.read`.
    temperature_K: of both, K; None for that of the settings.
    prediction_dt_ns: time between frames of the prediction, ns; None: as its files say.
    reference_dt_ns: the same of the reference.
  """

  name: str
  topology: pathlib.Path
  reference: tuple[pathlib.Path, ...]
  prediction: tuple[pathlib.Path, ...]
  reference_topology: pathlib.Path | None = None
  prediction_topology: pathlib.Path | None = None
  temperature_K: float | None = None
  prediction_dt_ns: float | None = None
  reference_dt_ns: float | None = None

  def files(self) -> tuple[pathlib.Path, ...]:
    """All of them."""
    optional = (self.reference_topology, self.prediction_topology)
    return (self.topology, *self.reference, *self.prediction, *filter(None, optional))

  def times(self) -> tuple[float | None, float | None]:
    """What the user says of the time between frames, ns."""
    return self.prediction_dt_ns, self.reference_dt_ns


def read_suite(file: str | os.PathLike) -> list[Case]:
  """Reads a suite.

  Args:
    file: `[{"name": ..., "topology": FILE, "reference": [FILES], "prediction": [FILES]}, ...]`, and
      perhaps `prediction_topology`, `reference_topology`, `temperature_K`, `prediction_dt_ns` and
      `reference_dt_ns`; paths are relative to the file.

  Raises:
    InputError: it cannot be read, or an item lacks something.
  """
  path = pathlib.Path(file).expanduser()
  try:
    items = json.loads(path.read_text())
  except OSError as error:
    raise InputError(f'{path}: cannot be read: {error.strerror}: correct --suite') from error
  except ValueError as error:
    raise InputError(f'{path}: not JSON ({error}): --help shows what a suite looks like') from error
  if not isinstance(items, list) or not items:
    raise InputError(f'{path}: not a list of proteins: --help shows what a suite looks like')
  cases = [_case(item, path, number) for number, item in enumerate(items, start=1)]
  names = [case.name for case in cases]
  twice = next((name for name in names if names.count(name) > 1), None)
  if twice:
    raise InputError(f'{path}: {twice!r} is there twice: every protein needs a name of its own')
  return cases


def _case(item: Any, path: pathlib.Path, number: int) -> Case:
  if not isinstance(item, dict):
    raise InputError(f'{path}: item {number} is no object {{"name": ..., "topology": ...}}')
  where = f'{path}: item {number} ({item.get("name", "no name")})'
  for key in _KEYS:
    if not item.get(key):
      raise InputError(f'{where}: lacks {key!r}: every item needs {", ".join(_KEYS)}')
  unknown = [key for key in item if key not in (*_KEYS, *_OPTIONAL)]
  if unknown:
    raise InputError(f'{where}: unknown key {unknown[0]!r}: known are {(*_KEYS, *_OPTIONAL)}')
  check_name(str(item['name']), where)

  def resolve(name: Any) -> pathlib.Path:
    if not isinstance(name, str):
      raise InputError(f'{where}: {name!r} is no file name')
    return path.parent / pathlib.Path(name).expanduser()

  def several(key: str) -> tuple[pathlib.Path, ...]:
    names = item[key]
    return tuple(map(resolve, names if isinstance(names, list) else [names]))

  for key in _NUMBERS:
    value = item.get(key)
    # In JSON, true is a number for Python.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and 0.0 < value < math.inf):
      raise InputError(f'{where}: {key} is {value!r}: give a number above zero')
  optional = {key: resolve(item[key]) for key in _TOPOLOGIES if item.get(key)}
  return Case(
    name=str(item['name']),
    topology=resolve(item['topology']),
    reference=several('reference'),
    prediction=several('prediction'),
    temperature_K=item.get('temperature_K'),
    prediction_dt_ns=item.get('prediction_dt_ns'),
    reference_dt_ns=item.get('reference_dt_ns'),
    **optional,
  )


def check_name(name: str, where: str) -> None:
  """Raises `InputError` where a name cannot be part of a file name."""
  if not re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9_.+-]*', name):
    raise InputError(f'{where}: {name!r} cannot be a name: use letters, digits and _ . + -')
