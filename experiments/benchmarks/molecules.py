r"""Are the frames molecules? Backbone geometry and side chains of a model beside MD's.

    python -m experiments.benchmarks.molecules --data=DATA --out=molecules

Proteins that the bundled model was not trained on: hp35, 2m9i and ehee0053 from our own MD, and,
where DATA has them, BPTI and ubiquitin in explicit solvent. Replicas are sampled from the native
structure; MD is of the same protein and time step, and what depends on the length of a series is
taken from equally many frames of both. Where there are replicas of MD of 4 ns, shorter ones of
data_prep/simulated are left out; so is every replica that is shorter than half of the longest.
With several models (--model=RUN,RUN,RUN), which differ in the seed of training, medians of their
numbers and ranges. --prediction=DIR judges files in place of a model: DIR/NAME/topology.pdb and
DIR/NAME/trajectory*.xtc, as `tempo-jax sample` writes them.

Three tables, chosen by --tables:

    molecules   sampled trajectories beside MD; a number that misses its goal ends in "!"
    frames      side chains placed on 16 backbones of MD, evenly from its first to its last frame
    crystals    side chains placed on 20 crystal structures of DATA that have all atoms: the files
                of --crystals, without those of proteins that were trained on, evenly by name

Side chains are placed by those of the first frame, carried along, by pyfaspr where it is installed,
and by the model where it can.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
import tqdm
from absl import flags

import tempo_jax
from experiments import results
from experiments.benchmarks import (
  covalent_geometry,
  heavy_frames,
  held_out,
  molecule_rows,
  side_chain_placement,
)
from tempo_jax.cli import command, compilation_cache_flag
from tempo_jax.errors import InputError
from tempo_jax.models import model as model_lib
from tempo_jax.output import provenance
from tempo_jax.protein.protein import Protein

_UNFINISHED = held_out.SIMULATED.with_name('unfinished')
_TABLES = ('molecules', 'frames', 'crystals')
_DT_NS = 0.01  # of files in place of a model, unless they have times


def targets(
  simulated: pathlib.Path, unfinished: pathlib.Path | None, data: pathlib.Path | None
) -> list[held_out.Target]:
  """Proteins that were not trained on, with their MD (`held_out.targets`), `unfinished` MD last."""
  found = []
  for target in held_out.targets(simulated, data):
    if target.kind != held_out.REPLICA:
      folder = unfinished / target.name if unfinished else None
      more = sorted(folder.glob(f'{target.name}_R*.xtc')) if folder else []
      found.append(dataclasses.replace(target, reference=(*target.reference, *more)))
  return found


def md_of(target: held_out.Target, dt_ns: float) -> tuple[Protein, heavy_frames.Series]:
  """Its MD at a time step in ns, without replicas that are shorter than half of the longest."""
  protein, md = heavy_frames.read(
    target.topology, target.reference, target.name, dt_ns, target.mean_dt_ns
  )
  longest = max(map(len, md.positions))
  kept = [k for k, x in enumerate(md.positions) if 2 * len(x) >= longest]
  heavy = None if md.heavy_atoms is None else [md.heavy_atoms[k] for k in kept]
  positions = [md.positions[k] for k in kept]
  return protein, dataclasses.replace(md, positions=positions, heavy_atoms=heavy)


def sampled(
  model: model_lib.Model, protein: Protein, target: held_out.Target, values: Any
) -> heavy_frames.Series:
  """Replicas that the model samples from the native structure."""
  found = model.sample(
    protein.in_solvent(target.solvent),
    values.num_frames,
    values.num_replicas,
    rng=jax.random.key(values.seed),
    temperature_K=target.temperature_K,
  )
  heavy = found.heavy_atoms
  return heavy_frames.Series(
    list(np.asarray(found.positions)),
    np.asarray(protein.arrays.residue_type),
    None if heavy is None else list(np.asarray(heavy)),
  )


def predicted(folder: pathlib.Path, name: str, dt_ns: float) -> heavy_frames.Series:
  """Replicas in files, DIR/NAME/topology.pdb and DIR/NAME/trajectory*.

  Raises:
    InputError: a file is not there, or cannot be used.
  """
  files = sorted((folder / name).glob('trajectory*'))
  topology = folder / name / 'topology.pdb'
  if not files or not topology.is_file():
    raise InputError(
      f'{folder / name}: holds no topology.pdb and trajectory files: correct --prediction'
    )
  _, found = heavy_frames.read(topology, files, name, dt_ns)
  return found


def placers(
  model: model_lib.Model | None,
  with_start: bool,
  spacing_ns: float | None = None,
  temperature_K: float = 320.0,
  solvent: str | None = None,
) -> dict[str, side_chain_placement.Placer]:
  """Baselines, and the model where it places side chains.

  Args:
    model: one; None for none.
    with_start: whether the first frame's side chains are given.
    spacing_ns: between frames, ns; None: of single structures.
    temperature_K: K.
    solvent: as `held_out.Target.solvent`; None: not known.
  """
  found = side_chain_placement.placers(with_start)
  if model is None or not model.has_side_chains:
    return found

  def place(protein: Protein, positions: np.ndarray) -> np.ndarray:
    # Without a start, nothing is known of the side chains.
    start = protein if with_start else protein.with_positions(positions[0])
    if solvent is not None:
      start = start.in_solvent(solvent)
    return np.asarray(model.side_chains(start, positions, spacing_ns, temperature_K=temperature_K))

  return found | {'model': side_chain_placement.of_chi(place)}


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_list(
    'model',
    ['default'],
    'Model: "default" or a directory; several, of different seeds; "" for none.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'prediction',
    None,
    'Directory with files in place of a model: NAME/topology.pdb, NAME/trajectory*.xtc.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'simulated', str(held_out.SIMULATED), 'Directory with our MD.', flag_values=values
  )
  flags.DEFINE_string(
    'unfinished',
    str(_UNFINISHED),
    'Directory with more MD of the same proteins, finished or not; "" for none.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'data',
    None,
    'Directory with MD of others (BPTI, ubiquitin) and crystal structures. Default: none.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'crystals',
    'structures/Haddox_*.pdb.gz',
    'Crystal structures, a pattern of paths in DATA.',
    flag_values=values,
  )
  flags.DEFINE_list('tables', ['molecules'], f'Of {", ".join(_TABLES)}.', flag_values=values)
  flags.DEFINE_list('only', [], 'Names of proteins. Default: all.', flag_values=values)
  flags.DEFINE_integer('num_frames', 400, 'Of each replica.', lower_bound=8, flag_values=values)
  flags.DEFINE_integer('num_replicas', 4, 'Of each protein.', lower_bound=1, flag_values=values)
  flags.DEFINE_integer('seed', 0, 'Random seed of the samples.', flag_values=values)
  flags.DEFINE_string(
    'out', 'tempo_out/molecules', 'Files to write, without extension.', flag_values=values
  )
  compilation_cache_flag.define_flags(values)


def of_trajectories(
  models: dict[str, model_lib.Model], chosen: Sequence[held_out.Target], values: Any
) -> tuple[str, dict[str, Any]]:
  """The table of sampled trajectories, and its numbers by protein."""
  within = covalent_geometry.ranges(covalent_geometry.of_md())
  steps = {model.dt_ns for model in models.values()} or {_DT_NS}
  if len(steps) > 1:
    raise InputError(
      f'--model={",".join(values.model)}: their time steps differ: give models of one'
    )
  (dt_ns,) = steps
  found: dict[str, molecule_rows.Both] = {}
  for target in tqdm.tqdm(chosen, unit='protein', disable=None):
    protein, md = md_of(target, dt_ns)
    if values.prediction:
      ours = predicted(pathlib.Path(values.prediction).expanduser(), target.name, dt_ns)
      found[target.name] = molecule_rows.both(ours, md, protein, within, dt_ns)
      continue
    found[target.name] = {}
    for name, model in models.items():
      both = molecule_rows.both(sampled(model, protein, target, values), md, protein, within, dt_ns)
      key = name if len(models) > 1 else 'model'
      found[target.name] |= {'MD': both['MD'], key: both['model']}
  return molecule_rows.table(found), found


def on_frames(
  model: model_lib.Model | None, chosen: Sequence[held_out.Target]
) -> tuple[str, dict[str, Any]]:
  """The table of side chains placed on frames of the first replica of MD of each protein."""
  found = {}
  for target in chosen:
    protein, md = heavy_frames.read(
      target.topology, target.reference[:1], target.name, mean_dt_ns=target.mean_dt_ns
    )
    if md.heavy_atoms is None:
      raise InputError(f'{target.reference[0]}: lacks atoms of side chains: leave it out by --only')
    (every,) = md.heavy_atoms
    frames = every[side_chain_placement.evenly(side_chain_placement.NUM_FRAMES, len(every))]
    spacing_ns = None
    if md.dt_ns is not None:
      spacing_ns = md.dt_ns * (len(every) - 1) / max(len(frames) - 1, 1)
    placed = placers(model, True, spacing_ns, target.temperature_K, target.solvent)
    found[target.name] = side_chain_placement.on_frames(protein, frames, placed)
  return side_chain_placement.table(found), found


def on_crystals(
  model: model_lib.Model | None, files: Iterable[pathlib.Path]
) -> tuple[str, dict[str, Any]]:
  """The table of side chains placed on crystal structures, means over them."""
  chosen = side_chain_placement.structures(files)
  if not chosen:
    raise InputError('no crystal structure has all of its atoms: correct --data or --crystals')
  every, found = placers(model, False), {}
  for protein, heavy_atoms in tqdm.tqdm(chosen, unit='structure', disable=None):
    found[protein.name] = side_chain_placement.on_structure(protein, heavy_atoms, every)
  title = f'mean of {len(found)} structures'
  return side_chain_placement.table({title: side_chain_placement.mean([*found.values()])}), found


def main(values: Any) -> None:
  """From the flags to the tables."""
  if unknown := sorted(set(values.tables) - set(_TABLES)):
    raise InputError(f'--tables: {", ".join(unknown)} is none of {", ".join(_TABLES)}')
  names = [] if values.prediction else [name for name in values.model if name]
  if not names and not values.prediction and 'molecules' in values.tables:
    raise InputError('--tables=molecules needs --model or --prediction')
  if len(names) > 1 and values.tables != ['molecules']:
    raise InputError('several models: --tables=molecules only')
  compilation_cache_flag.use(values)
  models = {name: tempo_jax.load_model(name) for name in names}
  model = next(iter(models.values()), None)
  data = pathlib.Path(values.data).expanduser() if values.data else None
  more = pathlib.Path(values.unfinished).expanduser() if values.unfinished else None
  every = targets(pathlib.Path(values.simulated).expanduser(), more, data)
  chosen = held_out.choose(every, values.only, 'only')
  texts, content = [], {}
  for name in values.tables:
    text, content[name] = {
      'molecules': lambda: of_trajectories(models, chosen, values),
      'frames': lambda: on_frames(model, chosen),
      'crystals': lambda: on_crystals(model, data.glob(values.crystals) if data else ()),
    }[name]()
    texts.append(text)
    print(text)
  results.write(
    pathlib.Path(values.out).expanduser(),
    '\n'.join(texts),
    model_sha256=[provenance.model_sha256(each) for each in models.values()],
    num_frames=values.num_frames,
    num_replicas=values.num_replicas,
    seed=values.seed,
    **content,
  )


if __name__ == '__main__':
  command.launch(sys.modules[__name__])
