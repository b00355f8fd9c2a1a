"""ATLAS -> store: which chains, their download, and what became of each.

Vander Meersche et al., Nucleic Acids Res. 2024, 52, D384; https://www.dsimb.inserm.fr/ATLAS
"""

import contextlib
import dataclasses
import math
import os
import pathlib
from collections.abc import Generator, Mapping, Sequence

import numpy as np

from tempo_jax import workers
from tempo_jax.errors import InputError, first_few
from tempo_jax.preparation import name_lists, trajectories
from tempo_jax.preparation.atlas import archive as atlas_archive
from tempo_jax.protein import protein
from tempo_jax.store import store
from tempo_jax.store.frames import Frames
from tempo_jax.trajectory import backbone_atoms, reader, times
from tempo_jax.trajectory import structure as structure_lib

TEMPERATURE_K = 300.0
LICENCE = (
  'ATLAS is licensed CC-BY-NC 4.0: no commercial use; cite Vander Meersche et al., Nucleic Acids '
  'Res. 2024, 52, D384'
)


@dataclasses.dataclass(frozen=True)
class Settings:
  """What to do with each chain.

  Attributes:
    store: directory of the store.
    stride_ns: time between stored frames, ns; None for that of the file.
    archive: 'protein', 'analysis', or None for the better one.
    replicas: which.
    max_residues: longer chains are cut or left out; 0 for no limit.
    longer: 'truncate' (to the first `max_residues`) or 'skip'.
    overwrite: replace entries of other sources or settings.
    block_frames: held in memory at a time, at least two; by default 64 MiB of them.
  """

  store: str
  stride_ns: float | None = None
  archive: str | None = None
  replicas: tuple[int, ...] = atlas_archive.REPLICAS
  max_residues: int = 0
  longer: str = 'truncate'
  overwrite: bool = False
  block_frames: int | None = None

  def __post_init__(self):
    if self.stride_ns is not None and not 0.0 < self.stride_ns < math.inf:
      raise InputError(f'--stride_ns={self.stride_ns}: give a number above zero')
    if not self.replicas or not set(self.replicas) <= set(atlas_archive.REPLICAS):
      raise InputError(
        f'--replicas={",".join(map(str, self.replicas))}: ATLAS has 1, 2 and 3: choose from these'
      )
    if self.max_residues < 0 or self.max_residues == 1:
      raise InputError(f'--max_residues={self.max_residues}: give 2 or more, or 0 for no limit')


@dataclasses.dataclass(frozen=True)
class _RawChain:
  """A chain, where its files are, and what to make of them."""

  name: str
  places: tuple[pathlib.Path, ...]
  row: name_lists.NameRow
  settings: Settings


def prepare(
  raw_dir: str | os.PathLike,
  settings: Settings,
  *,
  names: Sequence[str | os.PathLike] = (),
  download_names: Sequence[str | os.PathLike] = (),
  mirror: str = atlas_archive.BASE_URL,
  num_workers: int | None = None,
  scheduler: str | None = None,
) -> int:
  """Adds chains of ATLAS to a store, and prints what became of each.

  Args:
    raw_dir: where zips, folders or files are, and downloads go.
    settings: for every chain.
    names: lists (see `name_lists.read`) of the chains to prepare; by default all in `raw_dir`. The
      splits that they give are assigned also to what the store has already.
    download_names: lists of chains to download, if they are not there, and to prepare.
    mirror: URL under which they are, as under that of ATLAS.
    num_workers: chains prepared at once; by default one per core.
    scheduler: address of a Dask cluster, in place of local processes.

  Returns:
    The exit code: 1 if something asked for is not in the store, and was reported.

  Raises:
    InputError: nothing can be prepared at all.
  """
  print(LICENCE)
  folder = pathlib.Path(raw_dir).expanduser().absolute()
  rows = name_lists.read([*names, *download_names])
  with store.StoreWriter(settings.store) as writer:
    wrong: dict[str, str] = {}
    if download_names:
      wrong = _download(name_lists.read(download_names), folder, settings, mirror)
    if not folder.is_dir():
      raise InputError(f'{folder}: no such folder: correct --raw_dir, or use --download')
    places = atlas_archive.find(folder)
    if not places and not rows:
      raise InputError(
        f'{folder}: nothing of ATLAS in it, such as 6okd_C_protein.zip or 6okd_C/6okd_C_R1.xtc: '
        'correct --raw_dir, or use --download'
      )
    chosen = [name for name in (rows or places) if name in places]
    absent = [name for name in rows if name not in places and name not in wrong]
    if absent:
      wrong[''] = (
        f'{folder}: has nothing of {len(absent)} of the {len(rows)} chains that are listed, '
        f'{first_few(absent)}: get them with --download'
      )
    # Workers may be in another folder.
    path = pathlib.Path(settings.store).expanduser().absolute()
    settings = dataclasses.replace(settings, store=str(path))
    tasks = [
      _RawChain(name, tuple(places[name]), rows.get(name, name_lists.NameRow(name)), settings)
      for name in chosen
    ]
    results = workers.run(
      _prepare_chain, tasks, names=chosen, num_workers=num_workers, scheduler=scheduler
    )
    moved = writer.assign_splits({row.name: row.split for row in rows.values() if row.split})
  if moved:
    print(f'{moved} entries that were there already now have the split that the lists give')
  return workers.summarize(results, wrong.values())


