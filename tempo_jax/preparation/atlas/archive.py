"""The archives of ATLAS: downloads and finds them, and hands out their files, unpacked or not.

What is accepted, also side by side: NAME_protein.zip and NAME_analysis.zip; folders into which
they were unpacked; loose files. Inside, at any depth: NAME.pdb, and NAME_prod_R1_fit.xtc or
NAME_R1.xtc and so on. A zip is never unpacked as a whole, and nothing in it chooses a path.
"""

import collections
import contextlib
import dataclasses
import functools
import lzma
import os
import pathlib
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence

import mdtraj

from tempo_jax.errors import InputError
from tempo_jax.preparation import download
from tempo_jax.trajectory import reader, times

KINDS = ('protein', 'analysis')
REPLICAS = (1, 2, 3)
ANALYSIS_NS = 0.1  # between its frames; 0.01 in the protein archives

# The old path has files, which a download can resume; chains that it lacks, the newer API may have.
BASE_URL = 'https://www.dsimb.inserm.fr/ATLAS'
_URLS = ('{base}/database/ATLAS/{name}/{name}_{kind}.zip', '{base}/api/ATLAS/{kind}/{name}')

_XTC_NAMES = ('{name}_prod_R{replica}_fit.xtc', '{name}_R{replica}.xtc')
_XTC_PATTERN = re.compile(r'(?P<name>.+?)_(prod_R[123]_fit|R[123])\.xtc')
_ZIP_PATTERN = re.compile(rf'(?P<name>.+)_({"|".join(KINDS)})\.zip')
_MAX_DEPTH = 4
_COPY_BYTES = 1024**2
_HEAD_BYTES = 2 * 1024**2  # two frames of 80,000 atoms and more

# XTC hardly shrinks in a zip, and PDB to a fifth; a bomb shrinks a thousandfold.
_MAX_RATIO = 100
_SMALL_BYTES = 1024**2

# What zipfile raises on damaged or unsupported zips, encrypted ones included (RuntimeError).
_ZIP_ERRORS = (
  *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
  *(RuntimeError, ValueError, struct.error),
)


@dataclasses.dataclass(frozen=True)
class Member:
  """A file, in a folder or in a zip.

  Attributes:
    path: of the file, or of the zip.
    inside: its name in the zip; None for a file in a folder.
  """

  path: pathlib.Path
  inside: str | None = None

  def __str__(self) -> str:
    """How messages call it."""
    return f'{self.path}: {self.inside}' if self.inside else str(self.path)

  @property
  def name(self) -> str:
    """Without folders."""
    return (self.inside or self.path.name).rsplit('/', 1)[-1]

  @functools.cached_property
  def size(self) -> int:
    """Number of bytes when unpacked."""
    if not self.inside:
      return self.path.stat().st_size
    with _open_zip(self.path) as archive:
      return archive.getinfo(self.inside).file_size

  def fingerprint(self) -> str:
    """'crc32:xxxxxxxx SIZE' of the content; a zip's directory says it, nothing is unpacked."""
    if self.inside:
      with _open_zip(self.path) as archive:
        crc = archive.getinfo(self.inside).CRC
    else:
      crc = 0
      with self.path.open('rb') as handle:
        while chunk := handle.read(_COPY_BYTES):
          crc = zlib.crc32(chunk, crc)
    return f'crc32:{crc:08x} {self.size}'

  @contextlib.contextmanager
  def unpacked(self, limit: int | None = None) -> Iterator[pathlib.Path]:
    """A path from which other libraries can read the file while the context lasts.

    What is in a zip is unpacked to the system's folder for temporary files (TMPDIR), and its
    checksum verified. An `InputError` that leaves the context names the member of the zip
    instead of that path.

    Args:
      limit: enough are this many bytes from its beginning; then nothing is verified.

    Raises:
      InputError: the zip is damaged, or there is no room to unpack to.
    """
    if not self.inside:
      yield self.path
      return
    with tempfile.TemporaryDirectory(prefix='tempo_atlas_') as folder:
      path = pathlib.Path(folder) / self.name
      self._unpack(path, limit)
      try:
        yield path
      except InputError as error:
        raise InputError(str(error).replace(str(path), str(self))) from error

  def _unpack(self, path: pathlib.Path, limit: int | None) -> None:
    assert self.inside
    with _open_zip(self.path) as archive:
      info = archive.getinfo(self.inside)
      if info.file_size > _MAX_RATIO * info.compress_size + _SMALL_BYTES:
        raise InputError(
          f'{self}: would grow from {info.compress_size} to {info.file_size} bytes, as no '
          'trajectory does: refused, get the zip from ATLAS'
        )
      needed = min(limit or info.file_size, info.file_size)
      free = shutil.disk_usage(path.parent).free
      if needed > free:
        raise InputError(
          f'{self}: {needed / 1e9:.1f} GB to unpack, and {path.parent.parent} has '
          f'{free / 1e9:.1f} GB: let TMPDIR name a folder with more room'
        )
      try:
        with archive.open(info) as source, path.open('wb') as target:
          if limit:
            target.write(source.read(limit))
          else:
            shutil.copyfileobj(source, target, _COPY_BYTES)
          size = target.tell()
      except OSError as error:
        raise InputError(
          f'{self}: cannot be unpacked to {path.parent.parent} ({error.strerror or error}): check '
          'the disks'
        ) from error
      except _ZIP_ERRORS as error:
        raise InputError(f'{self}: {_damaged(error)}') from error
      if size != needed:
        raise InputError(f'{self}: {_damaged(f"{size} bytes in place of {needed}")}')


