"""Our own simulations as a store: what the bundled model learns from, and what it is judged by."""

import collections
import pathlib
import re
from collections.abc import Sequence

from data_prep import public_md
from data_prep.training_systems import SYSTEMS
from tempo_jax.errors import InputError
from tempo_jax.preparation import trajectories
from tempo_jax.preparation.simulation import checkpoint as simulation_checkpoint
from tempo_jax.store import store as store_lib
from tempo_jax.store.entry import SPLITS


def split_of(folder: str, number: int) -> str:
  """What a replica is for: 'train', 'validation' (held-out replicas) or 'test' (proteins).

  Args:
    folder: its directory's name, NAME or NAME_350K.
    number: of the replica.

  Raises:
    InputError: there is no such system.
  """
  system = next((s for s in SYSTEMS if re.fullmatch(rf'{s.name}(_\d+K)?', folder)), None)
  if system is None:
    raise InputError(f'{folder} is no directory of a system of data_prep/training_systems.py')
  if system.held_out:
    return 'test'
  held_out = folder == system.name and number in system.held_out_replicas
  return 'validation' if held_out else 'train'


def build(
  simulated: pathlib.Path,
  store: pathlib.Path,
  public: pathlib.Path | None = None,
  leave_out: Sequence[str] = (),
) -> None:
  """Writes every replica, with its split, into a store.

  Args:
    simulated: with NAME/NAME.pdb, NAME/NAME_R1.xtc, NAME/NAME_R1.json, NAME_350K/...
    store: directory of the store; replicas that it holds already are replaced.
    public: with MD of others (`public_md`); None: without.
    leave_out: names of systems that are not written, at any temperature, to be kept for testing.
      Others of the same sequence stay unless they are named, too.

  Raises:
    InputError: there are no replicas, one of them cannot be used, a name in `leave_out` is not
      known, nothing is left, or the store holds others, which would be trained on.
  """
  records = sorted(simulated.glob('*/*_R*.json'))
  if not records:
    raise InputError(f'{simulated}: no NAME/NAME_R1.json in it: give another --simulated')
  known = {_name(path) for path in records}
  known |= set() if public is None else {md.name for md in public_md.SETS}
  if unknown := sorted(set(leave_out) - known):
    raise InputError(
      f'--leave_out={",".join(unknown)}: not among the proteins, {", ".join(sorted(known))}'
      f'{" (without --public)" * (public is None)}'
    )
  if not known - set(leave_out):
    raise InputError('--leave_out leaves nothing to train on')
  records = [path for path in records if _name(path) not in leave_out]
  counts: collections.Counter[str] = collections.Counter()
  written = set()
  for path in records:
    record = simulation_checkpoint.read_json(path)
    number = int(path.stem.rpartition('_R')[2])
    split = split_of(path.parent.name, number)
    trajectories.prepare(
      path.parent / f'{record["name"]}.pdb',
      [path.with_suffix('.xtc')],
      store,
      temperature_K=record['temperature_K'],
      replica=number,
      split=split,
      solvent='implicit',
      overwrite=True,
      num_workers=1,
    )
    counts[split] += 1
    written.add((record['name'], float(record['temperature_K']), number))
  added = [] if public is None else public_md.add(public, store, leave_out)
  for name, temperature_K, number, split in added:
    counts[split] += 1
    written.add((name, temperature_K, number))
  others = [
    entry.key
    for entry in store_lib.Store(store).entries
    if (entry.name, entry.temperature_K, entry.replica) not in written
  ]
  if others:
    raise InputError(
      f'{store}: holds {", ".join(others)}, which would be trained on, too: give a new --store'
      f'{", or --public" * (public is None)}'
    )
  print(f'{store}: ' + ', '.join(f'{counts[key]} {key}' for key in SPLITS))


def _name(record: pathlib.Path) -> str:
  """Of the system, from NAME_R1.json; its folder may name a temperature, too."""
  return record.stem.rpartition('_R')[0]