def _download(
  rows: Mapping[str, name_lists.NameRow], folder: pathlib.Path, settings: Settings, mirror: str
) -> dict[str, str]:
  """Gets what is asked for and not there; returns a line by name of each that failed."""
  coarse = settings.stride_ns is not None and atlas_archive.divides(
    atlas_archive.ANALYSIS_NS, settings.stride_ns
  )
  kind = settings.archive or ('analysis' if coarse else 'protein')
  return atlas_archive.fetch(list(rows), kind, folder, mirror)


def _prepare_chain(raw: _RawChain) -> workers.Result:
  settings = raw.settings
  lines, wrong = [], []
  skipped: list[str] = []
  without: list[str] = []
  frames: dict[str, int] = {}
  num_bytes = 0
  # Not looked into: what is called otherwise than is asked for, unless there is nothing else.
  kinds = (None, settings.archive) if settings.archive else (None, *atlas_archive.KINDS)
  places = [place for place in raw.places if atlas_archive.kind_of(place) in kinds]
  archives = [a for place in places or raw.places for a in atlas_archive.read(raw.name, place)]
  if not archives:
    raise InputError(
      f'{raw.places[0]}: no trajectory such as {raw.name}_R1.xtc in it: get the archive again'
    )
  archive = atlas_archive.choose(archives, settings.archive, settings.stride_ns, settings.replicas)
  if len(archives) > 1:
    others = ', '.join(str(other) for other in archives if other is not archive)
    lines.append(f'{raw.name}: read from {archive}, not from {others}')
  chain, said = _load(raw, archive.structure)
  lines += said
  if 0 < settings.max_residues < chain.found.num_residues and settings.longer == 'skip':
    what = f'{chain.found.num_residues} residues, more than --max_residues'
    return workers.Result(raw.name, lines=(*lines, f'{raw.name}: {what}: left out'))
  missing = [f'R{r}' for r in settings.replicas if r not in archive.trajectories]
  if missing:
    lines.append(f'{raw.name}: no {", ".join(missing)} in {archive.path}')
  for replica, member in archive.trajectories.items():
    if replica not in settings.replicas:
      continue
    if not member.size:
      lines.append(f'{member}: empty, no frames in it: left out')
      continue
    try:
      written, dt_ns, lacks_chi = _add_replica(raw, chain, replica, member)
    except InputError as error:
      wrong.append(str(error))
      continue
    if written:
      frames[f'R{replica} {written} frames {dt_ns:g} ns apart'] = written
      num_bytes += member.size
    else:
      (without if lacks_chi else skipped).append(f'R{replica}')
  if frames:
    uneven = '; of different lengths' if len(set(frames.values())) > 1 else ''
    lines.append(f'{raw.name}: {chain.found.num_residues} residues; {", ".join(frames)}{uneven}')
  if skipped:
    lines.append(f'{raw.name}: {", ".join(skipped)} there already, skipped')
  if without:
    lines.append(f'{raw.name}: {", ".join(without)} there already, {store.NO_SIDE_CHAINS}')
  return workers.Result(raw.name, tuple(lines), tuple(wrong), sum(frames.values()), num_bytes)


@dataclasses.dataclass(frozen=True)
class _Chain:
  """The structure of a chain.

  Attributes:
    structure: with all atoms.
    found: the residues to store.
    atom_index: [L, 4] of their backbone.
    sources: checksum, and the settings that shaped it.
    notes: how it was cut.
  """

  structure: structure_lib.Structure
  found: protein.Protein
  atom_index: np.ndarray
  sources: Mapping[str, str]
  notes: tuple[str, ...]


