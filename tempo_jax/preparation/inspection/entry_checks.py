"""What is wrong with one entry of a store.

Every frame is read once, block by block. A process needs memory for a block (some 4 MiB as
stored) and 24 bytes per frame.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tempo_jax import progress, workers
from tempo_jax.errors import InputError
from tempo_jax.preparation.inspection import frame_series
from tempo_jax.preparation.inspection.findings import Finding, Subject
from tempo_jax.protein import frame_faults, side_chain_atoms
from tempo_jax.store import entry as entry_lib
from tempo_jax.store import store as store_lib

NUM_STEPS = 400
"""An entry's steps are thinned to so many, at most."""

_NUM_FINGERPRINTS = 64
_BLOCK_BYTES = 4 * 1024**2
_CACHE_BYTES = 8 * 1024**2
_FAR = 1e6  # Å


@dataclasses.dataclass(frozen=True)
class EntryToCheck:
  """What a worker needs to know.

  Attributes:
    store: absolute path, or URL.
    run: names this inspection; a process keeps the store open during one.
    entry: what to check.
    num_torsions: how many pairs of phi and psi to return, about.
    block_frames: read at a time; None for 4 MiB of them.
    verify: compare the positions with the SHA-256 that the store knows.
  """

  store: str
  run: str
  entry: entry_lib.Entry
  num_torsions: int
  block_frames: int | None = None
  verify: bool = True


@dataclasses.dataclass(frozen=True, eq=False)
class EntryReport(workers.Result):
  """What is known of one entry; small, whatever its number of frames.

  Attributes:
    findings: what is wrong.
    bonds: bond -> least and greatest length, Å.
    histograms: bond of `frame_series.HISTOGRAMS` -> counts.
    torsions: [n, 2] float32 degrees, phi and psi of evenly spaced frames.
    steps: [n] float32 Å, n <= 400: the greatest RMSD between successive frames in each of n equal
      stretches.
    fingerprints: {fingerprint: frame}, the 64 least of all frames, and so the same ones in copies.
    known_chi: of all frames, how many torsions of side chains are known, and how many the residues
      have; None where the store keeps none.
  """

  findings: tuple[Finding, ...] = ()
  bonds: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
  histograms: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  torsions: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 2), np.float32))
  steps: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))
  fingerprints: dict[int, int] = dataclasses.field(default_factory=dict)
  known_chi: tuple[int, int] | None = None


def check(work: EntryToCheck) -> EntryReport:
  """Reads all frames of an entry and looks for whatever is wrong."""
  subject = Subject(work.entry)
  bonds = frame_series.Bonds(subject)
  steps, repeats = frame_series.Steps(subject), frame_series.Repeats(subject)
  torsions = frame_series.Torsions(subject, work.num_torsions)
  clashes = frame_series.Clashes(subject)
  read = functools.partial(_open(work.store, work.run).read, work.entry)
  said = list(_against_manifest(work))
  digest = hashlib.sha256()
  frames = 0
  try:
    for positions in _blocks(read, work.entry, work.block_frames, digest):
      if frames == 0 and (wrong := _wrong_units(positions, subject.bonded)):
        said.append(subject.finding('error', 'units', wrong))
        break
      sound = bonds.update(frames, positions)
      for other in (steps, repeats, torsions, clashes):
        other.update(frames, positions, sound)
      frames += len(positions)
  except InputError as error:
    said.append(subject.finding('error', 'missing', f'{error}; no later frame was looked at'))
  whole = frames == work.entry.num_frames
  if work.verify and whole and not digest.hexdigest().startswith(work.entry.content_ids[0]):
    said.append(_changed(subject, 'coordinates'))
  known_chi = None
  if work.entry.has_chi:
    known_chi, wrong_chi = _side_chains(work, subject)
    said += wrong_chi
  said += [
    *bonds.findings(),
    *steps.findings(read),
    *repeats.findings(read, steps.values),
    *torsions.findings(),
    *clashes.findings(),
  ]
  if work.entry.num_frames == 1:
    said.append(subject.finding('warning', 'short', 'one frame only, so no motion: leave it out'))
  unique, first = np.unique(repeats.values, return_index=True)
  least = zip(unique[:_NUM_FINGERPRINTS].tolist(), first.tolist(), strict=False)
  return EntryReport(
    name=work.entry.key,
    frames=frames,
    num_bytes=frames * work.entry.length * 48,
    findings=tuple(said),
    bonds=bonds.ranges,
    histograms=bonds.histograms,
    torsions=torsions.sample,
    steps=_thinned(steps.values[1:]),
    fingerprints=dict(least),
    known_chi=known_chi,
  )


def _changed(subject: Subject, what: str) -> Finding:
  return subject.finding(
    'error',
    'changed',
    f'its {what} are not those that were written (SHA-256): copy the store again, or prepare this '
    'entry with --overwrite',
  )


