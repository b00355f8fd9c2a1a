"""The report on a store: printed, and as one HTML page."""

import os
import pathlib
import sys
from collections.abc import Sequence

from tempo_jax import extras, files
from tempo_jax.errors import InputError
from tempo_jax.preparation.inspection import store_checks, store_page, store_text

PAGE = 'inspect.html'


def inspect(
  store: str | os.PathLike,
  *,
  out: str | os.PathLike | None = None,
  names: Sequence[str] = (),
  num_workers: int | None = None,
  scheduler: str | None = None,
  verify: bool = True,
) -> int:
  """Prints the report on a store, and writes it as an HTML page.

  Args:
    store: directory, or a URL that tensorstore can read.
    out: a file that ends in .html, or a directory for it; by default tempo_out/STORE. An earlier
      page is replaced.
    names: proteins to look at; all by default.
    num_workers: processes; by default one for a small store, else one per core.
    scheduler: address of a Dask cluster, in place of local processes.
    verify: compare all positions with the SHA-256 that the store knows.

  Returns:
    The exit code: 1 if there are errors.

  Raises:
    InputError: there is no such store or protein in it, or the page cannot be written.
  """
  file: pathlib.Path | None = _file(out, os.fspath(store))
  try:
    extras.require('matplotlib', 'report')
  except InputError as error:
    if out is not None:
      raise
    print(f'note: no page: {error}', file=sys.stderr)
    file = None
  report = store_checks.inspect(
    store, names=names, num_workers=num_workers, scheduler=scheduler, verify=verify
  )
  print(store_text.store_text(report))
  if file:
    files.write_text(file, store_page.store_page(report))
    print(f'page: {file}')
  return 1 if any(finding.severity == 'error' for finding in report.findings) else 0


def _file(out: str | os.PathLike | None, store: str) -> pathlib.Path:
  """Where the page goes, so far as can be said before it is written."""
  name = pathlib.PurePath(store.rstrip('/')).name or 'store'
  path = pathlib.Path(out or pathlib.Path('tempo_out', name)).expanduser()
  file = path if path.suffix == '.html' else path / PAGE
  known = next(parent for parent in (file, *file.absolute().parents) if parent.exists())
  if known == file:
    if not file.is_file() or store_page.TITLE not in file.read_text(errors='replace')[:2000]:
      raise InputError(f'--out={file} exists, and is no page of this command: choose another')
  elif not known.is_dir():
    raise InputError(f'--out={file}: {known} is a file: choose a directory, or a file.html')
  elif not os.access(known, os.W_OK):
    raise InputError(f'--out={file}: no permission to write into {known}: choose another')
  return file
