"""The energy of one protein, minimised conformation by conformation.

Needs the extra `simulate`: openmm and pdbfixer.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import openmm
from openmm import unit

from tempo_jax.preparation.simulation import system as simulation_system
from tempo_jax.preparation.simulation.structure import Structure
from tempo_jax.relaxation import rings, unthread

_BONDED, _NONBONDED, _OVERLAP, _RESTRAINT = range(4)
_REAL = {_BONDED, _NONBONDED}

# With CB, lest an overlap turns the hand of a residue.
_BACKBONE = frozenset(('N', 'CA', 'C', 'O', 'CB'))


@dataclasses.dataclass(frozen=True)
class _Stage:
  """How far to go down.

  Attributes:
    stiffness: of the springs that hold each backbone atom, kJ/mol/nm².
    tolerance: root mean square force, kJ/mol/nm.
    iterations: at most.
  """

  stiffness: float
  tolerance: float
  iterations: int


_APART = _Stage(20_000.0, 100.0, 200)
_HELD = _Stage(20_000.0, 100.0, 200)
_TETHERED = _Stage(2_000.0, 10.0, 1000)
# Overlaps: a parabola within so much of the distance at which the Lennard-Jones energy is least.
_SHARE_OF_CONTACT = 0.75
_OVERLAP_STRENGTH = 50_000.0  # kJ/mol/nm²
_LEAST_OVERLAP = 5.0  # kJ/mol: below, there is nothing to relieve; 0.1 Å in one pair are 5
_ATTEMPTS = 3  # at pulling a bond out of a ring: another bond may slip in
_MAX_HEAT = 3.0  # times the temperature: beyond, the simulation has blown up


@dataclasses.dataclass(frozen=True)
class Minimum:
  """What became of a conformation.

  Attributes:
    positions: [N, 3] nm.
    before: potential energy at the start, kJ/mol; infinite where it overflows.
    after: at the end, without restraints; not finite where that failed.
  """

  positions: np.ndarray
  before: float
  after: float


class Minimiser:
  """ff14SB and OBC2 of one protein.

  Bonds through rings are pulled out. Overlaps go next, in a potential in which atoms may pass
  through each other and hardly anything but side chains moves; then the energy is minimised with
  the backbone held, at last with it tethered.
  """

  def __init__(
    self,
    structure: Structure,
    *,
    temperature_K: float,
    seed: int,
    platform: str = 'auto',
    num_threads: int | None = None,
  ):
    """Sets up OpenMM.

    Args:
      structure: all atoms of the protein, in any conformation.
      temperature_K: of `simulate`, K.
      seed: of `simulate`, above zero.
      platform: of OpenMM; see `simulation_system.open_context`, so too the next.
      num_threads: on the CPU platform.

    Raises:
      InputError: the force field does not know a residue, or the platform does not work.
    """
    self._simulated = simulation_system.build(
      structure.topology, structure.positions, 'implicit', temperature_K
    )
    self._temperature_K = temperature_K
    system = self._simulated.system
    for force in system.getForces():
      if isinstance(force, openmm.NonbondedForce | openmm.GBSAOBCForce):
        force.setForceGroup(_NONBONDED)
    system.addForce(_overlap_force(system))
    self._restraint, self._held = _restraint_force(structure.topology)
    system.addForce(self._restraint)
    self._context = simulation_system.open_context(
      self._simulated, temperature_K, seed, platform=platform, num_threads=num_threads
    )
    self._integrator = self._context.getIntegrator()
    self._rings = rings.Rings(structure.topology)

  @property
  def about(self) -> dict[str, Any]:
    """Where it runs, for the metadata."""
    return simulation_system.describe_context(self._context)

  def minimise(self, positions: np.ndarray) -> Minimum:
    """Minimises the energy of a conformation, [N, 3] nm."""
    before = math.inf
    try:
      self._context.setPositions(positions)
      self._hold(positions)
      before = self._energy(_REAL)
      if self._unthread(positions) or not self._energy({_OVERLAP}) < _LEAST_OVERLAP:
        self._descend({_BONDED, _OVERLAP, _RESTRAINT}, _APART)
      self._descend({*_REAL, _RESTRAINT}, _HELD)
      self._descend({*_REAL, _RESTRAINT}, _TETHERED)
      state = self._context.getState(getPositions=True)
      return Minimum(simulation_system.positions_of(state), before, self._energy(_REAL))
    except openmm.OpenMMException:  # coordinates that are not numbers
      return Minimum(positions, before, math.nan)

  def simulate(self, length_ps: float, seed: int) -> tuple[np.ndarray, float]:
    """Runs MD from where `minimise` ended, without restraints.

    Args:
      length_ps: ps.
      seed: of the velocities, above zero.

    Returns:
      The last positions [N, 3] nm, and the temperature at which atoms move there, K; infinite where
      the simulation blew up.
    """
    steps = round(length_ps / simulation_system.TIME_STEP_PS)
    self._integrator.setIntegrationForceGroups(_REAL)
    try:
      self._context.setVelocitiesToTemperature(self._temperature_K, seed)
      self._integrator.step(steps)
      state = self._context.getState(getPositions=True, getEnergy=True, groups=_REAL)
    except openmm.OpenMMException:
      return self._simulated.positions, math.inf
    energy, heat = self._simulated.energies(state)
    sound = math.isfinite(energy) and heat < _MAX_HEAT * self._temperature_K
    return simulation_system.positions_of(state), heat if sound else math.inf

  def _hold(self, positions: np.ndarray) -> None:
    for row, atom in enumerate(self._held):
      self._restraint.setParticleParameters(row, atom, positions[atom])
    self._restraint.updateParametersInContext(self._context)

  def _unthread(self, positions: np.ndarray) -> bool:
    """Whether bonds were pulled out of rings."""
    for attempt in range(_ATTEMPTS):
      pierced = self._rings.pierced(positions)
      if not pierced:
        return attempt > 0
      positions = unthread.pull_out(
        self._simulated.system,
        {_BONDED, _RESTRAINT},
        {'stiffness': _APART.stiffness},
        positions,
        pierced,
      )
      self._context.setPositions(positions)
    return True

  def _descend(self, groups: set[int], stage: _Stage) -> None:
    self._context.setParameter('stiffness', stage.stiffness)
    self._integrator.setIntegrationForceGroups(groups)
    openmm.LocalEnergyMinimizer.minimize(self._context, stage.tolerance, stage.iterations)

  def _energy(self, groups: set[int]) -> float:
    energy = self._context.getState(getEnergy=True, groups=groups).getPotentialEnergy()
    return float(energy.value_in_unit(unit.kilojoule_per_mole))


def describe() -> dict[str, Any]:
  """What `Minimiser` does, for the metadata."""
  return simulation_system.describe('implicit') | {
    'minimise': [
      {'potential': potential, **dataclasses.asdict(stage)}
      for potential, stage in (
        ('bonded terms and overlaps, where atoms overlap', _APART),
        ('force field', _HELD),
        ('force field', _TETHERED),
      )
    ],
  }


def _overlap_force(system: openmm.System) -> openmm.CustomNonbondedForce:
  """Repulsion that stays finite where atoms coincide."""
  (nonbonded,) = (f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
  force = openmm.CustomNonbondedForce(
    f'0.5*{_OVERLAP_STRENGTH}*max(0, contact-r)^2; contact={_SHARE_OF_CONTACT}*(radius1+radius2)'
  )
  force.addPerParticleParameter('radius')
  for atom in range(system.getNumParticles()):
    _, sigma, depth = nonbonded.getParticleParameters(atom)
    # Of hydroxyl hydrogens the force field has none.
    reach = sigma._value if depth._value > 0.0 else 0.0
    force.addParticle([0.5 * 2.0 ** (1 / 6) * reach])
  for exception in range(nonbonded.getNumExceptions()):
    first, second, *_ = nonbonded.getExceptionParameters(exception)
    force.addExclusion(first, second)
  # On CPUs all forces between atoms have a cutoff, or none has.
  force.setNonbondedMethod(openmm.CustomNonbondedForce.NoCutoff)
  force.setForceGroup(_OVERLAP)
  return force


def _restraint_force(topology: Any) -> tuple[openmm.CustomExternalForce, list[int]]:
  """Springs from backbone atoms to where they were, and these atoms."""
  force = openmm.CustomExternalForce('0.5*stiffness*((x-x0)^2+(y-y0)^2+(z-z0)^2)')
  force.addGlobalParameter('stiffness', 0.0)
  for name in ('x0', 'y0', 'z0'):
    force.addPerParticleParameter(name)
  held = [atom.index for atom in topology.atoms() if atom.name in _BACKBONE]
  for atom in held:
    force.addParticle(atom, [0.0, 0.0, 0.0])
  force.setForceGroup(_RESTRAINT)
  return force, held
