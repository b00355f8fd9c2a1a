"""Fills in the fine motion between the frames of a coarse trajectory.

    tempo-jax upsample --topology=FILE --coarse_trajectory=FILE

The file says how far apart its frames are; --coarse_dt_ns says it where the format has no times.
--dt_ns is the time between the frames that are written; the other is a whole multiple of it.
The bundled model takes any times from 0.01 to 5 ns (default of --dt_ns: 0.01); a model with a time
step per level takes the spacing of a coarse level, and writes frames of its finest.

A model with anchors (config.model.anchors = 'both', as the bundled one) fills in what lies between
the frames: two frames, 0.2 ns apart, give 20 at 0.01 ns, the last of which is the second of the
two. So a file of a start and an end structure becomes a path from one to the other. Each coarse
frame is superposed on the one before it. A model without anchors goes on from each frame up to the
time of the next one; the coarse frames themselves are not among what it writes.

Writes into --out what `tempo-jax sample` writes; topology.pdb is the first coarse frame.
"""

import dataclasses
import pathlib
import time

import jax
import mdtraj
import numpy as np
from absl import flags

from tempo_jax.cli import command, compilation_cache_flag, execution, run_record, sampling_flags
from tempo_jax.errors import InputError
from tempo_jax.metrics import validity
from tempo_jax.models import model as model_lib
from tempo_jax.output import staging, trajectory_files
from tempo_jax.protein import frame_faults
from tempo_jax.trajectory import backbone_atoms, reader, times
from tempo_jax.trajectory import structure as structure_lib
from tempo_jax.trajectory import trajectory as trajectory_lib

_FLAGS = (
  *(
    'topology',
    'coarse_trajectory',
    'coarse_dt_ns',
    'dt_ns',
    'stride',
    'model',
    'temperature_K',
    'seed',
  ),
  *('out', 'format', 'atoms', 'report', 'overwrite', 'segment_batch_size', 'passes'),
  'precision',
)


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  command.define_topology_flag(values)
  flags.DEFINE_string(
    'coarse_trajectory',
    None,
    'One trajectory file, of any format that mdtraj reads; molecules must be whole. Required.',
    flag_values=values,
  )
  define_time_flags(values, 'coarse_dt_ns')
  sampling_flags.define_step_flag(values)
  sampling_flags.define_flags(values)


def define_time_flags(values: flags.FlagValues, name: str = 'dt_ns') -> None:
  """Defines the flags that say how far apart the frames of a file are; the first has that name."""
  flags.DEFINE_float(
    name,
    None,
    'Time between two frames of the file, ns; the first is taken to be at this time. Default: '
    'from the file. Needed for formats without times (DCD, PDB, ...); elsewhere it overrides them.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'stride', 1, 'Take every N-th frame of the file only.', lower_bound=1, flag_values=values
  )


def check_time_flags(values: flags.FlagValues, name: str = 'dt_ns') -> None:
  """Raises `InputError` for times that cannot be."""
  dt_ns = values[name].value
  if dt_ns is not None and not 0.0 < dt_ns < np.inf:
    raise InputError(f'--{name}={dt_ns}: give a number above zero')


