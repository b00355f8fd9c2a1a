"""Training, validation and test proteins of a store, by sequence identity."""

import csv
import itertools
import math
import os
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence

import numpy as np

from tempo_jax import files
from tempo_jax.errors import InputError, first_few
from tempo_jax.preparation import name_lists
from tempo_jax.preparation.splitting import clusters as protein_clusters
from tempo_jax.preparation.splitting import sequence_identity
from tempo_jax.store import store
from tempo_jax.store.entry import SPLITS

_COLUMNS = ('name', 'split', 'cluster', 'length')
_MOST_NAMES = 10


def split(
  store_path: str | os.PathLike,
  *,
  max_identity: float = 0.4,
  fractions: Sequence[float] = (0.8, 0.1, 0.1),
  seed: int = 0,
  method: str = 'auto',
  fixed: Sequence[str | os.PathLike] = (),
  out: str | os.PathLike | None = None,
  dry_run: bool = False,
) -> dict[str, str]:
  """Splits a store, and prints what came of it.

  Args:
    store_path: directory of the store.
    max_identity: proteins above it are never in different splits; 0 to 1.
    fractions: of all proteins, for training, validation and test; 0 leaves a split out.
    seed: chooses among clusters of equal size.
    method: one of `sequence_identity.METHODS`, or 'auto'.
    fixed: lists of names with splits to take in place of all this, see `name_lists.read`.
    out: the CSV file; by default STORE.splits.csv beside the store.
    dry_run: print only.

  Returns:
    The split by name of the protein.

  Raises:
    InputError: there are too few clusters, or something given cannot be used. The store is as it
      was.
  """
  _check(max_identity, fractions)
  root = pathlib.Path(store_path).expanduser().absolute()
  file = pathlib.Path(out).expanduser() if out else root.with_name(f'{root.name}.splits.csv')
  if not dry_run:
    _check_out(file, fixed)
    # Entries that an interrupted preparation completed are not in the manifest yet.
    store.StoreWriter(store_path).write_manifest()
  proteins = protein_clusters.read_proteins(store.Store(store_path).entries)
  listed = _listed(proteins, name_lists.read(fixed), store_path) if fixed else None
  chains, owners = protein_clusters.chain_owners(proteins)
  pairs = _compare(chains, method)
  cluster = protein_clusters.find_clusters(owners, pairs, max_identity)
  splits = listed or _assign(proteins, cluster, fractions, seed, store_path)
  crossings = protein_clusters.find_crossings(proteins, owners, pairs, splits)
  _print_table(proteins, splits, cluster)
  _print_crossings(crossings, splits)
  if listed:
    _warn(crossings, max_identity)
  else:
    _print_misses(splits, fractions, np.bincount(cluster))
  if dry_run:
    print('nothing was written (--dry_run)')
  else:
    _write(proteins, splits, cluster, file, store_path)
  return splits


def _check(max_identity: float, fractions: Sequence[float]) -> None:
  if not 0.0 <= max_identity <= 1.0:
    raise InputError(f'--max_identity={max_identity:g}: give a fraction, e.g. 0.4 for 40 %')
  given = ','.join(f'{fraction:g}' for fraction in fractions)
  if len(fractions) != 3 or not all(0.0 <= fraction <= 1.0 for fraction in fractions):
    raise InputError(
      f'--fractions={given}: give three from 0 to 1, for train, validation and test, e.g. '
      '0.8,0.1,0.1'
    )
  if not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
    raise InputError(f'--fractions={given}: they add up to {sum(fractions):g}: make that 1')


def _check_out(file: pathlib.Path, fixed: Sequence[str | os.PathLike]) -> None:
  """What would otherwise fail, or destroy something, after a long comparison."""
  if file.absolute() in (pathlib.Path(name).expanduser().absolute() for name in fixed):
    raise InputError(f'--out={file} is one of the lists of --fixed: choose another')
  if not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
    raise InputError(f'--out={file}: no directory {file.parent} to write into: choose another')
  if file.exists() and not (file.is_file() and _header(file) == ','.join(_COLUMNS).encode()):
    raise InputError(f'--out={file} exists, and is no list of splits: choose another')


def _header(file: pathlib.Path) -> bytes:
  with file.open('rb') as lines:
    return lines.readline().strip()


def _listed(
  proteins: Sequence[protein_clusters.ProteinSummary],
  lists: Mapping[str, name_lists.NameRow],
  store_path: str | os.PathLike,
) -> dict[str, str]:
  splits: dict[str, str] = {}
  for name, row in lists.items():
    if row.split is None:
      raise InputError(
        f'--fixed: {name} has no split: give a CSV with a column "split", or one file per split '
        'with train, val or test in its name'
      )
    splits[name] = row.split
  names = {protein.name for protein in proteins}
  if not names & splits.keys():
    raise InputError(
      f'--fixed: none of the {len(splits)} listed names, e.g. {next(iter(splits))}, is in '
      f'{os.fspath(store_path)}, which has e.g. {min(names)}: give the lists that belong to it'
    )
  others = [protein for protein in proteins if protein.name not in splits]
  for protein in others:
    if len(protein.splits) > 1:
      raise InputError(
        f'--fixed: {protein.name} is not listed, and its entries are in several splits '
        f'({", ".join(sorted(protein.splits))}): list it'
      )
  absent = len(splits.keys() - names)
  if absent:
    print(f'{absent} of {len(splits)} listed proteins are not in the store')
  if others:
    print(
      f'{len(others)} proteins are not listed and keep their split: '
      + first_few([f'{protein.name} ({min(protein.splits)})' for protein in others])
    )
  kept = {protein.name: min(protein.splits) for protein in others}
  return {protein.name: (splits | kept)[protein.name] for protein in proteins}


