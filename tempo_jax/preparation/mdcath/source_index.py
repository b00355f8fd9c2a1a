"""mdcath_source.h5, the index of mdCATH, from which domains are chosen to be downloaded.

The layout: /DOMAIN has the attribute `numResidues`, /DOMAIN/TEMPERATURE/REPLICA `numFrames`.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable, Mapping

from tempo_jax import files
from tempo_jax.errors import InputError, first_few
from tempo_jax.preparation import download
from tempo_jax.preparation.mdcath import domain_file
from tempo_jax.preparation.mdcath import replica as mdcath_replica

CARD = 'https://huggingface.co/datasets/compsciencelab/mdCATH'
URL = f'{CARD}/resolve/main'
NAME = 'mdcath_source.h5'
PAPER = {'train': 1000, 'validation': 50, 'test': 64}


@dataclasses.dataclass(frozen=True)
class IndexedDomain:
  """What the index knows of a domain.

  Attributes:
    num_residues: with those of all chains.
    frames: number of frames by temperature, K, and replica.
  """

  num_residues: int
  frames: Mapping[tuple[int, int], int]


def file_name(name: str) -> str:
  """Of the file of a domain."""
  return f'mdcath_dataset_{name}.h5'


def get(raw_dir: pathlib.Path, url: str = URL) -> None:
  """Downloads the index if it is not there.

  Args:
    raw_dir: folder that it goes to.
    url: of mdCATH, or of a mirror.

  Raises:
    InputError: it cannot be had.
  """
  failed = download.fetch([download.Remote(f'{url.rstrip("/")}/{NAME}', raw_dir / NAME)])
  if failed:
    raise InputError(failed[0])


def read(raw_dir: pathlib.Path, names: Iterable[str] | None = None) -> dict[str, IndexedDomain]:
  """Reads the index in `raw_dir`.

  Args:
    raw_dir: folder.
    names: domains; None for all.

  Raises:
    InputError: it is not there or damaged, or has none of that name.
  """
  import h5py  # of the extra `prepare`

  file = raw_dir / NAME
  if not file.is_file():
    raise InputError(f'{file}: no such file, and domains are chosen from it: add --download')
  domains = {}
  with mdcath_replica.reading(str(file)), h5py.File(file, 'r', locking=False) as h5:
    known = set(h5)
    names = sorted(known) if names is None else list(names)
    unknown = [name for name in names if name not in known]
    if unknown:
      raise InputError(
        f'mdCATH has no domain {first_few(unknown)}: give ids such as those in {NAME}, e.g. 1a02F00'
      )
    for name in names:
      frames = {
        (temperature, int(replica)): int(group.attrs.get('numFrames', 0))
        for temperature, key in domain_file.temperature_groups(h5[name]).items()
        for replica, group in h5[name][key].items()
      }
      domains[name] = IndexedDomain(int(h5[name].attrs['numResidues']), frames)
  return domains


def draw_paper(
  index: Mapping[str, IndexedDomain], selection: domain_file.Selection, seed: int
) -> dict[str, str]:
  """Draws domains as the paper (section 8) describes its own, which it does not list.

  These are 1,000 for training, 50 for validation and 64 for testing. The paper does not say how
  it chose them; here everything of at most `selection.max_residues` residues is eligible that has
  `selection.num_frames` frames in every replica and at every temperature asked for. The order is
  that of the SHA-256 of seed and name, so it is the same everywhere, and a domain more or less
  in the index does not change the draw of the others. Training and test domains may be
  homologous.

  Returns:
    The split by name.

  Raises:
    InputError: too few are eligible.
  """
  wanted = [
    (temperature, replica)
    for temperature in selection.temperatures or domain_file.TEMPERATURES
    for replica in selection.replicas or domain_file.REPLICAS
  ]
  eligible = [
    name
    for name, domain in index.items()
    if not 0 < selection.max_residues < domain.num_residues
    and all(domain.frames.get(key, 0) >= max(1, selection.num_frames) for key in wanted)
  ]
  total = sum(PAPER.values())
  if len(eligible) < total:
    raise InputError(
      f'--preset=paper: draws {total} domains, and {len(eligible)} of {len(index)} have at most '
      f'--max_residues={selection.max_residues} residues and --num_frames={selection.num_frames} '
      'in every replica asked for: ask for less'
    )
  eligible.sort(key=lambda name: hashlib.sha256(f'{seed} {name}'.encode()).digest())
  splits = [split for split, count in PAPER.items() for _ in range(count)]
  return dict(zip(eligible, splits, strict=False))


def write_list(file: pathlib.Path, splits: Mapping[str, str]) -> None:
  """Writes a CSV with columns name and split, whole or not at all.

  Raises:
    InputError: the folder cannot be written to.
  """
  text = 'name,split\n' + ''.join(f'{name},{split}\n' for name, split in splits.items())
  # The folder may be read-only, with the list in it already.
  if not (file.exists() and file.read_text() == text):
    files.write_text(file, text)


def useless(index: Mapping[str, IndexedDomain], selection: domain_file.Selection) -> dict[str, str]:
  """Why there is no use in downloading a domain, by the names of those where it is so."""
  reasons = {}
  for name, domain in index.items():
    found = [
      key
      for key, frames in domain.frames.items()
      if frames
      and (selection.temperatures is None or key[0] in selection.temperatures)
      and (selection.replicas is None or key[1] in selection.replicas)
    ]
    if selection.skip_longer and 0 < selection.max_residues < domain.num_residues:
      reasons[name] = f'{domain.num_residues} residues, more than --max_residues'
    elif not found:
      reasons[name] = 'no frames at --temperatures and --replicas'
  return reasons


def get_domains(names: Iterable[str], raw_dir: pathlib.Path, url: str = URL) -> list[str]:
  """Downloads the files of domains; returns a line for each that failed.

  Args:
    names: of the domains.
    raw_dir: folder that the files go to.
    url: of mdCATH, or of a mirror.

  Raises:
    InputError: no server answered.
  """
  remotes = [
    download.Remote(f'{url.rstrip("/")}/data/{file_name(name)}', raw_dir / file_name(name))
    for name in names
  ]
  return download.fetch(remotes)
