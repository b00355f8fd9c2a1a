"""mdCATH -> store: which domains, their download, and what became of each.

Mirarchi et al., Sci. Data 2024, 11, 1299; https://huggingface.co/datasets/compsciencelab/mdCATH
"""

import os
import pathlib
from collections.abc import Mapping, Sequence

from tempo_jax import extras, workers
from tempo_jax.errors import InputError, first_few
from tempo_jax.preparation import name_lists
from tempo_jax.preparation.mdcath import domain_file, source_index
from tempo_jax.store import store

_PRESET = 'preset'


def prepare(
  raw_dir: str | os.PathLike,
  store_path: str | os.PathLike,
  selection: domain_file.Selection,
  *,
  domains: Sequence[str | os.PathLike] = (),
  preset: str | None = None,
  seed: int = 0,
  download: str | os.PathLike | None = None,
  mirror: str = source_index.URL,
  overwrite: bool = False,
  block_frames: int | None = None,
  num_workers: int | None = None,
  scheduler: str | None = None,
) -> int:
  """Adds domains of mdCATH to a store, and prints what became of each.

  Args:
    raw_dir: folder of the files, which may also be in its folder `data`; downloads go there.
    store_path: directory of the store.
    selection: what to take of each domain.
    domains: lists of the domains to prepare (see `name_lists.read`); by default all that are in
      `raw_dir`. The splits that they give are assigned also to what the store has already.
    preset: 'paper' for `source_index.draw_paper`.
    seed: of the preset.
    download: a list of domains to download, if they are not there, and to prepare; or 'preset',
      to do so with those of the preset.
    mirror: URL under which the files are, as under that of mdCATH.
    overwrite: replace entries of other sources or settings.
    block_frames: held in memory at a time, in whole chunks of the file; by default 8 MiB of them.
    num_workers: domains prepared at once; by default one per core.
    scheduler: address of a Dask cluster, in place of local processes.

  Returns:
    The exit code: 1 if something asked for is not in the store, and was reported.

  Raises:
    InputError: nothing can be prepared at all.
  """
  extras.require('h5py', 'prepare')
  _check_choice(domains, preset, download)
  raw = pathlib.Path(raw_dir).expanduser().absolute()
  if download:
    try:
      raw.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise InputError(f'{raw}: cannot be made: {error.strerror}: choose another --raw_dir') from (
        error
      )
  elif not raw.is_dir():
    raise InputError(f'{raw}: no such folder: correct --raw_dir, or use --download')
  with store.StoreWriter(store_path) as writer:
    if download:
      print(f'note: the licence of mdCATH, and how to cite it, are on {source_index.CARD}')
      source_index.get(raw, mirror)
    splits = _choose(raw, selection, domains, preset, seed, download)
    lines, errors = _download(raw, selection, splits or {}, mirror) if download else ([], [])
    files = find_files(raw)
    if not files and splits is None:
      raise InputError(f'{raw}: no mdcath_dataset_*.h5 in it: correct --raw_dir, or use --download')
    absent = [] if download else [name for name in splits or () if name not in files]
    if absent:
      errors.append(
        f'{raw}: has no file for {len(absent)} of the {len(splits or ())} domains that are listed, '
        f'{first_few(absent)}: get them with --download'
      )
    tasks = [
      domain_file.RawDomain(
        file=files[name],
        name=name,
        selection=selection,
        # Workers may be in another folder.
        store=str(pathlib.Path(store_path).expanduser().absolute()),
        split=(splits or {}).get(name) or 'train',
        overwrite=overwrite,
        block_frames=block_frames,
      )
      for name in (files if splits is None else splits)
      if name in files
    ]
    results = workers.run(
      domain_file.prepare,
      tasks,
      names=[task.file.name for task in tasks],
      num_workers=num_workers,
      scheduler=scheduler,
    )
    writer.assign_splits({name: split for name, split in (splits or {}).items() if split})
  for line in lines:
    print(line)
  return workers.summarize(results, errors)


def find_files(raw_dir: pathlib.Path) -> dict[str, pathlib.Path]:
  """Files by the names of their domains, sorted; in `raw_dir`, else in its folder `data`."""
  pattern = source_index.file_name('*')
  before, after = pattern.split('*')
  found = [*(raw_dir / 'data').glob(pattern), *raw_dir.glob(pattern)]
  return {
    file.name.removeprefix(before).removesuffix(after): file
    for file in sorted(found, key=lambda file: file.name)
  }


def _check_choice(
  domains: Sequence[str | os.PathLike], preset: str | None, download: str | os.PathLike | None
) -> None:
  """Refuses flags that contradict each other, before anything is downloaded."""
  if sum(map(bool, (domains, preset, download and download != _PRESET))) > 1:
    raise InputError(
      '--domains, --preset and --download=FILE each say which domains to prepare: give one of them'
    )
  if download == _PRESET and not preset:
    raise InputError(f'--download={_PRESET}: downloads what --preset draws: add --preset=paper')


def _choose(
  raw_dir: pathlib.Path,
  selection: domain_file.Selection,
  domains: Sequence[str | os.PathLike],
  preset: str | None,
  seed: int,
  download: str | os.PathLike | None,
) -> dict[str, str | None] | None:
  """Splits by the names of the domains to prepare; None for every domain that is there."""
  listed = download if download != _PRESET else None
  if preset:
    drawn = source_index.draw_paper(source_index.read(raw_dir), selection, seed)
    file = raw_dir / f'mdcath_{preset}_seed{seed}.csv'
    source_index.write_list(file, drawn)
    print(f'note: --preset={preset} drew {len(drawn)} domains, listed in {file}')
    return dict(drawn)
  if listed or domains:
    rows = name_lists.read([listed] if listed else domains)
    return {name: row.split for name, row in rows.items()}
  return None


def _download(
  raw_dir: pathlib.Path,
  selection: domain_file.Selection,
  splits: Mapping[str, str | None],
  mirror: str,
) -> tuple[list[str], list[str]]:
  """Gets the files that are not there; what to report, and a line for each that failed."""
  index = source_index.read(raw_dir, splits)
  useless = source_index.useless(index, selection)
  there = find_files(raw_dir)
  lines = [f'{name}: {why}: not downloaded' for name, why in useless.items() if name not in there]
  wanted = [name for name in splits if name not in useless and name not in there]
  return lines, source_index.get_domains(wanted, raw_dir, mirror)
