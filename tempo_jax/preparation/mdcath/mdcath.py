r"""mdCATH molecular dynamics (https://huggingface.co/datasets/compsciencelab/mdCATH) -> store.

    python -m data_prep.mdcath --raw_dir=mdcath --store=stores/mdcath --preset=paper \
        --download=preset                                           # 1,114 domains
    python -m data_prep.mdcath --raw_dir=mdcath --store=stores/mdcath   # those that are there

mdCATH (Mirarchi et al., Sci. Data 2024, 11, 1299) holds 5,398 protein domains, each simulated at
five temperatures in five replicas, a frame every ns. One HDF5 file (0.2 to 1.6 GB) holds one
domain, and becomes an entry of the store for each replica. By default what the paper takes is
taken: 320 K, three replicas, the first 240 residues and the first 400 frames.

Every frame is checked, and superposed on the domain's native structure. Corrupt frames at the end
of a replica are cut, molecules that the periodic box breaks are made whole, and both are
reported and noted in the entry; a replica in which that does not help is left out, with a line
that says why. Replicas that are missing, empty or short are reported. A bad file does not stop the
rest, and running again skips what is there already.
"""

import os
import pathlib
import sys
from collections.abc import Mapping, Sequence

from absl import flags

from tempo_jax import workers
from tempo_jax.errors import InputError
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
  overwrite: bool = False,
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
    overwrite: replace entries of other sources or settings.
    num_workers: domains prepared at once; by default one per core.
    scheduler: address of a Dask cluster, in place of local processes.

  Returns:
    The exit code: 1 if something asked for is not in the store, and was reported.

  Raises:
    InputError: nothing can be prepared at all.
  """
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
      source_index.get(raw)
    splits = _choose(raw, selection, domains, preset, seed, download)
    lines, errors = _download(raw, selection, splits or {}) if download else ([], [])
    files = find_files(raw)
    if not files and splits is None:
      raise InputError(f'{raw}: no mdcath_dataset_*.h5 in it: correct --raw_dir, or use --download')
    absent = [] if download else [name for name in splits or () if name not in files]
    if absent:
      errors.append(
        f'{raw}: has no file for {len(absent)} of the {len(splits or ())} domains that are listed, '
        f'{source_index.listing(absent)}: get them with --download'
      )
    tasks = [
      domain_file.Task(
        file=files[name],
        name=name,
        selection=selection,
        # Workers may be in another folder.
        store=str(pathlib.Path(store_path).expanduser().absolute()),
        split=(splits or {}).get(name) or 'train',
        overwrite=overwrite,
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
  code = workers.summarize(results)
  for line in errors:
    print(f'error: {line}', file=sys.stderr)
  return 1 if errors else code


def find_files(raw_dir: pathlib.Path) -> dict[str, pathlib.Path]:
  """Files by the names of their domains, sorted; in `raw_dir`, else in its folder `data`."""
  pattern = source_index.file_name('*')
  before, after = pattern.split('*')
  found = [*(raw_dir / 'data').glob(pattern), *raw_dir.glob(pattern)]
  return {
    file.name.removeprefix(before).removesuffix(after): file
    for file in sorted(found, key=lambda file: file.name)
  }


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
  if sum(map(bool, (domains, preset, listed))) > 1:
    raise InputError(
      '--domains, --preset and --download=FILE each say which domains to prepare: give one of them'
    )
  if download == _PRESET and not preset:
    raise InputError(f'--download={_PRESET}: downloads what --preset draws: add --preset=paper')
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
  raw_dir: pathlib.Path, selection: domain_file.Selection, splits: Mapping[str, str | None]
) -> tuple[list[str], list[str]]:
  """Gets the files that are not there; what to report, and a line for each that failed."""
  index = source_index.read(raw_dir, splits)
  useless = source_index.useless(index, selection)
  there = find_files(raw_dir)
  lines = [f'{name}: {why}: not downloaded' for name, why in useless.items() if name not in there]
  wanted = [name for name in splits if name not in useless and name not in there]
  return lines, source_index.get_domains(wanted, raw_dir)


def define_flags() -> None:
  """Called by the binary only: other binaries have flags of the same names."""
  flags.DEFINE_string(
    'raw_dir',
    None,
    'Folder with mdcath_dataset_*.h5, or with a folder data that has them; downloads go there. '
    'Required.',
  )
  flags.DEFINE_string(
    'store', None, 'Directory of the store; made if it is not there, else added to. Required.'
  )
  flags.DEFINE_list(
    'temperatures',
    ['320'],
    'Temperatures, K, comma-separated, of 320, 348, 379, 413 and 450; or all, for whatever there '
    'is. Default: 320, as in the paper.',
  )
  flags.DEFINE_list(
    'replicas',
    ['0', '1', '2'],
    'Replicas, comma-separated, of 0 to 4; or all, for whatever there is. Default: 0,1,2; the '
    'paper takes three, and does not say which.',
  )
  flags.DEFINE_integer(
    'max_residues',
    240,
    'Domains longer than this, in residues, are cut or left out, see --longer; 0: no limit.',
  )
  flags.DEFINE_enum(
    'longer',
    'truncate',
    ['truncate', 'skip'],
    'What becomes of domains with more than --max_residues: truncate takes the first ones, as the '
    'paper does; skip leaves the domain out.',
  )
  flags.DEFINE_integer(
    'num_frames',
    400,
    'Of longer replicas only so many frames (1 ns apart) are taken, the first ones; shorter ones '
    'are kept, and reported. 0: no limit.',
  )
  flags.DEFINE_bool(
    'extend_periodically',
    False,
    'Repeat shorter replicas from their first frame on up to --num_frames, as the paper does. Off '
    'by default, since the jump from the last frame to the first never happened, and the repeated '
    'frames count twice in training and in every average.',
  )
  flags.DEFINE_list(
    'domains',
    [],
    'Lists of the domains to prepare, comma-separated: text with one id a line, or CSV with '
    'columns name and perhaps split; without that column, the split is what the file is called, '
    '*train*, *val* or *test*. Default: every domain in --raw_dir, for training.',
  )
  flags.DEFINE_enum(
    'preset',
    None,
    ['paper'],
    'paper: draw 1,000 domains for training, 50 for validation and 64 for testing from '
    'RAW_DIR/mdcath_source.h5, of those with at most --max_residues and with --num_frames in '
    'every replica asked for, and write them to RAW_DIR/mdcath_paper_seed<SEED>.csv. The lists of '
    'the paper are unpublished, so these are others. Default: no draw.',
  )
  flags.DEFINE_integer('seed', 0, 'Of the draw by --preset.')
  flags.DEFINE_string(
    'download',
    None,
    'A list of domains, as for --domains, to download into --raw_dir where they are not there (0.2 '
    'to 1.6 GB each), and to prepare; or the word preset, to do so with those that --preset draws. '
    'mdcath_source.h5 (186 MB) is downloaded first, and domains of which nothing is asked for are '
    f'not. Licence: see the dataset card, {source_index.CARD}. Default: no download.',
  )
  flags.DEFINE_bool(
    'overwrite', False, 'Replace what was prepared from other files or with other settings.'
  )
  workers.define_flags()


def main(argv: Sequence[str]) -> None:
  """From the flags to `prepare`."""
  del argv
  values = flags.FLAGS
  for flag in ('raw_dir', 'store'):
    if not values[flag].value:
      raise InputError(f'--{flag} is missing: --help says what it takes')
  selection = domain_file.Selection(
    temperatures=_numbers('temperatures', values.temperatures),
    replicas=_numbers('replicas', values.replicas),
    max_residues=values.max_residues,
    skip_longer=values.longer == 'skip',
    num_frames=values.num_frames,
    extend_periodically=values.extend_periodically,
  )
  code = prepare(
    values.raw_dir,
    values.store,
    selection,
    domains=values.domains,
    preset=values.preset,
    seed=values.seed,
    download=values.download,
    overwrite=values.overwrite,
    num_workers=values.num_workers,
    scheduler=values.scheduler,
  )
  sys.exit(code)


def _numbers(flag: str, texts: Sequence[str]) -> tuple[int, ...] | None:
  if [text.strip() for text in texts] == ['all']:
    return None
  try:
    return tuple(sorted({int(text) for text in texts}))
  except ValueError:
    raise InputError(f'--{flag}={",".join(texts)}: give numbers with commas, or all') from None


def launch() -> None:
  """Runs the command line."""
  workers.run_binary(sys.modules[__name__])