def _assign(
  proteins: Sequence[protein_clusters.ProteinSummary],
  cluster: np.ndarray,
  fractions: Sequence[float],
  seed: int,
  store_path: str | os.PathLike,
) -> dict[str, str]:
  sizes = np.bincount(cluster)
  wanted = sum(fraction > 0.0 for fraction in fractions)
  if len(sizes) < wanted:
    raise InputError(
      f'{os.fspath(store_path)}: its {len(proteins)} proteins form {len(sizes)} cluster(s) of '
      f'proteins that are alike, too few for {wanted} splits: raise --max_identity, or ask for '
      'fewer splits (e.g. --fractions=0.9,0,0.1)'
    )
  chosen = protein_clusters.assign_clusters(sizes, fractions, seed)[cluster]
  names = (protein.name for protein in proteins)
  return {name: SPLITS[s] for name, s in zip(names, chosen, strict=True)}


def _compare(chains: Sequence[str], method: str) -> sequence_identity.Pairs:
  methods = sequence_identity.choose_methods(len(chains)) if method == 'auto' else (method,)
  start = time.monotonic()
  pairs = sequence_identity.compare(chains, methods)
  note = '' if 'pyopal' in methods else ', which may miss some that are alike'
  print(
    f'{len(chains)} different chains compared by {" and ".join(methods)}{note}: '
    f'{len(pairs.identity)} pairs alike beyond chance, {time.monotonic() - start:.1f} s'
  )
  return pairs


def _print_table(
  proteins: Sequence[protein_clusters.ProteinSummary],
  splits: Mapping[str, str],
  cluster: np.ndarray,
) -> None:
  names = ('proteins', 'share', 'clusters', 'residues', 'frames', 'ns')
  print(' ' * 10, *(f'{name:>9}' for name in names))
  for name in SPLITS:
    inside = [p for p, protein in enumerate(proteins) if splits[protein.name] == name]
    values = (
      f'{len(inside)}',
      f'{100 * len(inside) / len(proteins):.1f} %',
      f'{len(set(cluster[inside]))}',
      f'{sum(proteins[p].length for p in inside)}',
      f'{sum(proteins[p].num_frames for p in inside)}',
      f'{sum(proteins[p].time_ns for p in inside):.6g}',
    )
    print(f'{name:10}', *(f'{value:>9}' for value in values))


def _print_crossings(
  crossings: Sequence[protein_clusters.Crossing], splits: Mapping[str, str]
) -> None:
  print('highest identity between splits:')
  used = [name for name in SPLITS if name in splits.values()]
  for between in itertools.combinations(used, 2):
    highest = next((str(c) for c in crossings if c.splits == between), 'none beyond chance')
    print(f'  {" / ".join(between)}: {highest}')


def _print_misses(splits: Mapping[str, str], fractions: Sequence[float], sizes: np.ndarray) -> None:
  """Where clusters are too large or too few for the fractions, says so."""
  counts = [sum(split == name for split in splits.values()) for name in SPLITS]
  for name, count, fraction in zip(SPLITS, counts, fractions, strict=True):
    asked = fraction * len(splits)
    if abs(count - asked) > 1.0:
      print(
        f'note: {name} has {count} proteins in place of {asked:.1f}, as clusters stay whole and '
        f'the largest has {sizes.max()}: a higher --max_identity makes them smaller'
      )


def _warn(crossings: Sequence[protein_clusters.Crossing], max_identity: float) -> None:
  above = [crossing for crossing in crossings if crossing.identity > max_identity]
  if above:
    print(
      f'warning: {len(above)} pairs of proteins in different splits are above {max_identity:g}; '
      'the splits stay as they were given. The most alike:',
      *above[:_MOST_NAMES],
      sep='\n  ',
      file=sys.stderr,
    )


def _write(
  proteins: Sequence[protein_clusters.ProteinSummary],
  splits: Mapping[str, str],
  cluster: np.ndarray,
  file: pathlib.Path,
  store_path: str | os.PathLike,
) -> None:
  # The list appears only once the store agrees with it.
  with files.aside(file) as new:
    with new.open('w', newline='', encoding='utf-8') as handle:
      table = csv.writer(handle, lineterminator='\n')
      table.writerow(_COLUMNS)
      for protein, number in zip(proteins, cluster, strict=True):
        table.writerow((protein.name, splits[protein.name], number + 1, protein.length))
    with store.StoreWriter(store_path) as writer:
      changed = writer.assign_splits(splits)
  print(f'{os.fspath(store_path)}: {changed} entries changed their split; list: {file}')
