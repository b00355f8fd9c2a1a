"""The force field: a prepared structure -> what OpenMM simulates, on which platform.

Needs the extra `simulate`: openmm and pdbfixer.
"""

import dataclasses
import functools
import math
import os
import pathlib
from typing import Any

import numpy as np
import openmm
from openmm import app, unit
from openmm.app.internal import customgbforces

from tempo_jax import files
from tempo_jax.errors import InputError
from tempo_jax.preparation.simulation import structure as simulation_structure
from tempo_jax.preparation.simulation.structure import Structure

TIME_STEP_PS = 0.004
_FRICTION_PER_PS = 1.0
_HYDROGEN_MASS = 3.0  # amu
_MINIMIZER_ITERATIONS = 500
MAX_ENERGY_PER_ATOM = 10.0  # kJ/mol; of a sound structure it is below zero

_PADDING_NM = 1.0  # of water around the sphere that holds the protein
_CUTOFF_NM = 1.0
_SALT_M = 0.15
_PRESSURE_BAR = 1.0
_SOLVENT_RESIDUES = frozenset(('HOH', 'NA', 'CL'))

# In implicit solvent; with fewer atoms, threads spend their time waiting for each other.
_ATOMS_PER_THREAD = 200
_PLATFORMS = {'auto': ('CUDA', 'OpenCL', 'CPU')}


@dataclasses.dataclass(frozen=True)
class Simulated:
  """A system with its atoms.

  Attributes:
    topology: of all atoms, solvent included; with the box where there is one.
    positions: [N, 3] float64 nm.
    system: forces, masses, constraints.
    saved: [M] the heavy atoms of the protein.
    saved_topology: of these.
    saved_chain: [M] index of their chains.
  """

  topology: app.Topology
  positions: np.ndarray
  system: openmm.System
  saved: np.ndarray
  saved_topology: app.Topology
  saved_chain: np.ndarray

  @property
  def box(self) -> np.ndarray | None:
    """[3, 3] float64 nm, rows are the box vectors; None in implicit solvent."""
    box = self.topology.getPeriodicBoxVectors()
    return None if box is None else np.array(box.value_in_unit(unit.nanometer))

  @functools.cached_property
  def num_degrees_of_freedom(self) -> int:
    """Without constraints, and without the motion of the whole."""
    masses = (self.system.getParticleMass(i)._value for i in range(self.system.getNumParticles()))
    return 3 * sum(mass > 0.0 for mass in masses) - self.system.getNumConstraints() - 3

  def energies(self, state: openmm.State) -> tuple[float, float]:
    """Potential energy, kJ/mol, and the temperature at which atoms move so fast, K."""
    per_mole = unit.kilojoule_per_mole
    half_r = 0.5 * unit.MOLAR_GAS_CONSTANT_R.value_in_unit(per_mole / unit.kelvin)
    kinetic = state.getKineticEnergy().value_in_unit(per_mole)
    temperature_K = kinetic / (half_r * self.num_degrees_of_freedom)
    return state.getPotentialEnergy().value_in_unit(per_mole), temperature_K


def describe(solvent: str) -> dict[str, Any]:
  """What `build` and `open_context` do, for the metadata."""
  common = {
    'force_field': 'OpenMM amber14/protein.ff14SB.xml',
    'constraints': 'HBonds',
    'hydrogen_mass_amu': _HYDROGEN_MASS,
    'integrator': 'LangevinMiddleIntegrator',
    'friction_per_ps': _FRICTION_PER_PS,
    'timestep_fs': 1000.0 * TIME_STEP_PS,
    'minimise': f'<={_MINIMIZER_ITERATIONS} iterations',
  }
  if solvent == 'implicit':
    return common | {
      'implicit_solvent': 'GBSAOBCForce (OBC2), mbondi2 radii, eps 1/78.5, SA 2.25936 kJ/mol/nm^2',
      'salt': 'none (kappa=0)',
      'nonbonded': 'NoCutoff',
    }
  return common | {
    'water': 'OpenMM amber14/tip3p.xml, rigid',
    'salt': f'{_SALT_M:g} M NaCl beyond neutralisation',
    'box': f'rhombic dodecahedron, {_PADDING_NM:g} nm of water around the sphere of the protein',
    'nonbonded': f'PME, {_CUTOFF_NM:g} nm',
    'barostat': f'MonteCarloBarostat, {_PRESSURE_BAR:g} bar, every 25 steps',
  }


