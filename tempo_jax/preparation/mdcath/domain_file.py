"""One file of mdCATH -> entries of a store, one for each replica.

The layout, `mdcath-only-protein-v1.0`: /DOMAIN holds the text `pdbProteinAtoms`, whose lines are in
the order of the coordinates; /DOMAIN/TEMPERATURE/REPLICA holds `coords` [F, N, 3] Å and `box`
[3, 3] nm. The temperature group is called `320` or, in older files, `sims320K`; replica groups may
be empty; attributes that name units are not to be relied on. Coordinates are raw: molecules
tumble, and may be broken over the periodic box; some replicas end in corrupt frames.
Source: https://github.com/compsciencelab/mdCATH; Mirarchi et al., Sci. Data 11, 1299 (2024).
"""

import collections
import dataclasses
import pathlib
import re
from typing import TYPE_CHECKING

from tempo_jax import workers
from tempo_jax.errors import InputError
from tempo_jax.preparation.mdcath import replica as mdcath_replica
from tempo_jax.preparation.mdcath import topology as mdcath_topology
from tempo_jax.store import store

if TYPE_CHECKING:
  import h5py

DT_NS = 1.0
TEMPERATURES = (320, 348, 379, 413, 450)  # K
REPLICAS = (0, 1, 2, 3, 4)


@dataclasses.dataclass(frozen=True)
class Selection:
  """What to take of every domain.

  Attributes:
    temperatures: K; None for whatever there is.
    replicas: their numbers; None for whatever there is.
    max_residues: of a longer domain only the first ones are taken; 0 for no limit.
    skip_longer: leave longer domains out instead.
    num_frames: of a longer replica only the first ones are taken; 0 for no limit.
    extend_periodically: repeat a shorter replica from its start until it has `num_frames`.
  """

  temperatures: tuple[int, ...] | None = (320,)
  replicas: tuple[int, ...] | None = (0, 1, 2)
  max_residues: int = 240
  skip_longer: bool = False
  num_frames: int = 400
  extend_periodically: bool = False

  def __post_init__(self):
    for flag, chosen, known in (
      ('temperatures', self.temperatures, TEMPERATURES),
      ('replicas', self.replicas, REPLICAS),
    ):
      if chosen is not None and not (chosen and set(chosen) <= set(known)):
        raise InputError(
          f'--{flag}={",".join(map(str, chosen))}: mdCATH has {", ".join(map(str, known))}: choose '
          'from these, or all'
        )
    if self.max_residues < 0 or self.max_residues == 1:
      raise InputError(f'--max_residues={self.max_residues}: give 2 or more, or 0 for no limit')
    if self.num_frames < 0:
      raise InputError(f'--num_frames={self.num_frames}: give 1 or more, or 0 for no limit')
    if self.extend_periodically and not self.num_frames:
      raise InputError('--extend_periodically: needs --num_frames, up to which to extend')


@dataclasses.dataclass(frozen=True)
class RawDomain:
  """One file, and what to make of it."""

  file: pathlib.Path
  name: str
  selection: Selection
  store: str
  split: str = 'train'
  overwrite: bool = False
  block_frames: int | None = None


