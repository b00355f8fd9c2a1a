r"""What is in a store, and what is wrong with it.

    python -m data_prep.inspect --store=stores/mdcath

Reads every frame, and prints how much of what there is, and what is wrong with it: entries that
are missing or damaged, wrong units, broken and clashing molecules, mirror images, cis and twisted
peptide bonds, frozen and repeated frames, missing stretches, replicas that are copies, test
proteins that are trained on. The same, with pictures, stands on one HTML page (with the extra
`report`). A store of less than 64 MiB is read by one process. The exit code is 1 if there are
errors, that is, something that cannot be used.
"""

import os
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from tempo_jax import files, workers
from tempo_jax.errors import InputError
from tempo_jax.preparation.inspection import store_checks, store_page, store_text
from tempo_jax.report import plots

_PAGE = 'inspect.html'


def inspect(
  store: str | os.PathLike,
  *,
  out: str | os.PathLike | None = None,
  names: Sequence[str] = (),
  num_workers: int | None = None,
  scheduler: str | None = None,
) -> int:
  """Prints the report on a store, and writes it as an HTML page.

  Args:
    store: directory, or a URL that tensorstore can read.
    out: a file that ends in .html, or a directory for it; by default tempo_out/STORE. An earlier
      page is replaced.
    names: proteins to look at; all by default.
    num_workers: processes; by default one for a small store, else one per core.
    scheduler: address of a Dask cluster, in place of local processes.

  Returns:
    The exit code: 1 if there are errors.

  Raises:
    InputError: there is no such store or protein in it, or the page cannot be written.
  """
  file: pathlib.Path | None = _file(out, os.fspath(store))
  try:
    plots.require()
  except InputError as error:
    if out is not None:
      raise
    print(f'note: no page: {error}', file=sys.stderr)
    file = None
  report = store_checks.inspect(store, names=names, num_workers=num_workers, scheduler=scheduler)
  print(store_text.store_text(report))
  if file:
    files.write_text(file, store_page.store_page(report))
    print(f'page: {file}')
  return 1 if any(finding.severity == 'error' for finding in report.findings) else 0


def _file(out: str | os.PathLike | None, store: str) -> pathlib.Path:
  """Where the page goes, so far as can be said before it is written."""
  name = pathlib.PurePath(store.rstrip('/')).name or 'store'
  path = pathlib.Path(out or pathlib.Path('tempo_out', name)).expanduser()
  file = path if path.suffix == '.html' else path / _PAGE
  known = next(parent for parent in (file, *file.absolute().parents) if parent.exists())
  if known == file:
    if not file.is_file() or store_page.TITLE not in file.read_text(errors='replace')[:2000]:
      raise InputError(f'--out={file} exists, and is no page of this command: choose another')
  elif not known.is_dir():
    raise InputError(f'--out={file}: {known} is a file: choose a directory, or a file.html')
  elif not os.access(known, os.W_OK):
    raise InputError(f'--out={file}: no permission to write into {known}: choose another')
  return file


def define_flags() -> None:
  """Called by the binary only: other binaries have flags of the same names."""
  flags.DEFINE_string(
    'store', None, 'Directory of the store, or its gs://, s3:// or http:// URL. Required.'
  )
  flags.DEFINE_string(
    'out',
    None,
    'Where the HTML page goes: a file that ends in .html, or a directory, which gets '
    f'{_PAGE}. An earlier page is replaced. Default: tempo_out/NAME of the store.',
  )
  flags.DEFINE_list('names', [], 'Proteins to look at, comma-separated. Default: all.')
  workers.define_flags()


def main(argv: Sequence[str]) -> None:
  """From the flags to `inspect`."""
  del argv
  values = flags.FLAGS
  if not values.store:
    raise InputError('--store is missing: --help says what it takes')
  sys.exit(
    inspect(
      values.store,
      out=values.out,
      names=values.names,
      num_workers=values.num_workers,
      scheduler=values.scheduler,
    )
  )


def launch() -> None:
  """Runs the command line."""
  workers.run_binary(sys.modules[__name__])
