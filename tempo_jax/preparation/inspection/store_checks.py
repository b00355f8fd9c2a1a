"""What is wrong with a store: its entries one by one, against each other, and against the disk."""

import collections
import dataclasses
import os
import pathlib
import uuid
from collections.abc import Iterator, Mapping, Sequence

from tempo_jax import workers
from tempo_jax.errors import InputError, first_few
from tempo_jax.preparation.inspection import conformations, entry_checks
from tempo_jax.preparation.inspection.entry_checks import EntryReport
from tempo_jax.preparation.inspection.findings import SEVERITIES, Finding
from tempo_jax.store import store as store_lib
from tempo_jax.store.entry import SPLITS, Entry

# Of the whole store, for the Ramachandran plot: enough to see basins, few enough to hold.
_NUM_TORSIONS = 60_000
_LEAST_TORSIONS = 50
# Starting workers takes some seconds, in which one process checks this much.
_SMALL_BYTES = 64 * 1024**2


@dataclasses.dataclass(frozen=True, eq=False)
class StoreReport:
  """What is known of a store.

  Attributes:
    path: directory or URL.
    entries: those inspected.
    reports: of each of the entries.
    findings: of entries and of the store, worst first.
    num_bytes: size on disk, None for a URL.
  """

  path: str
  entries: tuple[Entry, ...]
  reports: tuple[EntryReport, ...]
  findings: tuple[Finding, ...]
  num_bytes: int | None