def prepare(raw: RawDomain) -> workers.Result:
  """Adds the chosen replicas of one domain to a store.

  The sources of an entry are
    `mdcath_dataset_DOMAIN.h5:320/0`: SHA-256 of the topology, the shape of `coords`, and its first
      and last frame; so a restart passes quickly over what is there already, and would miss only
      a file whose inner frames alone were changed in between;
    `frames`: which frames are taken, so that settings which would make another trajectory of
      them are refused and not passed over.

  Returns:
    What was done; `errors` has a line for each replica that cannot be used.

  Raises:
    InputError: nothing of the file can be used.
  """
  import h5py  # of the extra `prepare`

  selection = raw.selection
  with mdcath_replica.reading(raw.file.name):
    h5 = h5py.File(raw.file, 'r', locking=False)
  with h5:
    with mdcath_replica.reading(raw.file.name):
      domain = mdcath_topology.read(h5, raw.file, raw.name)
      found, lines = _find_replicas(h5[raw.name], raw)
    length = domain.protein.num_residues
    if selection.max_residues and length > selection.max_residues:
      if selection.skip_longer:
        longer = f'longer than --max_residues={selection.max_residues}'
        return workers.Result(raw.name, (f'{raw.name}: {length} residues, {longer}: left out',))
      domain = domain.truncated(selection.max_residues)
    lines = [*(f'{raw.name}: {line}' for line in domain.remarks), *lines]
    writer = store.StoreWriter(raw.store)
    prepared = already = frames = num_bytes = 0
    failed: list[tuple[str, InputError]] = []
    without: list[str] = []
    for temperature, number, group in found:
      try:
        replica = mdcath_replica.Replica(
          group,
          f'{temperature}/{number}',
          domain,
          num_frames=selection.num_frames,
          extend_periodically=selection.extend_periodically,
          block_frames=raw.block_frames,
        )
        entry = store.Entry.of(
          domain.protein,
          temperature_K=temperature,
          replica=number,
          dt_ns=DT_NS,
          sources=replica.sources(),
          split=raw.split,
          solvent='explicit',
          notes=domain.notes,
        )
        added = writer.add(entry, replica.blocks(), raw.overwrite, replica.notes)
      except InputError as error:
        failed.append((f'{temperature}/{number}', error))
        continue
      prepared += added
      already += not added
      if not added and domain.protein.arrays.chi is not None and writer.lacks_chi(entry.key):
        without.append(f'{temperature}/{number}')
      remarks = replica.notes()
      if added:
        frames += replica.num_frames
        num_bytes += replica.num_frames * domain.num_atoms * 12
      if replica.num_frames < selection.num_frames:
        remarks.append(f'{replica.num_frames} frames, fewer than {selection.num_frames}')
      if remarks:
        lines.append(f'{entry.key}: {"; ".join(remarks)}')
  what = f'{domain.protein.num_residues} residues, {prepared} replicas, {frames} frames'
  what += f', {already} replicas there already' if already else ''
  if without:
    lines.append(f'{raw.name}: {", ".join(without)} there already, {store.NO_SIDE_CHAINS}')
  lines = [f'{raw.name}: {what}', *lines]
  return workers.Result(raw.name, tuple(lines), _errors_of(failed), frames, num_bytes)


def _errors_of(failed: list[tuple[str, InputError]]) -> tuple[str, ...]:
  """A line for each cause."""
  lines: dict[str, str] = {}
  others: dict[str, list[str]] = collections.defaultdict(list)
  for key, error in failed:
    cause = error.cause if isinstance(error, mdcath_replica.UnusableError) else str(error)
    if lines.setdefault(cause, str(error)) != str(error):
      others[cause].append(key)
  return tuple(
    line + (f' (the same in {", ".join(others[cause])})' if others[cause] else '')
    for cause, line in lines.items()
  )


def _find_replicas(
  domain: 'h5py.Group', raw: RawDomain
) -> tuple[list[tuple[int, int, 'h5py.Group']], list[str]]:
  """Temperature, K, number and group of the chosen replicas; and what to report."""
  groups = {temperature: domain[key] for temperature, key in temperature_groups(domain).items()}
  found, lines = [], []
  for temperature in raw.selection.temperatures or sorted(groups):
    if temperature not in groups:
      lines.append(f'{raw.name}: nothing at {temperature} K')
      continue
    there = groups[temperature]
    numbers = sorted(int(key) for key in there if key.isdecimal())
    for number in numbers if raw.selection.replicas is None else raw.selection.replicas:
      key = f'{raw.name}/T{temperature}/R{number}'
      if number not in numbers:
        lines.append(f'{key}: no such replica')
        continue
      group = there[f'{number}']
      if not len(group) or ('coords' in group and not group['coords'].shape[0]):
        lines.append(f'{key}: empty, left out')
        continue
      found.append((temperature, number, group))
      said = group.attrs.get('numFrames')
      if said is not None and 'coords' in group and int(said) != group['coords'].shape[0]:
        lines.append(f'{key}: {len(group["coords"])} frames, although its numFrames is {said}')
  return found, lines


def temperature_groups(domain: 'h5py.Group') -> dict[int, str]:
  """Temperature, K -> name of its group, in either spelling."""
  matches = (re.fullmatch(r'(\d+)|sims(\d+)K', key) for key in domain)
  return {int(match[1] or match[2]): match[0] for match in matches if match}
