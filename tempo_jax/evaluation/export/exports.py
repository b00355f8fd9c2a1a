"""Exports of one protein for all benchmarks that are asked for."""

import dataclasses
import pathlib
from collections.abc import Callable

from tempo_jax.errors import InputError
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.export import bioemu_benchmarks, mdgen, premval
from tempo_jax.evaluation.export.request import Request

FOLDER = 'export'
MODEL = 'tempo_jax'
"""The key of the model where the user gives none."""


@dataclasses.dataclass(frozen=True)
class Benchmark:
  """A public benchmark.

  Attributes:
    paths: the files of a request.
    write: writes them, and returns what the user should know, one line each.
  """

  paths: Callable[[Request], tuple[pathlib.Path, ...]]
  write: Callable[[Request], list[str]]


BENCHMARKS = {
  'premval': Benchmark(premval.paths, premval.write),
  'bioemu-benchmarks': Benchmark(bioemu_benchmarks.paths, bioemu_benchmarks.write),
  'mdgen': Benchmark(mdgen.paths, mdgen.write),
}
"""By the name that the user gives."""


@dataclasses.dataclass(frozen=True)
class Exports:
  """What is wanted.

  Attributes:
    benchmarks: some of `BENCHMARKS`.
    model: key under which a benchmark lists the model.
  """

  benchmarks: tuple[str, ...] = ()
  model: str = MODEL


NOTHING = Exports()


@dataclasses.dataclass(frozen=True)
class Exported:
  """What became of one protein.

  Attributes:
    benchmarks: those for which files were written.
    remarks: what the user should know, one line each.
    errors: why files are missing, one line each.
  """

  benchmarks: tuple[str, ...] = ()
  remarks: tuple[str, ...] = ()
  errors: tuple[str, ...] = ()


def check(exports: Exports) -> None:
  """Raises `InputError` for a benchmark that is not known, or a key that it would not see."""
  for name in exports.benchmarks:
    if name not in BENCHMARKS:
      raise InputError(f'--export={name}: no such benchmark: choose among {", ".join(BENCHMARKS)}')


def folder(out: pathlib.Path, benchmark: str) -> pathlib.Path:
  """Where the files of a benchmark lie."""
  return out / FOLDER / benchmark


def write(exports: Exports, name: str, prediction: Ensemble, out: pathlib.Path) -> Exported:
  """Writes the files of one protein.

  Of a benchmark that cannot take the protein no files are left, older ones neither.

  Args:
    exports: for whom.
    name: of the protein.
    prediction: all replicas.
    out: directory of the evaluation.
  """
  written, remarks, errors = [], [], []
  for key in exports.benchmarks:
    asked = Request(name, prediction, folder(out, key), exports.model)
    try:
      remarks += [f'{name}: {key}: {line}' for line in BENCHMARKS[key].write(asked)]
      written.append(key)
    except InputError as error:
      errors.append(f'{name}: not exported for {key}: {error}')
      for path in BENCHMARKS[key].paths(asked):
        path.unlink(missing_ok=True)
  return Exported(tuple(written), tuple(remarks), tuple(errors))
