r"""Prepares MD trajectories of one protein for training.

    tempo-jax prepare trajectories --topology=2jof.pdb --trajectories=R1.xtc,R2.xtc \
        --store=stores/2jof --temperature_K=320

Each file is one replica, in any format that mdtraj reads (XTC, TRR, DCD, HDF5, NetCDF, multi-model
PDB, ...), and may be larger than memory. Positions are stored as they are: molecules may tumble,
since training superposes its windows, but must be whole. Every frame is checked for that, which
also reveals a topology with another order of atoms, and coordinates in wrong units.

Several files are prepared at once, and a bad file does not stop the others. Run again, the command
skips what is in the store.
"""

from absl import flags

from tempo_jax.cli import command, prepare_flags, worker_flags
from tempo_jax.preparation import trajectories
from tempo_jax.protein.protein import SOLVENTS
from tempo_jax.store.entry import SPLITS


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'topology',
    None,
    'Structure with the atoms of the trajectories in their order: PDB, GRO, HDF5, PRMTOP, PSF, '
    '... Its coordinates, if it has any, say which residues are bonded. Required.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'trajectories',
    None,
    'Trajectory files, comma-separated, each one replica: any format that mdtraj reads. Required.',
    flag_values=values,
  )
  prepare_flags.define_store(values)
  flags.DEFINE_string(
    'name',
    None,
    'Name of the protein in the store. Default: that of the topology file.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'dt_ns',
    None,
    'Time between two frames, ns. Default: from the file. Needed for formats without times (DCD, '
    'PDB, XYZ, ...); where a file has times, this overrides them.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'temperature_K',
    300.0,
    'Temperature of the simulation, K; the model is conditioned on it.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'replica',
    1,
    'Number of the first trajectory; the others count on from it.',
    lower_bound=0,
    flag_values=values,
  )
  flags.DEFINE_enum(
    'split',
    'train',
    SPLITS,
    'What the trajectories are for.',
    flag_values=values,
  )
  flags.DEFINE_enum(
    'solvent',
    'unknown',
    SOLVENTS,
    'What surrounded the protein: water molecules (explicit) or a continuum (implicit).',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'overwrite',
    False,
    'Replace trajectories of the same name, temperature and replica number.',
    flag_values=values,
  )
  worker_flags.define_flags(values)


def main(values: flags.FlagValues) -> int:
  """From the flags to `prepare`."""
  command.require(values, 'topology', 'trajectories', 'store')
  code = trajectories.prepare(
    values.topology,
    values.trajectories,
    values.store,
    name=values.name,
    dt_ns=values.dt_ns,
    temperature_K=values.temperature_K,
    replica=values.replica,
    split=values.split,
    solvent=values.solvent,
    overwrite=values.overwrite,
    num_workers=values.num_workers,
    scheduler=values.scheduler,
  )
  if not values['temperature_K'].present:
    print(f'note: stored as {values.temperature_K:g} K; say otherwise with --temperature_K')
  return code