def inspect(
  path: str | os.PathLike,
  *,
  names: Sequence[str] = (),
  block_frames: int | None = None,
  num_workers: int | None = None,
  scheduler: str | None = None,
  verify: bool = True,
) -> StoreReport:
  """Reads every frame of a store.

  Args:
    path: directory, or a URL that tensorstore can read.
    names: proteins to look at; all by default.
    block_frames: held in memory at a time by each process, at least two; by default 4 MiB of them.
    num_workers: processes; by default one for a small store, else one per core.
    scheduler: address of a Dask cluster, in place of local processes.
    verify: compare all positions with the SHA-256 that the store knows.

  Raises:
    InputError: there is no store, it has no entries, or none of one of the names.
  """
  path = os.fspath(path)
  root = None if '://' in path else pathlib.Path(path).expanduser().absolute()
  store = store_lib.Store(path, cache_bytes=0)
  entries = _chosen(store, names)
  size = sum(entry.num_frames * entry.length * 48 for entry in entries)
  run = uuid.uuid4().hex
  sample = max(_LEAST_TORSIONS, _NUM_TORSIONS // len(entries))
  results = workers.run(
    entry_checks.check,
    [
      entry_checks.EntryToCheck(str(root or path), run, entry, sample, block_frames, verify)
      for entry in entries
    ],
    names=[entry.key for entry in entries],
    num_workers=num_workers or (1 if size < _SMALL_BYTES else None),
    scheduler=scheduler,
    unit='replica',
  )
  reports = tuple(map(_report, results))
  findings = [finding for report in reports for finding in report.findings]
  findings += _splits(entries)
  findings += _time_steps(entries)
  findings += _copies(store, entries, reports)
  if root:
    findings += _on_disk(root, {entry.key: entry for entry in store.entries}, names)
  findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
  num_bytes = _size(root) if root else None
  return StoreReport(path, entries, reports, tuple(findings), num_bytes)


def _chosen(store: store_lib.Store, names: Sequence[str]) -> tuple[Entry, ...]:
  known = dict.fromkeys(entry.name for entry in store.entries)
  for name in names:
    if name not in known:
      raise InputError(
        f'{store.path}: no protein {name!r} in it, correct --names: it has {first_few(list(known))}'
      )
  entries = tuple(entry for entry in store.entries if not names or entry.name in names)
  if not entries:
    raise InputError(f'{store.path}: a store without entries: prepare some')
  return entries


def _report(result: workers.Result) -> EntryReport:
  """What the worker found, or that it failed."""
  if isinstance(result, EntryReport):
    return result
  said = tuple(Finding('error', 'failed', result.name, error) for error in result.errors)
  return EntryReport(name=result.name, findings=said)


def _splits(entries: Sequence[Entry]) -> Iterator[Finding]:
  """Proteins that are in the store twice, and worse, in two splits."""
  by_sequence: dict[str, list[Entry]] = collections.defaultdict(list)
  for entry in entries:
    by_sequence[entry.sequence].append(entry)
  for sequence, same in by_sequence.items():
    names = list(dict.fromkeys(entry.name for entry in same))
    splits = [split for split in SPLITS if any(entry.split == split for entry in same)]
    if len(splits) > 1:
      of_each = ', '.join(
        f'{split}: {first_few([entry.key for entry in same if entry.split == split])}'
        for split in splits
      )
      yield Finding(
        'error' if {'train', 'test'} <= set(splits) else 'warning',
        'leak',
        names[0],
        f'one sequence of {len(sequence)} residues in several splits ({of_each}): what is tested '
        'was trained on: assign splits anew (tempo-jax prepare split)',
      )
    elif len(names) > 1:
      yield Finding(
        'note',
        'same',
        names[0],
        f'has the sequence of {first_few(names[1:])}: train on one of them?',
      )


def _time_steps(entries: Sequence[Entry]) -> Iterator[Finding]:
  by_name: dict[str, list[Entry]] = collections.defaultdict(list)
  for entry in entries:
    by_name[entry.name].append(entry)
  for name, same in by_name.items():
    least, most = (pick(same, key=lambda entry: entry.dt_ns) for pick in (min, max))
    if most.dt_ns >= 2.0 * least.dt_ns:
      yield Finding(
        'warning',
        'dt',
        name,
        f'time steps of {least.dt_ns:g} ns ({least.key}) and {most.dt_ns:g} ns ({most.key}): if '
        'one is wrong, prepare it again with --dt_ns and --overwrite',
      )


def _copies(
  store: store_lib.Store, entries: Sequence[Entry], reports: Sequence[EntryReport]
) -> Iterator[Finding]:
  """Entries that hold the same frames."""
  by_sequence: dict[str, list[tuple[Entry, EntryReport]]] = collections.defaultdict(list)
  for entry, report in zip(entries, reports, strict=True):
    by_sequence[entry.sequence].append((entry, report))
  for same in by_sequence.values():
    seen: dict[int, int] = {}
    pairs: dict[tuple[int, int], int] = {}  # to a fingerprint that both have
    for k, (_, report) in enumerate(same):
      for fingerprint in report.fingerprints:
        first = seen.setdefault(fingerprint, k)
        if first != k:
          pairs.setdefault((first, k), fingerprint)
    for (i, k), fingerprint in pairs.items():
      share = _shared(same[i][1].fingerprints, same[k][1].fingerprints)
      if not share:
        continue
      frames = [same[j][1].fingerprints[fingerprint] for j in (i, k)]
      atoms = [
        conformations.centred(store.read(same[j][0], slice(frame, frame + 1)))
        for j, frame in zip((i, k), frames, strict=True)
      ]
      if conformations.rmsd(*atoms)[0] < conformations.SAME:
        yield Finding(
          'warning',
          'copy',
          same[k][0].key,
          f'about {share:.0%} of its frames are those of {same[i][0].key}, such as frame '
          f'{frames[1]}, there {frames[0]}: leave one of them out',
        )


def _shared(a: Mapping[int, int], b: Mapping[int, int]) -> float:
  """Share of the shorter entry's frames that the other has too; 0 for a few, e.g. the first.

  As estimated from the least fingerprints of each: up to where both lists go, they are complete.
  """
  end = min(max(a), max(b))
  both = [fingerprint for fingerprint in a.keys() & b.keys() if fingerprint <= end]
  shorter = min(sum(fingerprint <= end for fingerprint in x) for x in (a, b))
  share = len(both) / shorter
  return share if len(both) > 2 and share > 0.05 else 0.0


def _on_disk(
  root: pathlib.Path, listed: Mapping[str, Entry], names: Sequence[str]
) -> Iterator[Finding]:
  """What is there and the manifest does not know of."""
  for directory in sorted((root / 'entries').glob('*/*/*/')):
    key = directory.relative_to(root / 'entries').as_posix()
    if names and directory.parts[-3] not in names:
      continue
    written = (directory / 'entry.json').is_file()
    if written and key not in listed:
      yield Finding(
        'warning',
        'unlisted',
        key,
        'complete, but not in manifest.json, so training does not see it: run the command that '
        'prepared it again (or wait, if it is running)',
      )
    keep = listed[key].array if key in listed else ''
    left = [path for path in directory.iterdir() if path.is_dir() and path.name != keep]
    if left and not (written and key not in listed):
      yield Finding(
        'note' if written else 'warning',
        'partial',
        key,
        f'{first_few([path.name for path in left])} ({size_text(sum(map(_size, left)))}) was '
        'left by a command that died: run it again, which removes it (or wait, if it is running)',
      )


def _size(directory: pathlib.Path) -> int:
  return sum(path.stat().st_size for path in directory.rglob('*') if path.is_file())


def size_text(num_bytes: int) -> str:
  """For people."""
  amount = float(num_bytes)
  for unit in ('B', 'KiB', 'MiB', 'GiB'):
    if amount < 1024.0:
      return f'{amount:.3g} {unit}'
    amount /= 1024.0
  return f'{amount:.3g} TiB'