def _side_chains(work: EntryToCheck, subject: Subject) -> tuple[tuple[int, int], list[Finding]]:
  """How many torsions are known, and how many there are; and what is wrong with them."""
  entry = work.entry
  read = functools.partial(_open(work.store, work.run).read_chi, entry)
  possible = side_chain_atoms.chi_mask(entry.residue_type)
  known, digest, misplaced = 0, hashlib.sha256(), False
  size = max(2, work.block_frames or _BLOCK_BYTES // (entry.length * 16))
  try:
    for start in range(0, entry.num_frames, size):
      chi = np.ascontiguousarray(read(slice(start, start + size)), np.float32)
      digest.update(chi.data)
      here = ~np.isnan(chi)
      known += int(here.sum())
      misplaced |= bool((here & ~possible).any())
  except InputError as error:
    return (known, 0), [subject.finding('error', 'missing', f'{error}')]
  said = []
  if work.verify and not digest.hexdigest().startswith(entry.content_ids[1]):
    said.append(_changed(subject, 'side chains'))
  total = entry.num_frames * int(possible.sum())
  if misplaced:
    said.append(
      subject.finding(
        'error',
        'side chains',
        'torsions of residues that have none: prepare this entry with --overwrite',
      )
    )
  if known < total:
    said.append(
      subject.finding(
        'note',
        'side chains',
        f'{total - known} of {total} torsions of its side chains are not known: atoms are missing',
      )
    )
  return (known, total), said


@functools.lru_cache(maxsize=1)
def _open(path: str, run: str) -> store_lib.Store:
  del run  # The next inspection is to open it anew: it may have changed.
  return store_lib.Store(path, cache_bytes=_CACHE_BYTES)


def _blocks(
  read: frame_series.Read, entry: entry_lib.Entry, block_frames: int | None, digest: Any
) -> Iterator[np.ndarray]:
  """All frames; their content goes into the digest."""
  size = max(2, block_frames or _BLOCK_BYTES // (entry.length * 48))
  # `workers` shows the bar, of all entries.
  with progress.Progress(bar=False) as shown:
    for start in range(0, entry.num_frames, size):
      positions = np.ascontiguousarray(read(slice(start, start + size)), np.float32)
      digest.update(positions.data)
      # Clipped so that nothing overflows later; corrupt coordinates stay recognizable.
      yield np.clip(positions, -_FAR, _FAR)
      shown.update(size, f'{entry.key}: {start} of {entry.num_frames} frames')


def _against_manifest(work: EntryToCheck) -> Iterator[Finding]:
  """The manifest should say what the entry's own file says."""
  if '://' in work.store:
    return
  listed = work.entry
  path = pathlib.Path(work.store) / 'entries' / listed.key / 'entry.json'
  remedy = 'run the command that prepared it again, which completes manifest.json'
  try:
    (own,) = entry_lib.parse(path.read_bytes(), f'{path}')
  except FileNotFoundError:
    message = f'it is in manifest.json, but its entry.json is gone: {remedy}'
    yield Finding('error', 'manifest', listed.key, message)
    return
  except InputError as error:
    yield Finding('error', 'manifest', listed.key, str(error))
    return
  names = ('array', 'num_frames', 'split')
  changed = [name for name in names if getattr(own, name) != getattr(listed, name)]
  changed += filter(None, [entry_lib.difference(listed, own)])
  if changed:
    message = f'manifest.json is out of date, its entry.json has other {", ".join(changed)}: '
    yield Finding('warning', 'manifest', listed.key, message + remedy)


def _wrong_units(positions: np.ndarray, bonded: np.ndarray) -> str | None:
  """Whether all lengths in a block are far from those of a protein, by the same factor."""
  ratio = np.median(frame_faults.length_ratios(positions, bonded), axis=0)
  power = frame_faults.power_of_ten(ratio)
  if not power:
    return None
  unit = {-1: 'nm stored as Å', 1: 'Å taken for nm'}.get(power, 'in another unit')
  step = positions[:, :, 2].astype(np.float64) - positions[:, :, 1]
  length = float(np.median(np.linalg.norm(step, axis=-1)))
  return (
    f'wrong units: CA-C is {length:.3g} Å where proteins have 1.53, so coordinates are probably '
    f'{unit}: correct the raw file, and prepare it again with --overwrite (nothing else was looked '
    'at)'
  )


def _thinned(steps: np.ndarray) -> np.ndarray:
  """[n] the greatest in each of n stretches."""
  if not len(steps):
    return np.zeros(0, np.float32)
  starts = np.linspace(0, len(steps), min(len(steps), NUM_STEPS), endpoint=False).astype(int)
  return np.fmax.reduceat(steps, starts).astype(np.float32)
