"""A simulation of one protein, new or continued: settings, files, and how they go together.

`tempo_jax.cli.prepare_simulate` lists the files. This module needs no OpenMM before it simulates.
"""

import dataclasses
import hashlib
import math
import os
import pathlib
import re
import sys
from importlib import metadata
from typing import Any

from tempo_jax import extras, version
from tempo_jax.errors import InputError
from tempo_jax.preparation.simulation import checkpoint as simulation_checkpoint

_FORMAT = 'tempo_jax simulation'


@dataclasses.dataclass(frozen=True)
class Settings:
  """What makes a simulation what it is: who goes on with it must agree in all.

  Attributes:
    temperature_K: K.
    frame_ps: time from frame to frame, ps; a multiple of the time step, 0.004 ps.
    solvent: 'implicit' or 'explicit'.
    pH: that hydrogens are placed for.
    equilibration_ps: time before t = 0, ps.
    chains: author's ids, 'A,B'; '' are all protein chains.
    seed: all random numbers follow from it.
  """

  temperature_K: float = 320.0
  frame_ps: float = 10.0
  solvent: str = 'implicit'
  pH: float = 7.0
  equilibration_ps: float = 50.0
  chains: str = ''
  seed: int = 0


def simulate(
  structure: str | os.PathLike,
  out: str | os.PathLike,
  *,
  length_ns: float,
  settings: Settings | None = None,
  num_replicas: int = 1,
  platform: str = 'auto',
  num_threads: int | None = None,
  checkpoint_s: float = 20.0,
  overwrite: bool = False,
) -> list[pathlib.Path]:
  """Simulates a protein, or goes on with what is in `out`; one replica after the other.

  Args:
    structure: PDB or mmCIF, also gzipped.
    out: directory for the results.
    length_ns: of each replica, ns; a multiple of the time from frame to frame.
    settings: see there.
    num_replicas: they begin with other velocities.
    platform: one of OpenMM's; 'auto' is CUDA, else OpenCL, else CPU.
    num_threads: on the CPU platform; by default as many as pay.
    checkpoint_s: wall time from checkpoint to checkpoint, s: what a killed process loses at most.
    overwrite: begin anew.

  Returns:
    The trajectory files.

  Raises:
    InputError: OpenMM is not installed, the structure cannot be used, `out` holds something else,
      or the simulation blew up.
    simulation_run.StoppedError: SIGINT or SIGTERM came; what there was is saved.
  """
  require_openmm()
  from tempo_jax.preparation.simulation import run as simulation_run
  from tempo_jax.preparation.simulation import system as simulation_system

  settings = settings or Settings()
  step_ps = simulation_system.TIME_STEP_PS
  num_frames, frame_steps = _count_frames(length_ns, settings, step_ps)
  structure, out = pathlib.Path(structure).expanduser(), pathlib.Path(out).expanduser()
  if not structure.is_file():
    raise InputError(f'--structure={structure}: no such file: give a PDB or mmCIF file')
  name = re.sub(r'[^A-Za-z0-9_.+-]+', '_', structure.name.split('.')[0])
  prepared = out / f'{name}_prepared.json'
  try:
    wanted = _wanted(structure, name, settings)
    if overwrite:
      _remove(prepared, structure)
    if not _may_go_on(prepared, wanted):
      _prepare(prepared, structure, wanted, settings, platform, num_threads)
    facts = simulation_checkpoint.read_json(prepared)
    simulated = None
    files = []
    for number in range(1, num_replicas + 1):
      replica = simulation_run.Replica(
        number=number,
        stem=out / f'{name}_R{number}',
        start=out / (f'{name}.pdb' if number == 1 else f'{name}_R{number}_start.pdb'),
        temperature_K=settings.temperature_K,
        num_equilibration_steps=round(settings.equilibration_ps / step_ps),
        frame_steps=frame_steps,
        num_frames=num_frames,
        seed=settings.seed,
        platform=platform,
        num_threads=num_threads,
        checkpoint_s=checkpoint_s,
        metadata=facts,
      )
      files.append(replica.file('.xtc'))
      if simulation_run.is_finished(replica):
        print(f'{replica.stem.name}: there already, skipped')
        continue
      if simulated is None:
        atoms = simulation_system.read_pdb(prepared.with_suffix('.pdb'))
        simulated = simulation_system.build(*atoms, settings.solvent, settings.temperature_K)
      done = simulation_run.run(replica, simulated)
      print(
        f'{replica.stem.name}: {done["n_frames"]} frames, {done["length_ns"]:g} ns, '
        f'{done["ns_per_day"]:g} ns/day',
        flush=True,
      )
  except OSError as error:
    where = error.filename or out
    raise InputError(
      f'cannot read or write {where}: {error.strerror or error}: free space, or give another --out'
    ) from error
  return files


def require_openmm() -> None:
  """Raises InputError if the extra `simulate` is not installed."""
  for library in ('openmm', 'pdbfixer'):
    extras.require(library, 'simulate')


