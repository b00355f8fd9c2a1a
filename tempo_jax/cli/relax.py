r"""Makes frames of a trajectory into structures from which MD may start.

    pip install 'tempo-jax[simulate]'
    tempo-jax relax --topology=FILE --trajectory=FILE --out=DIR

Hydrogens are placed at a pH, ends and disulphides completed, overlaps relieved, and the energy is
minimised in ff14SB and implicit solvent (OBC2) with the backbone held near its place. A frame is
refused, and the others go on, where a centre has the wrong hand, a peptide changes between cis and
trans, a bond passes through a ring, a CA moves by more than 1 Å, or MD blows up (--md_ps). After
an interruption the same command goes on. Files in --out:

    frame_0012.pdb   all atoms of frame 12, minimised; for MD in any force field
    relax.csv        of each frame: energies, how far CA moved, what is wrong with it
    metadata.json    settings, force field, protonation, versions
"""

import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from absl import flags

from tempo_jax.cli import command
from tempo_jax.errors import InputError
from tempo_jax.relaxation import relax, table


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  default = table.Settings()
  command.define_topology_flag(values)
  flags.DEFINE_string(
    'trajectory',
    None,
    'Trajectory file with all heavy atoms, of any format that mdtraj reads; hydrogens are placed '
    'anew. Molecules must be whole. Required.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'out', None, 'Directory to write into. Default: tempo_out/NAME_relaxed.', flag_values=values
  )
  flags.DEFINE_list(
    'frames',
    [],
    'Frames to relax, comma-separated, numbered from 0; -1 is the last one. Default: --clusters.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'clusters',
    10,
    'Relax so many representative frames: the middles of clusters by CA RMSD (Ward; of '
    'at most 2,000 evenly spaced frames), which relax.csv gives the populations of.',
    lower_bound=1,
    flag_values=values,
  )
  flags.DEFINE_float(
    'pH', default.pH, 'pH that decides which residues are protonated.', flag_values=values
  )
  flags.DEFINE_float(
    'md_ps',
    default.md_ps,
    'Try each frame with so much MD, ps, whose atoms are not kept.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'temperature_K', default.temperature_K, 'Temperature of that MD, K.', flag_values=values
  )
  flags.DEFINE_integer('seed', default.seed, 'Of that MD.', lower_bound=0, flag_values=values)
  flags.DEFINE_enum(
    'platform',
    'auto',
    ['auto', 'CPU', 'CUDA', 'OpenCL'],
    'Where OpenMM computes; auto is CUDA, else OpenCL, else CPU.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'num_threads',
    None,
    'Threads on the CPU platform. Default: one per 200 atoms, all cores at most.',
    lower_bound=1,
    flag_values=values,
  )
  flags.DEFINE_bool(
    'overwrite', False, 'Replace --out if an earlier run has written it.', flag_values=values
  )


def main(values: flags.FlagValues) -> int:
  """From the flags to `relax`."""
  command.require(values, 'topology', 'trajectory')
  if values['frames'].present and values['clusters'].present:
    raise InputError('--frames and --clusters: give one of them')
  name = pathlib.Path(values.trajectory).name.split('.')[0]
  out = values.out or f'tempo_out/{name}_relaxed'
  rows = relax.relax(
    values.topology,
    values.trajectory,
    out,
    frames=_numbers(values.frames),
    clusters=values.clusters,
    settings=table.Settings(
      pH=values.pH,
      md_ps=values.md_ps,
      temperature_K=values.temperature_K,
      seed=values.seed,
    ),
    platform=values.platform,
    num_threads=values.num_threads,
    overwrite=values.overwrite,
  )
  return _summarize(rows, out)


def _numbers(texts: Sequence[str]) -> list[int]:
  try:
    return [int(text) for text in texts]
  except ValueError:
    raise InputError(
      f'--frames={",".join(texts)}: give whole numbers with commas between them, e.g. 0,10,-1'
    ) from None


def _summarize(rows: Sequence[table.Row], out: str) -> int:
  """Prints what became of the frames; the exit code is 1 if some were refused."""
  for row in rows:
    if not row.ok:
      print(f'error: frame {row.frame}: {row.problem}', file=sys.stderr)
  good = [row for row in rows if row.ok]
  line = f'{len(good)} of {len(rows)} frames are relaxed'
  if good:
    energies = np.array([row.energy_per_residue_kJ_per_mol for row in good], float)
    moves = np.array([row.ca_rms_A for row in good], float)
    line += (
      f': {energies.mean():.1f} ± {energies.std():.1f} kJ/mol per residue, CA moved by '
      f'{moves.mean():.2f} Å'
    )
  print(line)
  print(f'written to {out}')
  return 0 if len(good) == len(rows) else 1