def solvate(structure: Structure, seed: int) -> Structure:
  """Puts the structure into a box of water and salt."""
  modeller = app.Modeller(structure.topology, simulation_structure.to_quantity(structure.positions))
  with simulation_structure.seeded(seed):
    modeller.addSolvent(
      _force_field('explicit'),
      model='tip3p',
      # OpenMM's is the distance between periodic images.
      padding=2.0 * _PADDING_NM * unit.nanometer,
      boxShape='dodecahedron',
      ionicStrength=_SALT_M * unit.molar,
    )
  positions = simulation_structure.in_nm(modeller.positions)
  return dataclasses.replace(structure, topology=modeller.topology, positions=positions)


def build(
  topology: app.Topology, positions: np.ndarray, solvent: str, temperature_K: float
) -> Simulated:
  """The system of a complete structure.

  Implicit solvent is a GBSAOBCForce, which on a CPU is several times faster than the
  CustomGBForce of OpenMM's implicit/obc2.xml, with the same energy.

  Args:
    topology: of all atoms, with a box for explicit solvent.
    positions: [N, 3] nm.
    solvent: 'implicit' or 'explicit'.
    temperature_K: of the barostat, K.

  Raises:
    InputError: the force field does not know a residue.
  """
  implicit = solvent == 'implicit'
  try:
    system = _force_field(solvent).createSystem(
      topology,
      nonbondedMethod=app.NoCutoff if implicit else app.PME,
      nonbondedCutoff=_CUTOFF_NM * unit.nanometer,
      constraints=app.HBonds,
      hydrogenMass=_HYDROGEN_MASS * unit.amu,
    )
  except ValueError as error:
    raise InputError(
      f'the force field does not fit the structure: correct it ({" ".join(str(error).split())})'
    ) from error
  if implicit:
    system.addForce(_implicit_solvent(topology, system))
  else:
    pressure, temperature = _PRESSURE_BAR * unit.bar, temperature_K * unit.kelvin
    system.addForce(openmm.MonteCarloBarostat(pressure, temperature))
  saved = [
    atom
    for atom in topology.atoms()
    if atom.element is not app.element.hydrogen and atom.residue.name not in _SOLVENT_RESIDUES
  ]
  modeller = app.Modeller(topology, simulation_structure.to_quantity(positions))
  modeller.delete(set(topology.atoms()) - set(saved))
  return Simulated(
    topology=topology,
    positions=positions,
    system=system,
    saved=np.array([atom.index for atom in saved]),
    saved_topology=modeller.topology,
    saved_chain=np.array([atom.residue.chain.index for atom in saved]),
  )


@functools.cache
def _force_field(solvent: str) -> app.ForceField:
  water = ['amber14/tip3p.xml'] if solvent == 'explicit' else []
  return app.ForceField('amber14/protein.ff14SB.xml', *water)