def _count_frames(length_ns: float, settings: Settings, step_ps: float) -> tuple[int, int]:
  """Number of frames, and steps from one to the next."""
  for flag, value, above in (
    ('length_ns', length_ns, 0.0),
    ('frame_ps', settings.frame_ps, 0.0),
    ('temperature_K', settings.temperature_K, 0.0),
    ('equilibration_ps', settings.equilibration_ps, -1.0),
    ('pH', settings.pH, -1.0),
  ):
    if not above < value < math.inf:
      raise InputError(
        f'--{flag}={value}: give a number {"above" if above == 0.0 else "from"} zero'
      )
  frame_steps = round(settings.frame_ps / step_ps)
  if frame_steps < 1 or abs(frame_steps * step_ps - settings.frame_ps) > 1e-6:
    raise InputError(
      f'--frame_ps={settings.frame_ps:g} is not a multiple of the time step of {step_ps:g} ps: '
      f'give e.g. {max(frame_steps, 1) * step_ps:g}'
    )
  num_frames = round(1000.0 * length_ns / settings.frame_ps)
  if num_frames < 1 or abs(num_frames * settings.frame_ps - 1000.0 * length_ns) > 1e-6:
    raise InputError(
      f'--length_ns={length_ns:g} is not a multiple of --frame_ps={settings.frame_ps:g}: give '
      f'e.g. {max(num_frames, 1) * settings.frame_ps / 1000.0:g}'
    )
  return num_frames, frame_steps


def _wanted(structure: pathlib.Path, name: str, settings: Settings) -> dict[str, Any]:
  return {
    'format': _FORMAT,
    'name': name,
    'source_file': structure.name,
    'source_sha256': hashlib.sha256(structure.read_bytes()).hexdigest(),
    **dataclasses.asdict(settings),
  }


def _outputs(prepared: pathlib.Path) -> list[pathlib.Path]:
  """All files in the directory that this simulation may have written; `prepared` comes last."""
  name = re.escape(prepared.name.removesuffix('_prepared.json'))
  ours = re.compile(rf'{name}(\.pdb|_prepared\.(pdb|json)|_R\d+([._].+)?)')
  if not prepared.parent.exists():
    return []
  files = [path for path in prepared.parent.iterdir() if ours.fullmatch(path.name)]
  return sorted(files, key=lambda path: path == prepared)


def _remove(prepared: pathlib.Path, structure: pathlib.Path) -> None:
  """Makes way for a new simulation of the same name."""
  if simulation_checkpoint.read_json(prepared).get('format') != _FORMAT:
    return
  for path in _outputs(prepared):
    if path.samefile(structure):
      raise InputError(
        f'--structure={structure} is an output of the simulation that --overwrite '
        'would remove: copy it elsewhere, or give another --out'
      )
  for path in _outputs(prepared):
    path.unlink()


def _may_go_on(prepared: pathlib.Path, wanted: dict[str, Any]) -> bool:
  """Whether the preparation is there; InputError if it is another, or not ours."""
  there = simulation_checkpoint.read_json(prepared)
  if there.get('format') != _FORMAT:
    # The preparation may have been interrupted between its two files.
    foreign = [path for path in _outputs(prepared) if path != prepared.with_suffix('.pdb')]
    if foreign:
      raise InputError(
        f'{foreign[0]} is no output of `tempo-jax prepare simulate`: give another --out'
      )
    return False
  for key, value in wanted.items():
    if there.get(key) != value:
      flag = f'--structure of another {key}' if key.startswith('source') else f'--{key}'
      raise InputError(
        f'{prepared.parent}: was simulated with {flag} ({there.get(key)!r}, not {value!r}): give '
        'that, or another --out, or begin anew with --overwrite'
      )
  return True


def _prepare(
  prepared: pathlib.Path,
  structure: pathlib.Path,
  wanted: dict[str, Any],
  settings: Settings,
  platform: str,
  num_threads: int | None,
) -> None:
  """Writes NAME_prepared.pdb and then NAME_prepared.json."""
  from tempo_jax.preparation.simulation import run as simulation_run
  from tempo_jax.preparation.simulation import stereochemistry
  from tempo_jax.preparation.simulation import structure as simulation_structure
  from tempo_jax.preparation.simulation import system as simulation_system

  seed = simulation_run.derive_seed(settings.seed, 0)
  complete = simulation_structure.prepare(
    structure, chains=settings.chains, pH=settings.pH, seed=seed
  )
  for note in complete.notes:
    print(f'note: {structure}: {note}', file=sys.stderr)
  start = complete
  if settings.solvent == 'explicit':
    start = simulation_system.solvate(complete, seed)
  simulated = simulation_system.build(
    start.topology, start.positions, settings.solvent, settings.temperature_K
  )
  print(
    f'{wanted["name"]}: minimises the energy of {len(simulated.positions)} atoms',
    file=sys.stderr,
    flush=True,
  )
  context = simulation_system.open_context(
    simulated, settings.temperature_K, seed, platform=platform, num_threads=num_threads
  )
  positions, energy = simulation_system.minimize(context, structure)
  problems = stereochemistry.Stereochemistry(simulated.topology).problems(
    positions, start.positions
  )
  if problems:
    raise InputError(
      f'{structure}: after minimisation {"; ".join(problems)}: correct the structure there'
    )
  prepared.parent.mkdir(parents=True, exist_ok=True)
  simulation_system.write_pdb(
    prepared.with_suffix('.pdb'), simulated.topology, positions, simulated.box
  )
  residues = [residue.name for residue in simulated.saved_topology.residues()]
  facts = {
    **wanted,
    'residues': residues,
    'n_residues': len(residues),
    'n_atoms_total': len(positions),
    'n_atoms_saved': len(simulated.saved),
    'saved': 'heavy atoms of the protein, caps included',
    **simulation_system.describe(settings.solvent),
    'notes': list(complete.notes),
    'protonation': complete.protonation,
    'preparation_seed': seed,
    'minimised_energy_kJ_per_mol': round(energy, 3),
    'versions': {
      'tempo_jax': version.__version__,
      'python': sys.version.split()[0],
      **{package: metadata.version(package) for package in ('openmm', 'pdbfixer', 'mdtraj')},
    },
  }
  simulation_checkpoint.write_json(prepared, facts)
