"""The report on a store in words."""

import collections
import math
import re
from collections.abc import Collection, Sequence

import numpy as np

from tempo_jax.preparation import frame_checks
from tempo_jax.preparation.inspection import store_checks
from tempo_jax.preparation.inspection.findings import SEVERITIES, count

COLUMNS = ('entry', 'split', 'residues', 'frames', 'ns', 'dt (ns)', 'found', 'preparation')
_MAX_ROWS = 50
_MAX_FINDINGS = 100
_MOST_LISTED = 12


def store_text(report: store_checks.StoreReport) -> str:
  """What is in a store, and what is wrong with it, for a terminal."""
  contained = contents(report)
  width = max(map(len, contained))
  lines = [report.path, *(f'  {name:<{width}}  {value}' for name, value in contained.items())]
  lines += ['', *_aligned([COLUMNS, *rows(report)[:_MAX_ROWS]])]
  if len(report.entries) > _MAX_ROWS:
    lines.append(f'... and {len(report.entries) - _MAX_ROWS} more entries')
  lines += ['', *(f'{bond:<6} {text}' for bond, text in bonds(report).items())]
  notes = preparation(report)
  if notes:
    lines += ['', 'what preparation did:', *(f'  {note}' for note in notes)]
  lines.append('')
  for severity in SEVERITIES:
    said = [str(finding) for finding in report.findings if finding.severity == severity]
    lines += said[:_MAX_FINDINGS]
    if len(said) > _MAX_FINDINGS:
      lines.append(f'... and {len(said) - _MAX_FINDINGS} {severity}s more')
  found = count(report.findings)
  lines.append(', '.join(f'{found[s]} {s}{"" if found[s] == 1 else "s"}' for s in SEVERITIES))
  return '\n'.join(lines)


def contents(report: store_checks.StoreReport) -> dict[str, str]:
  """Name -> value: how much of what."""
  entries = report.entries
  lengths = {entry.name: entry.length for entry in entries}
  frames = [entry.num_frames for entry in entries]
  time = [entry.num_frames * entry.dt_ns for entry in entries]
  replicas = collections.Counter((entry.name, entry.temperature_K) for entry in entries).values()
  splits = collections.Counter(split for split, _ in sorted({(e.split, e.name) for e in entries}))
  size = 'unknown' if report.num_bytes is None else store_checks.size_text(report.num_bytes)
  return {
    'proteins': f'{len(lengths)}, of {_range(lengths.values())} residues',
    'entries': f'{len(entries)}, {_range(replicas)} per protein and temperature',
    'frames': f'{sum(frames)}, {_range(frames)} per entry',
    'time': f'{sum(time):.6g} ns, {_range(time)} ns per entry',
    'time step': _counted([f'{entry.dt_ns:g} ns' for entry in entries]),
    'temperature': _counted([f'{entry.temperature_K:g} K' for entry in entries]),
    'split': ', '.join(f'{name}: {n} of {len(lengths)} proteins' for name, n in splits.items()),
    'side chains': _side_chains(report),
    'on disk': size,
  }


def _side_chains(report: store_checks.StoreReport) -> str:
  """Of how many entries there are torsions, and how many of these are known."""
  counts = [known.known_chi for known in report.reports if known.known_chi]
  known, total = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
  said = f'of {len(counts)} of {len(report.entries)} entries'
  if not total:
    return said
  # All but one of a million are not 100 %.
  return f'{said}, {math.floor(1000 * known / total) / 10:g} % of their torsions known'


def rows(report: store_checks.StoreReport) -> list[tuple[str, ...]]:
  """One per entry, as `COLUMNS`."""
  found = collections.defaultdict(list)
  for finding in report.findings:
    found[finding.where].append(f'{finding.severity}: {finding.kind}')
  return [
    (
      entry.key,
      entry.split,
      f'{entry.length}',
      f'{entry.num_frames}',
      f'{entry.num_frames * entry.dt_ns:.6g}',
      f'{entry.dt_ns:g}',
      ', '.join(dict.fromkeys(found[entry.key])),
      '; '.join(entry.notes),
    )
    for entry in report.entries
  ]


def bonds(report: store_checks.StoreReport) -> dict[str, str]:
  """Bond -> the range of its lengths, and the limits."""
  said = {}
  for bond, _, _, low, high in (*frame_checks.WITHIN, *frame_checks.BETWEEN):
    ranges = [known.bonds[bond] for known in report.reports if bond in known.bonds]
    if ranges:
      least, most = np.min(ranges, axis=0)[0], np.max(ranges, axis=0)[1]
      said[bond] = f'{least:.2f} to {most:.2f} Å, limits {low:g} to {high:g}'
  return said


def preparation(report: store_checks.StoreReport) -> list[str]:
  """The notes of all entries; those that differ in numbers only count as one."""
  alike: dict[str, list[tuple[str, str]]] = collections.defaultdict(list)
  for entry in report.entries:
    for note in entry.notes:
      alike[re.sub(r'[\d.]+', '#', note)].append((entry.key, note))
  return [
    f'{len(same)} of {len(report.entries)} entries: {same[0][1]}'
    + (f' (that is {same[0][0]})' if len({note for _, note in same}) > 1 else '')
    for same in sorted(alike.values(), key=len, reverse=True)
  ]


def _range(values: Collection[float]) -> str:
  least, most = (f'{pick(values):.6g}' for pick in (min, max))
  return least if least == most else f'{least} to {most}'


def _counted(items: Sequence[str]) -> str:
  """The most frequent items, and how many entries have each."""
  counts = collections.Counter(items).most_common(_MOST_LISTED)
  return ', '.join(f'{item}: {n} of {len(items)} entries' for item, n in counts)


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
  widths = [max(map(len, column)) for column in zip(*table, strict=True)]
  return [
    '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for row in table
  ]