@dataclasses.dataclass(frozen=True)
class Archive:
  """The files of one chain in one place.

  Attributes:
    path: the zip, or the folder.
    structure: NAME.pdb.
    trajectories: by replica.
  """

  path: pathlib.Path
  structure: Member
  trajectories: Mapping[int, Member]

  def __str__(self) -> str:
    """How messages call it: by its first trajectory, as one folder may hold two archives."""
    return str(next(iter(self.trajectories.values())))

  @functools.cached_property
  def step_ns(self) -> float:
    """Time between frames, ns, in the first replica that can be read.

    Raises:
      InputError: none can.
    """
    *members, last = self.trajectories.values()
    for member in members:
      with contextlib.suppress(InputError):
        return peek(member)[1]
    return peek(last)[1]

  @property
  def kind(self) -> str:
    """'protein' or 'analysis', as the zip or folder is called, else from the time step."""
    return kind_of(self.path) or ('protein' if self.step_ns < ANALYSIS_NS / 2 else 'analysis')


def find(raw_dir: pathlib.Path) -> dict[str, list[pathlib.Path]]:
  """Chains, sorted, and the zips and folders that have files of each; no zip is opened."""
  places: dict[str, set[pathlib.Path]] = collections.defaultdict(set)
  # Chains may be links to another disk; the depth ends loops.
  for folder, subfolders, files in os.walk(raw_dir, followlinks=True):
    path = pathlib.Path(folder)
    if len(path.relative_to(raw_dir).parts) >= _MAX_DEPTH:
      subfolders.clear()
    for file in files:
      if match := _ZIP_PATTERN.fullmatch(file):
        places[match['name']].add(path / file)
      elif match := _XTC_PATTERN.fullmatch(file):
        places[match['name']].add(path)
      # A chain without trajectories is to be reported, and no other structure that lies about.
      elif file in {f'{path.name.removesuffix(f"_{kind}")}.pdb' for kind in (*KINDS, '')}:
        places[file.removesuffix('.pdb')].add(path)
  return {name: sorted(places[name]) for name in sorted(places)}


def kind_of(place: pathlib.Path) -> str | None:
  """Which of `KINDS` a zip or a folder is called; None if it is called otherwise."""
  return next((kind for kind in KINDS if re.search(rf'(^|_){kind}(\.zip)?$', place.name)), None)


def fetch(
  names: Sequence[str], kind: str, raw_dir: pathlib.Path, base_url: str = BASE_URL
) -> dict[str, str]:
  """Downloads the archives of one kind that are not there, zipped or unpacked.

  Args:
    names: of the chains.
    kind: one of `KINDS`.
    raw_dir: where to look for them, and to put them.
    base_url: of ATLAS, or of a mirror.

  Returns:
    By name, one line for each that could not be had.

  Raises:
    InputError: there is no network.
  """
  there = find(raw_dir)
  missing = [name for name in names if not _has(name, there.get(name, ()), kind)]
  if missing:
    print(f'{len(missing)} of {len(names)} {kind} archives to download')
  wrong: dict[str, str] = {}
  for url in _URLS:
    files = {
      name: download.Remote(
        url.format(base=base_url.rstrip('/'), name=name, kind=kind), raw_dir / f'{name}_{kind}.zip'
      )
      for name in missing
    }
    lines = download.fetch(list(files.values()))
    missing = []
    for name, file in files.items():
      line = next((line for line in lines if line.startswith(f'{file.path}: ')), None)
      wrong.pop(name, None)
      if line:
        wrong[name] = line
        if re.search(r'\b404\b', line):
          missing.append(name)
  return wrong


def _has(name: str, places: Sequence[pathlib.Path], kind: str) -> bool:
  """Whether an archive of this kind is there; a damaged one is, only its owner may delete it."""
  try:
    return any(
      any(archive.kind == kind for archive in read(name, place))
      if kind_of(place) is None
      else kind_of(place) == kind
      for place in places
    )
  except InputError:
    return True