def _load(raw: _RawChain, member: atlas_archive.Member) -> tuple[_Chain, list[str]]:
  """The structure, and what is to be said of it."""
  settings = raw.settings
  sources = {member.name: member.fingerprint()}
  with member.unpacked() as file:
    structure = reader.load_structure(file, file)
    found, atom_index = trajectories.find_protein(structure, raw.name, file)
  lines = [f'warning: {member}: {line}' for line in found.warnings]
  lines += [f'warning: {member}: left out: {residue}' for residue in found.left_out]
  if raw.row.sequence:
    lines += _check_sequence(found, raw.row.sequence.strip().upper(), member)
  notes: tuple[str, ...] = ()
  if 0 < settings.max_residues < found.num_residues and settings.longer == 'truncate':
    notes = (f'cut to the first {settings.max_residues} of {found.num_residues} residues',)
    lines.append(f'{raw.name}: {notes[0]}')
    sources['--max_residues'] = str(settings.max_residues)
    first_left_out = structure.topology.atom(atom_index[settings.max_residues, 0]).residue
    beginning = structure.first(min(atom.index for atom in first_left_out.atoms))
    found, atom_index = backbone_atoms.select(beginning, raw.name)
  return _Chain(structure, found, atom_index, sources, notes), lines


def _check_sequence(
  found: protein.Protein, expected: str, member: atlas_archive.Member
) -> list[str]:
  """Compares with the list; X matches all, and residues may be missing at ends and breaks.

  Returns:
    A line if some are missing.
  """
  sequence, wanted = np.array([*found.sequence]), np.array([*expected])

  def same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a == b) | (a == 'X') | (b == 'X')

  index = found.arrays.residue_index
  for first in range(len(wanted) - index.max()):
    if same(sequence, wanted[index + first]).all():
      missing = len(wanted) - len(sequence)
      return [f'warning: {member}: lacks {missing} residues of the seqres listed'] * bool(missing)
  common = min(len(sequence), len(wanted))
  differ = np.append(~same(sequence[:common], wanted[:common]), True)
  position = int(np.argmax(differ))
  letters = [s[position : position + 1] or 'nothing' for s in (found.sequence, expected)]
  raise InputError(
    f'{member}: its sequence differs from the seqres listed at position {position + 1} '
    f'({letters[0]}, not {letters[1]}): correct the list, or get the archive again'
  )


def _add_replica(
  raw: _RawChain, chain: _Chain, replica: int, member: atlas_archive.Member
) -> tuple[int, float, bool]:
  """Adds one trajectory.

  Returns:
    The number of frames written, 0 if they are there already; their spacing, ns; and whether they
    are there already without side chains.
  """
  settings = raw.settings
  num_atoms, step_ns = atlas_archive.peek(member)
  if num_atoms != chain.structure.n_atoms:
    raise InputError(
      f'{member}: has {num_atoms} atoms, {raw.name}.pdb has {chain.structure.n_atoms}: they do '
      'not belong together, get the archive again'
    )
  sources = {**chain.sources, member.name: member.fingerprint()}
  stride = 1
  if settings.stride_ns is not None:
    stride = max(1, round(settings.stride_ns / step_ns))
    if not atlas_archive.divides(step_ns, settings.stride_ns):
      below = max(1, math.floor(settings.stride_ns / step_ns))
      choices = ' or '.join(f'{count * step_ns:g}' for count in (below, below + 1))
      raise InputError(
        f'{member}: its frames are {step_ns:g} ns apart, so --stride_ns={settings.stride_ns:g} '
        f'cannot be: give a multiple, such as {choices}'
      )
  if stride > 1:
    sources['--stride_ns'] = f'{settings.stride_ns:g}'
  entry = store.Entry.of(
    chain.found,
    temperature_K=TEMPERATURE_K,
    replica=replica,
    dt_ns=times.rounded(stride * step_ns),
    sources=sources,
    split=raw.row.split or 'train',
    solvent='explicit',
    notes=chain.notes,
  )
  frames = 0

  def kept() -> Generator[Frames]:
    nonlocal frames
    with member.unpacked() as file:
      frames_file = reader.TrajectoryFile(file, chain.structure.topology, f'{raw.name}.pdb')
      blocks, _ = frames_file.even_blocks(frames=settings.block_frames)
      for block in trajectories.check_geometry(blocks, chain.found, chain.atom_index, file, stride):
        frames += len(block)
        yield block
      if frames < 2:
        raise InputError(
          f'{member}: --stride_ns={settings.stride_ns:g} leaves one of its '
          f'{frames_file.num_frames()} frames: give a shorter one'
        )

  writer = store.StoreWriter(settings.store)
  with contextlib.closing(kept()) as blocks:
    added = writer.add(entry, blocks, overwrite=settings.overwrite)
  lacks_chi = not added and chain.found.arrays.chi is not None and writer.lacks_chi(entry.key)
  return frames, entry.dt_ns, lacks_chi
