r"""Simulates one protein with OpenMM, for `prepare trajectories`.

    pip install 'tempo_jax[simulate]'
    tempo-jax prepare simulate --structure=1l2y.pdb --out=runs/1l2y --length_ns=100

ff14SB in implicit (OBC2) or explicit (TIP3P) solvent, 4-fs steps. After an interruption, even by
SIGKILL, the same command continues; with a larger --length_ns it extends finished replicas. Files
in --out, with the name of the structure file:

    NAME_prepared.pdb      all atoms, after minimisation;  NAME_prepared.json  how they were made
    NAME.pdb               heavy atoms of the protein at t = 0 of replica 1: topology of the XTCs
    NAME_R2_start.pdb      t = 0 of replica 2, ...
    NAME_R1.xtc            frames from --frame_ps on; NAME_R1.partial.xtc until it is finished
    NAME_R1.json           every parameter, seed and check
    NAME_R1.checkpoint.gz  from which the simulation continues
"""

import dataclasses
import re
import shlex
import sys
from typing import Any

from absl import flags

from tempo_jax.cli import command
from tempo_jax.preparation.simulation import simulate, stopping


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  default = simulate.Settings()
  flags.DEFINE_string(
    'structure',
    None,
    'PDB or mmCIF file, also gzipped; model 1 counts. Required.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'out',
    None,
    'Directory for the results; an interrupted simulation in it goes on. Required.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'length_ns',
    None,
    'Length of each replica, ns, without equilibration; a multiple of --frame_ps. A larger one '
    'makes finished replicas longer. Required.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'frame_ps',
    default.frame_ps,
    'Time between frames, ps; the first frame is at this time.',
    flag_values=values,
  )
  flags.DEFINE_float('temperature_K', default.temperature_K, 'Temperature, K.', flag_values=values)
  flags.DEFINE_integer(
    'num_replicas',
    1,
    'Replicas, which differ in their random numbers.',
    lower_bound=1,
    flag_values=values,
  )
  flags.DEFINE_integer(
    'seed',
    default.seed,
    'All random numbers of all replicas follow from it.',
    lower_bound=0,
    flag_values=values,
  )
  flags.DEFINE_enum(
    'solvent',
    default.solvent,
    ['implicit', 'explicit'],
    'implicit: OBC2, no salt. explicit: TIP3P, 0.15 M NaCl, 1 bar; ten times slower and more.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'pH', default.pH, 'pH that decides which residues are protonated.', flag_values=values
  )
  flags.DEFINE_float(
    'equilibration_ps',
    default.equilibration_ps,
    'Simulated after minimisation and before the time 0, ps.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'chains',
    [],
    "Author's ids of the chains to simulate, comma-separated. Default: all of protein.",
    flag_values=values,
  )
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
    'Threads on the CPU platform. Default: all cores, but in implicit solvent one per 200 atoms.',
    lower_bound=1,
    flag_values=values,
  )
  flags.DEFINE_float(
    'checkpoint_s',
    20.0,
    'Wall time from checkpoint to checkpoint, s: what a killed process loses at most.',
    lower_bound=0.0,
    flag_values=values,
  )
  flags.DEFINE_bool(
    'overwrite', False, 'Remove an earlier simulation of that name, begin anew.', flag_values=values
  )


def main(values: flags.FlagValues) -> int:
  """From the flags to `simulate`."""
  command.require(values, 'structure', 'out', 'length_ns')
  simulate.require_openmm()

  given: dict[str, Any] = {
    f.name: values[f.name].value for f in dataclasses.fields(simulate.Settings)
  }
  settings = simulate.Settings(**(given | {'chains': ','.join(values.chains)}))
  try:
    files = simulate.simulate(
      values.structure,
      values.out,
      length_ns=values.length_ns,
      settings=settings,
      num_replicas=values.num_replicas,
      platform=values.platform,
      num_threads=values.num_threads,
      checkpoint_s=values.checkpoint_s,
      overwrite=values.overwrite,
    )
  except stopping.StoppedError as stopped:
    print(stopped, file=sys.stderr)
    return 128 + stopped.signal_number
  name = re.sub(r'_R\d+\.xtc$', '', files[0].name)
  following = [
    *('tempo-jax', 'prepare', 'trajectories'),
    f'--topology={files[0].with_name(name + ".pdb")}',
    f'--trajectories={",".join(map(str, files))}',
    f'--store=stores/{name}',
    f'--temperature_K={values.temperature_K:g}',
    f'--solvent={values.solvent}',
  ]
  print(f'To add it to a store:\n  {shlex.join(following)}')
  return 0