def read(name: str, place: pathlib.Path) -> list[Archive]:
  """What a zip or a folder has of a chain: two archives if both were unpacked into one folder.

  Raises:
    InputError: the zip is damaged or has members that no archive of ATLAS has; NAME.pdb is missing.
  """
  if place.is_file():
    members = _zip_members(place)
  else:
    files = [f'{name}.pdb', *(p.format(name=name, replica=r) for p in _XTC_NAMES for r in REPLICAS)]
    members = {file: Member(place / file) for file in files if (place / file).is_file()}
  structure = members.get(f'{name}.pdb')
  if structure is None:
    raise InputError(f'{place}: no {name}.pdb in it: get the archive of {name} again')
  found = []
  for pattern in _XTC_NAMES:
    numbered = {replica: pattern.format(name=name, replica=replica) for replica in REPLICAS}
    trajectories = {r: members[file] for r, file in numbered.items() if file in members}
    if trajectories:
      found.append(Archive(place, structure, trajectories))
  return found


def choose(
  archives: Sequence[Archive], kind: str | None, stride_ns: float | None, replicas: Sequence[int]
) -> Archive:
  """The archive to read a chain from.

  Args:
    archives: at least one.
    kind: 'protein' or 'analysis'; None for either.
    stride_ns: time between the frames that are wanted, ns; None for all frames.
    replicas: those that are wanted.

  Returns:
    The coarsest whose time step divides `stride_ns`, otherwise the finest. Of those with the same
    time step, the most complete, and rather an unpacked one.

  Raises:
    InputError: there is none of this kind, or no time step in it.
  """
  fitting = [archive for archive in archives if kind in (None, archive.kind)]
  if not fitting:
    raise InputError(
      f'{archives[0].path}: is not the {kind} archive, and there is no other: get that with '
      '--download, or leave out --archive'
    )
  if len(fitting) == 1:
    return fitting[0]

  def rank(archive: Archive) -> tuple:
    step_ns = archive.step_ns
    fits = stride_ns is not None and divides(step_ns, stride_ns)
    complete = len(set(archive.trajectories) & set(replicas))
    return not fits, -step_ns if fits else step_ns, -complete, archive.structure.inside is not None

  return min(fitting, key=rank)


def divides(step_ns: float, stride_ns: float) -> bool:
  """Whether a stride is a multiple of a time step, within rounding."""
  count = round(stride_ns / step_ns)
  return count >= 1 and abs(count * step_ns - stride_ns) <= 1e-3 * step_ns


def peek(member: Member) -> tuple[int, float]:
  """Number of atoms of a trajectory, and time between its frames, ns; reads only two frames.

  Raises:
    InputError: there are no two frames that can be read.
  """
  with member.unpacked(_HEAD_BYTES) as file:
    try:
      with reader.quiet(), mdtraj.formats.XTCTrajectoryFile(str(file)) as handle:
        positions, time_ps, *_ = handle.read(2)
    except Exception as error:  # mdtraj's readers raise whatever they come upon
      raise InputError(
        f'{file}: mdtraj cannot read its first frames: get the archive again '
        f'({reader.reason(error)})'
      ) from error
  if len(time_ps) < 2:
    raise InputError(f'{member}: one frame only: get the archive again')
  step_ns = times.rounded(float(time_ps[1] - time_ps[0]) / 1000.0)
  if not step_ns > 0.0:
    raise InputError(f'{member}: its times do not increase: get the archive again')
  return positions.shape[1], step_ns


def _zip_members(path: pathlib.Path) -> dict[str, Member]:
  """By name without folders: those that are structures and trajectories."""
  members: dict[str, Member] = {}
  with _open_zip(path) as archive:
    for info in archive.infolist():
      parts = re.split(r'[/\\]', info.orig_filename)
      # A name with a drive, C:\..., is absolute too.
      if '..' in parts or not parts[0] or ':' in parts[0]:
        raise InputError(
          f'{path}: its member {info.orig_filename!r} points out of the zip: refused, get the zip '
          'from ATLAS'
        )
      if stat.S_ISLNK(info.external_attr >> 16):
        raise InputError(
          f'{path}: its member {info.orig_filename!r} is a link: refused, get the zip from ATLAS'
        )
      member = Member(path, info.filename)
      if not info.is_dir() and member.name.endswith(('.pdb', '.xtc')):
        if member.name in members:
          raise InputError(f'{path}: has {member.name} twice: refused, get the zip from ATLAS')
        members[member.name] = member
  return members


def _open_zip(path: pathlib.Path) -> zipfile.ZipFile:
  try:
    return zipfile.ZipFile(path)
  except OSError as error:
    raise InputError(f'{path}: cannot be read: {error.strerror or error}') from error
  except _ZIP_ERRORS as error:
    raise InputError(f'{path}: {_damaged(error)}') from error


def _damaged(why: object) -> str:
  return f'damaged or cut short ({why}): delete the zip, and get it again (--download)'