def upsample(values: flags.FlagValues) -> pathlib.Path:
  """Does what the flags say.

  Returns:
    The output directory.

  Raises:
    InputError: something that the user gave is wrong; nothing was written then.
  """
  started = time.monotonic()
  command.require(values, 'topology', 'coarse_trajectory')
  sampling_flags.check_flags(values)
  check_time_flags(values, 'coarse_dt_ns')
  coarse = read_coarse(
    values.topology,
    values.coarse_trajectory,
    values.coarse_dt_ns,
    values.stride,
    'coarse_trajectory',
    'coarse_dt_ns',
  )
  protein = coarse.protein
  model = sampling_flags.load_model(values, values.dt_ns).between(coarse.dt_ns)
  atoms = model.atoms(values.atoms)
  upsampler = model.upsampler(coarse.dt_ns, values.segment_batch_size, atoms)
  name = pathlib.Path(values.coarse_trajectory).stem
  out = pathlib.Path(values.out or f'tempo_out/{name}_upsampled')
  with staging.output_directory(out, trajectory_files.FILE_NAMES, values.overwrite) as folder:
    run_record.describe(model, protein, values.topology, values.temperature_K, atoms)
    between = model.config.anchors == 'both'
    num_frames = (coarse.num_frames - between) * round(coarse.dt_ns / model.dt_ns)
    print(
      f'{coarse.num_frames} coarse frames {coarse.dt_ns:g} ns apart -> {num_frames} frames '
      f'{model.dt_ns:g} ns apart, at {values.temperature_K:g} K'
    )
    given, rng = np.asarray(coarse.positions[0]), jax.random.key(values.seed)
    chi: tuple[np.ndarray, ...] = ()
    if model.has_side_chains:
      known = None if coarse.chi is None else coarse.chi[0]
      completed = model.complete_side_chains(
        protein, given, known, coarse.dt_ns, rng, values.temperature_K
      )
      chi = (model_lib.padded_chi(completed),)
    positions, seconds = execution.compute(
      upsampler,
      model.params,
      model_lib.padded(protein),
      model_lib.padded_positions(given),
      rng,
      values.temperature_K,
      *chi,
    )
    positions = positions[:, : protein.num_residues]
    run_record.check_finite(model, positions, 0, num_frames)
    trajectory = trajectory_lib.Trajectory.of_atoms(
      positions[None],
      trajectory_files.idealised(protein),
      model.dt_ns,
      float(coarse.time_ns[0]) + model.dt_ns,
    )
    frames = trajectory_files.write(folder, trajectory, values.format)
    settings = {name: values[name].value for name in _FLAGS}
    outline = trajectory_files.Outline.of(trajectory, values.format)
    run_record.complete(folder, outline, frames, model, seconds, settings, started)
  print(f'written to {out}')
  return out


def read_coarse(
  topology: str,
  file: str,
  dt_ns: float | None = None,
  stride: int = 1,
  flag: str = 'coarse_trajectory',
  dt_flag: str = 'dt_ns',
) -> trajectory_lib.Trajectory:
  """Reads and checks the frames of a trajectory.

  Args:
    topology: file with the atoms.
    file: the trajectory.
    dt_ns: time between two frames of the file, ns; None: as it says.
    stride: take every so many frames.
    flag: that names the file.
    dt_flag: that says the time.

  Raises:
    InputError: a file cannot be read, or the two do not belong together; the frames are not
      evenly spaced, or have no times; molecules are not whole.
  """
  for name, path in (('topology', topology), (flag, file)):
    if not pathlib.Path(path).is_file():
      raise InputError(f'{path}: no such file: correct --{name}')
  structure = reader.load_structure(topology, file)
  coarse_file = reader.TrajectoryFile(file, structure.topology, topology)
  if dt_ns is not None and (said := coarse_file.contradiction(dt_ns, dt_flag)):
    print(f'warning: {said}')
  frames = coarse_file.read(stride)
  _check_whole(frames, structure, topology, file)
  if dt_ns is None and not times.has_times(frames):
    raise InputError(
      f'{file}: its format has no times: give the time between frames by --{dt_flag}'
    )
  name = pathlib.Path(topology).name.split('.')[0]
  if dt_ns is None:
    coarse = trajectory_lib.Trajectory.from_mdtraj(frames, name, structure=structure)
  else:
    coarse = trajectory_lib.Trajectory.from_mdtraj(frames, name, dt_ns * stride, structure)
    coarse = dataclasses.replace(coarse, start_ns=dt_ns)
  _check_whole(frames, structure.moved(10.0 * frames.xyz[0]), file, file)
  return coarse


def _check_whole(
  frames: mdtraj.Trajectory, structure: structure_lib.Structure, source: str, file: str
) -> None:
  """Raises where a bond of the structure is none in a frame: the periodic box cuts the molecule,
  or the atoms are in another order.
  """
  protein, atom_index = backbone_atoms.select(structure, source)
  positions = backbone_atoms.positions(frames, protein, atom_index)
  bonds = protein.arrays.bonds
  broken = validity.is_broken(
    *validity.ca_ca_range(positions, bonds), validity.c_n_max(positions, bonds)
  )
  if np.any(broken):
    raise InputError(
      f'{file}: ' + frame_faults.of_chain(positions, broken, bonds, topology='--topology')
    )


def main(values: flags.FlagValues) -> None:
  """From the flags to `upsample`."""
  compilation_cache_flag.use(values)
  upsample(values)