def _implicit_solvent(topology: app.Topology, system: openmm.System) -> openmm.GBSAOBCForce:
  (nonbonded,) = (f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
  force = openmm.GBSAOBCForce()
  force.setSolventDielectric(78.5)
  force.setSoluteDielectric(1.0)
  force.setNonbondedMethod(openmm.GBSAOBCForce.NoCutoff)
  parameters = customgbforces.GBSAOBC2Force.getStandardParameters(topology)
  for atom, (radius, scale) in enumerate(parameters):
    charge, _, _ = nonbonded.getParticleParameters(atom)
    force.addParticle(charge, radius, scale)
  return force


def open_context(
  simulated: Simulated,
  temperature_K: float,
  seed: int,
  *,
  platform: str = 'auto',
  num_threads: int | None = None,
) -> openmm.Context:
  """A Context at the positions of `simulated`.

  Args:
    simulated: what to simulate.
    temperature_K: of the thermostat, K.
    seed: of thermostat and barostat, above zero.
    platform: of OpenMM; 'auto' takes the first that works of CUDA, OpenCL and CPU.
    num_threads: on the CPU platform; by default the cores, fewer for a small protein in implicit
      solvent.

  Raises:
    InputError: the platform does not work here.
  """
  for force in simulated.system.getForces():
    if isinstance(force, openmm.MonteCarloBarostat):
      force.setRandomNumberSeed(seed)
  reason: Exception | None = None
  for name in _PLATFORMS.get(platform, (platform,)):
    integrator = openmm.LangevinMiddleIntegrator(temperature_K, _FRICTION_PER_PS, TIME_STEP_PS)
    integrator.setRandomNumberSeed(seed)
    properties = {'Precision': 'mixed'}
    if name == 'CPU':
      properties = {'Threads': str(num_threads or _default_threads(simulated))}
    try:
      chosen = openmm.Platform.getPlatformByName(name)
      context = openmm.Context(simulated.system, integrator, chosen, properties)
    except openmm.OpenMMException as error:
      reason = error
      continue
    context.setPositions(simulated.positions)
    return context
  raise InputError(
    f'--platform={platform} does not work here: leave it out, or install its driver and the part '
    f'of OpenMM for it ({" ".join(str(reason).split())[:200]})'
  )


def _default_threads(simulated: Simulated) -> int:
  cores = os.cpu_count() or 1
  return (
    cores
    if simulated.box is not None
    else min(cores, math.ceil(simulated.topology.getNumAtoms() / _ATOMS_PER_THREAD))
  )


def describe_context(context: openmm.Context) -> dict[str, Any]:
  """Where it runs, for the metadata."""
  platform = context.getPlatform()
  on_cpu = platform.getName() == 'CPU'
  return {
    'platform': platform.getName(),
    'threads': int(platform.getPropertyValue(context, 'Threads')) if on_cpu else None,
    'openmm': openmm.Platform.getOpenMMVersion(),
  }


def minimize(context: openmm.Context, structure: pathlib.Path) -> tuple[np.ndarray, float]:
  """Minimises the energy in place.

  Returns:
    Positions [N, 3] nm, energy in kJ/mol.

  Raises:
    InputError: it does not become finite and reasonable; names the file `structure`.
  """
  try:
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=_MINIMIZER_ITERATIONS)
    state = context.getState(getPositions=True, getEnergy=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
  except openmm.OpenMMException:
    energy = math.nan
  if not energy < MAX_ENERGY_PER_ATOM * context.getSystem().getNumParticles():
    raise InputError(
      f'{structure}: its energy after minimisation is {energy:.3g} kJ/mol: atoms overlap: correct '
      'the structure'
    )
  return positions_of(state), energy


def positions_of(state: openmm.State) -> np.ndarray:
  """[N, 3] float64 nm."""
  return np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer), np.float64)


def box_of(state: openmm.State) -> np.ndarray:
  """[3, 3] float64 nm, rows are the box vectors."""
  return np.asarray(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer))


def write_pdb(
  path: pathlib.Path,
  topology: app.Topology,
  positions: np.ndarray,
  box: np.ndarray | None = None,
  header: str = '',
) -> None:
  """Writes one conformation, [N, 3] nm, in a box [3, 3] nm, behind lines of a header; whole or not
  at all.
  """
  topology.setPeriodicBoxVectors(None if box is None else box * unit.nanometer)
  with files.aside(path) as new, new.open('w') as file:
    file.write(header)
    app.PDBFile.writeFile(topology, simulation_structure.to_quantity(positions), file, keepIds=True)


def read_pdb(path: pathlib.Path) -> tuple[app.Topology, np.ndarray]:
  """What `write_pdb` wrote of all atoms: topology with the box, and [N, 3] nm."""
  with path.open() as file:
    pdb = app.PDBFile(file)
  return pdb.topology, simulation_structure.in_nm(pdb.positions)
