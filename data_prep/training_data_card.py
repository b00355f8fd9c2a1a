"""The data card of our own simulations: what is in data_prep/simulated, read from its files."""

import pathlib
from typing import Any

from data_prep import training_store
from data_prep.training_systems import SYSTEMS
from tempo_jax import files
from tempo_jax.evaluation import markdown
from tempo_jax.preparation.simulation import checkpoint as simulation_checkpoint

_TEXT = """\
# Molecular dynamics of small proteins, simulated by us

{summary}

Written by `python -m data_prep.default_training_data --card`: do not edit.

- Made with `tempo-jax prepare simulate`: AMBER ff14SB, OBC2 implicit solvent without salt or
  cutoff, Langevin dynamics (1/ps), hydrogens of 3 amu, time steps of 4 fs. The first 50 ps are
  equilibration and are discarded.
- Replicas are {shortest:g} to {longest:g} ns long and start from the same structure. They show
  motion about the start and, for the smallest peptides, folding and unfolding, but no equilibrium.
  Motion is faster than in water, since the thermostat is the only source of friction.
- An earlier script with the same settings made cln025, 2jof and fs_unf at 320 K; with a cutoff of
  1.6 nm it made R1 and R2 of hp35, and R1 of 2m9i and ehee0053.
- The trajectories have the licence of this repository (Apache-2.0). Structure files of others from
  which they start are not included; the table names their source. Those of Tsuboyama et al. are
  designs of the mega-scale data set (Nature 2023, 620, 434).

## Contents

{table}

NAME.pdb is the topology of the XTC files: heavy atoms of protein and caps at t = 0 of replica 1.
NAME_R1.xtc has a frame every 10 ps, the first at 10 ps; NAME_R1.json has all parameters and seeds.
In a record, `replica` is the number that the replica had where it was simulated. A longer replica
replaces a shorter one, whose frames it repeats.

## Related proteins

Mind these when you split: gb1_hairpin (protein G, 41-56) resembles the last 16 residues of nug2;
fs and fs_unf are one peptide and, like aaqaa3, an alanine-rich helix; ehee0053 (held out) and
eehee1049 are designs of the same kind, with 38 % of the aligned residues identical.

## Make a store

```bash
python -m data_prep.default_training_data --store=STORE
```

The store holds all replicas with their splits: "train"; "validation", the replicas that the table
calls held out; "test", the held-out proteins. `tempo-jax prepare inspect --store=STORE` lists its
contents.

## Simulate more

```bash
pip install -e '.[simulate]'
python -m data_prep.default_training_data --seed=1 --out=runs/more_data --max_minutes=90
python -m data_prep.default_training_data --card
```

The second command starts from NAME.pdb, or builds a structure from the sequence. It continues when
called again, and numbers its replicas after the existing ones. To extend the existing replicas,
pass the --out in which they were made, with its checkpoints. `--list` shows the table of runs.
"""


def write(simulated: pathlib.Path) -> None:
  """Writes README.md into the directory.

  Args:
    simulated: with NAME/NAME_R1.json, ...
  """
  files.write_text(simulated / 'README.md', render(simulated))


def render(simulated: pathlib.Path) -> str:
  """The card of a directory with NAME/NAME_R1.json, ... and their trajectories."""
  folders = {}
  for folder in sorted(path for path in simulated.iterdir() if path.is_dir()):
    records = [simulation_checkpoint.read_json(file) for file in folder.glob('*_R*.json')]
    if records:
      folders[folder] = records
  every = [record for records in folders.values() for record in records]
  if not every:
    return _TEXT.format(summary='Nothing yet.', table='', shortest=0.0, longest=0.0)
  lengths = [record['length_ns'] for record in every]
  size = sum(_size(folder) for folder in folders) / 2**20
  # One of them starts from two conformations.
  systems = {system.name: system for system in SYSTEMS}
  known = [systems.get(record['name']) for record in every]
  proteins = {x.sequence if x else record['name'] for x, record in zip(known, every, strict=True)}
  residues = [
    x.num_residues if x else record['n_residues'] for x, record in zip(known, every, strict=True)
  ]
  summary = (
    f'{len(proteins)} proteins, {len(every)} replicas, {sum(lengths):.1f} ns, '
    f'{sum(record["n_frames"] for record in every)} frames, {size:.1f} MiB; '
    f'{min(residues)} to {max(residues)} residues.'
  )
  return _TEXT.format(
    summary=summary, table=_table(folders), shortest=min(lengths), longest=max(lengths)
  )


def _table(folders: dict[pathlib.Path, list[dict[str, Any]]]) -> str:
  systems = {system.name: system for system in SYSTEMS}
  header = [
    'folder',
    'residues',
    'fold',
    'K',
    'replicas',
    'held out',
    'ns',
    'frames',
    'MiB',
    'start',
  ]
  rows = []
  for folder, records in folders.items():
    first = records[0]
    system = systems.get(first['name'])
    rows.append(
      (
        folder.name,
        system.num_residues if system else first['n_residues'],
        system.fold if system else '',
        f'{first["temperature_K"]:g}',
        len(records),
        _held_out(folder),
        f'{sum(record["length_ns"] for record in records):.2f}',
        sum(record['n_frames'] for record in records),
        f'{_size(folder) / 2**20:.2f}',
        system.source if system else first.get('source_file', ''),
      )
    )
  # Small ones first; a protein's temperatures together.
  rows.sort(key=lambda row: (row[1], row[0]))
  return markdown.table(header, rows).rstrip()


def _held_out(folder: pathlib.Path) -> str:
  numbers = sorted(int(path.stem.rpartition('_R')[2]) for path in folder.glob('*_R*.json'))
  held_out = [n for n in numbers if training_store.split_of(folder.name, n) != 'train']
  return 'all' if held_out == numbers else ', '.join(f'R{n}' for n in held_out)


def _size(folder: pathlib.Path) -> int:
  return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
