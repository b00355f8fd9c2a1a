"""Puts side chains on the backbones of a trajectory, e.g. of another model.

    tempo-jax side-chains --topology=FILE --trajectory=FILE --out=DIR

Each frame goes on from the one before. The backbone stays as it is. Where the first frame has side
chains of its own, they are where the motion begins.

Writes into --out what `tempo-jax sample` writes; topology.pdb is the first frame.
"""

import dataclasses
import pathlib
import time

import jax
import numpy as np
from absl import flags

from tempo_jax.cli import (
  command,
  compilation_cache_flag,
  execution,
  run_record,
  sampling_flags,
  upsample,
)
from tempo_jax.dynamics import molecule
from tempo_jax.errors import InputError
from tempo_jax.output import staging, trajectory_files
from tempo_jax.trajectory import atoms as atoms_lib
from tempo_jax.trajectory import trajectory as trajectory_lib

_FLAGS = (
  *('topology', 'trajectory', 'dt_ns', 'stride', 'model', 'temperature_K', 'seed'),
  *('out', 'format', 'report', 'overwrite', 'passes', 'precision'),
)

_heavy_atoms = jax.jit(molecule.heavy_atoms)


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  command.define_topology_flag(values)
  flags.DEFINE_string(
    'trajectory',
    None,
    'One trajectory file, of any format that mdtraj reads; molecules must be whole. Required.',
    flag_values=values,
  )
  upsample.define_time_flags(values)
  sampling_flags.define_model_flags(values)


def place(values: flags.FlagValues) -> pathlib.Path:
  """Does what the flags say.

  Returns:
    The output directory.

  Raises:
    InputError: something that the user gave is wrong; nothing was written then.
  """
  started = time.monotonic()
  sampling_flags.check_flags(values)
  upsample.check_time_flags(values)
  given = upsample.read_coarse(
    values.topology, values.trajectory, values.dt_ns, values.stride, 'trajectory'
  )
  protein = given.protein
  model = sampling_flags.load_model(values)
  if not model.has_side_chains:
    raise InputError(f'--model={values.model} draws no side chains: take a model that does')
  name = pathlib.Path(values.trajectory).name.split('.')[0]
  out = pathlib.Path(values.out or f'tempo_out/{name}_side_chains')
  with staging.output_directory(out, trajectory_files.FILE_NAMES, values.overwrite) as folder:
    run_record.describe(model, protein, values.topology, values.temperature_K, atoms_lib.HEAVY)
    print(f'{given.num_frames} frames {given.dt_ns:g} ns apart, at {values.temperature_K:g} K')
    before = time.monotonic()
    progress = execution.ProgressBar(given.num_frames)
    positions = np.asarray(given.positions[0])
    key = jax.random.key(values.seed)
    placed = []
    for chi in model.stream_side_chains(protein, positions, given.dt_ns, key, values.temperature_K):
      placed.append(chi)
      progress.add(len(chi))
    progress.close()
    chi = np.concatenate(placed)
    heavy = np.asarray(_heavy_atoms(positions, chi, protein.arrays))
    run_record.check_finite(model, heavy, 0, given.num_frames)
    start = protein.with_positions(positions[0])
    start = dataclasses.replace(start, arrays=start.arrays.with_chi(chi[0]))
    trajectory = trajectory_lib.Trajectory.of_atoms(
      heavy[None], start, given.dt_ns, float(given.time_ns[0])
    )
    frames = trajectory_files.write(folder, trajectory, values.format)
    settings = {name: values[name].value for name in _FLAGS}
    outline = trajectory_files.Outline.of(trajectory, values.format)
    seconds = execution.Seconds(0.0, time.monotonic() - before)
    run_record.complete(folder, outline, frames, model, seconds, settings, started)
  print(f'written to {out}')
  return out


def main(values: flags.FlagValues) -> None:
  """From the flags to `place`."""
  command.require(values, 'topology', 'trajectory')
  compilation_cache_flag.use(values)
  place(values)
